"""Optimizers of other packages, found by the name of their entry point.

A package offers one in its metadata, and nothing of it is imported before it is asked for by name::

    [project.entry-points."lambda_attunement.optimizers"]
    half-step = "half_step:HalfStep"

The object is called with `space`, `seed` and `settings`, and returns an `Optimizer`.
"""

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

import attrs

from optimizers.errors import OptimizerSettingError, UnknownOptimizerError
from optimizers.protocol import Optimizer, Space

GROUP: Final = "lambda_attunement.optimizers"
_OFFERED = ("tell", "ask", "state", "restore", "mode", "gradient")


@attrs.frozen
class Plugin:
    """An optimizer that another package offers.

    Attributes:
        name: Name it is asked for by.
        source: Module and object it is loaded from.
        package: Name and version of the package, empty where its metadata does not tell.
    """

    name: str
    source: str
    package: str


def plugins() -> tuple[Plugin, ...]:
    """List what is offered, by name; nothing is imported."""
    return tuple(sorted((_described(point) for point in entry_points(group=GROUP)), key=attrs.astuple))


def names() -> tuple[str, ...]:
    """List the names that are offered."""
    return tuple(dict.fromkeys(plugin.name for plugin in plugins()))


def load(name: str, space: Space, seed: int, settings: Mapping[str, Any]) -> Optimizer:
    """Import the optimizer of that name, and make one.

    Args:
        name: Name of the entry point.
        space: Limits of α.
        seed: Seed of its random numbers.
        settings: All that the configuration sets for optimizers, unchecked.

    Raises:
        UnknownOptimizerError: no package offers that name, or more than one does.
        OptimizerSettingError: it cannot be imported or made, or is no optimizer.
    """
    points = tuple(entry_points(group=GROUP, name=name))
    if len(points) != 1:
        offered = ", ".join(sorted(_described(point).package or point.value for point in points))
        raise UnknownOptimizerError(
            f"optimizer is {name!r}, must be offered by one package, is by {len(points)} {offered}".rstrip()
        )
    try:
        made: Any = points[0].load()(space=space, seed=seed, settings=dict(settings))
    except Exception as error:
        raise OptimizerSettingError(
            f"optimizer {name} of {points[0].value} cannot be made: {type(error).__name__}: {error}"
        ) from error
    lacking = [member for member in _OFFERED if not hasattr(type(made), member) and not hasattr(made, member)]
    if lacking:
        raise OptimizerSettingError(
            f"optimizer {name} of {points[0].value} lacks {', '.join(lacking)}, must be an Optimizer"
        )
    optimizer: Optimizer = made
    return optimizer


def _described(point: EntryPoint) -> Plugin:
    package = "" if point.dist is None else f"{point.dist.name} {point.dist.version}"
    return Plugin(point.name, point.value, package)
