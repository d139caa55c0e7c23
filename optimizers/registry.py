"""Optimizers by name, from the settings of a configuration."""

import difflib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import attrs

from optimizers import plugins
from optimizers.adversary import STRATEGIES, Adversary
from optimizers.errors import OptimizerSettingError, UnknownOptimizerError
from optimizers.extremum_seeking import ExtremumSeeker
from optimizers.figures import measured
from optimizers.gradient import GradientAscent
from optimizers.hold import HoldStill
from optimizers.kalman import KalmanTuner
from optimizers.pid import PidAdjuster
from optimizers.protocol import Optimizer, Space
from optimizers.supervisor import Supervisor

AUTO: Final = "auto"


def _number(key: str, value: object) -> float:
    number = measured(value)
    if number is None:
        raise OptimizerSettingError(f"{key} is {value!r}, must be a number")
    return number


def _number_or_auto(key: str, value: object) -> Any:
    if value == AUTO:
        return AUTO
    number = measured(value)
    if number is None:
        raise OptimizerSettingError(f"{key} is {value!r}, must be a number or auto")
    return number


def _integer(key: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise OptimizerSettingError(f"{key} is {value!r}, must be an integer")
    return value


@attrs.frozen
class _Setting:
    """A key of the configuration, and the argument of the optimizer it sets."""

    owner: str
    argument: str
    check: Callable[[str, object], Any]


_SETTINGS: Final[dict[str, _Setting]] = {
    "lr": _Setting("gradient", "lr", _number_or_auto),
    "momentum": _Setting("gradient", "momentum", _number),
    "epsilon": _Setting("gradient", "epsilon", _number_or_auto),
    "gradient_averaging_window": _Setting("gradient", "averaging_window", _integer),
    "kp": _Setting("pid", "kp", _number),
    "ki": _Setting("pid", "ki", _number),
    "kd": _Setting("pid", "kd", _number),
    "pid_window": _Setting("pid", "window", _integer),
    "pid_forgetting": _Setting("pid", "forgetting", _number),
    "slsqp_window": _Setting("slsqp", "window", _integer),
    "slsqp_forgetting": _Setting("slsqp", "forgetting", _number),
    "seeking_gain": _Setting("extremum_seeking", "gain", _number),
    "seeking_period": _Setting("extremum_seeking", "period", _integer),
    "gp_beta": _Setting("safe_gp", "beta", _number),
    "gp_forgetting": _Setting("safe_gp", "forgetting", _number),
    "patience": _Setting("supervisor", "patience", _integer),
    "seed": _Setting("", "seed", _integer),
}
_Arguments = Mapping[str, Mapping[str, Any]]


def _supervisor(space: Space, seed: int, arguments: _Arguments) -> Optimizer:
    pid = PidAdjuster(space, seed=seed, **arguments["pid"])
    return Supervisor(_kalman(space, seed, arguments), pid, **arguments["supervisor"])


def _kalman(space: Space, seed: int, arguments: _Arguments) -> KalmanTuner:
    gradient = arguments["gradient"]
    chosen = {key: gradient[key] for key in ("lr", "epsilon") if key in gradient}
    return KalmanTuner(space, seed=seed, **chosen)


def _slsqp(space: Space, seed: int, arguments: _Arguments) -> Optimizer:
    # Here and below: to import SciPy takes longer than most commands, of which few make an optimizer.
    from optimizers.slsqp import SlsqpSurrogate

    return SlsqpSurrogate(space, seed=seed, **arguments["slsqp"])


def _safe_gp(space: Space, seed: int, arguments: _Arguments) -> Optimizer:
    from optimizers.safe_gp import SafeGp

    return SafeGp(space, seed=seed, **arguments["safe_gp"])


def _adversary(strategy: str, space: Space, seed: int, _arguments: _Arguments) -> Optimizer:
    return Adversary(space, strategy, seed)


_FACTORIES: Final[dict[str, Callable[[Space, int, _Arguments], Optimizer]]] = {
    "gradient": lambda space, seed, arguments: GradientAscent(space, seed=seed, **arguments["gradient"]),
    "pid": lambda space, seed, arguments: PidAdjuster(space, seed=seed, **arguments["pid"]),
    "slsqp": _slsqp,
    "supervisor": _supervisor,
    "extremum_seeking": lambda space, seed, arguments: ExtremumSeeker(
        space, seed=seed, **arguments["extremum_seeking"]
    ),
    "safe_gp": _safe_gp,
    "kalman": _kalman,
    "hold": lambda _space, _seed, _arguments: HoldStill(),
    **{f"adversary:{strategy}": partial(_adversary, strategy) for strategy in STRATEGIES},
}
NAMES: Final = tuple(_FACTORIES)
SETTINGS: Final = tuple(_SETTINGS)


def create(name: str, space: Space, settings: Mapping[str, object]) -> Optimizer:
    """Return a new optimizer.

    Args:
        name: one of NAMES, or one that another package offers (`optimizers.plugins`).
        space: limits of α.
        settings: any of SETTINGS. One that belongs to another optimizer is checked and left aside, so that
            one configuration serves all. An optimizer of another package gets all of them, unchecked.

    Raises:
        UnknownOptimizerError: no optimizer has that name.
        OptimizerSettingError: a setting is unknown, of the wrong type or out of its range.
    """
    if name not in _FACTORIES:
        offered = plugins.names()
        if name in offered:
            return plugins.load(name, space, _integer("seed", settings.get("seed", 0)), settings)
        known = _listed(str(name), (*NAMES, *offered))
        raise UnknownOptimizerError(f"optimizer is {name!r}, must be one of {known}")
    arguments: dict[str, dict[str, Any]] = {setting.owner: {} for setting in _SETTINGS.values()}
    for key, value in settings.items():
        setting = _SETTINGS.get(key)
        if setting is None:
            raise OptimizerSettingError(f"{key} is no setting, must be one of {_listed(str(key), SETTINGS)}")
        arguments[setting.owner][setting.argument] = setting.check(key, value)
    return _FACTORIES[name](space, arguments[""].get("seed", 0), arguments)


def _listed(asked: str, known: tuple[str, ...]) -> str:
    nearest = difflib.get_close_matches(asked, known, n=1)
    hint = f"; the nearest is {nearest[0]}" if nearest else ""
    return ", ".join(known) + hint
