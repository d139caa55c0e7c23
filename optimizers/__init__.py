"""Optimizers of α. They only suggest; a kernel decides."""

from optimizers.errors import (
    OptimizerError,
    OptimizerSettingError,
    OptimizerStateError,
    UnknownOptimizerError,
)
from optimizers.protocol import HOLD, Hold, Optimizer, Outcome, Space, Suggestion, Verdict
from optimizers.registry import NAMES, create

__all__ = [
    "HOLD",
    "NAMES",
    "Hold",
    "Optimizer",
    "OptimizerError",
    "OptimizerSettingError",
    "OptimizerStateError",
    "Outcome",
    "Space",
    "Suggestion",
    "UnknownOptimizerError",
    "Verdict",
    "create",
]
