"""Errors that optimizers raise."""


class OptimizerError(Exception):
    """Base of every error of this package."""


class OptimizerSettingError(OptimizerError):
    """A setting is unknown, of the wrong type or out of its range."""


class OptimizerStateError(OptimizerError):
    """A stored state is malformed and was not restored."""


class UnknownOptimizerError(OptimizerError):
    """No optimizer has the name that was asked for."""
