"""The trusted core: the only code that may change α."""

from kernel.limits import Limits
from kernel.quantity import MalformedQuantityError
from kernel.safety_kernel import (
    ActuatorError,
    Entry,
    LedgerUnavailableError,
    Order,
    PolicyError,
    Proposal,
    SafetyKernel,
)
from kernel.state import Comparison, Kind, Mode, Outcome, Reading, State

__all__ = [
    "ActuatorError",
    "Comparison",
    "Entry",
    "Kind",
    "LedgerUnavailableError",
    "Limits",
    "MalformedQuantityError",
    "Mode",
    "Order",
    "Outcome",
    "PolicyError",
    "Proposal",
    "Reading",
    "SafetyKernel",
    "State",
]
