"""What goes over the pipe between a controller and an optimizer in a process of its own.

One JSON object a line, at most LINE_MAX bytes, with the version of this format and the number of the request.
Nothing that is read can run code: figures are finite numbers, text is bounded, anything else is refused.

| request | answer besides `v`, `id`, `mode` and `gradient` |
| --- | --- |
| start: name, space, settings | |
| tell: outcome | |
| ask | `alpha` and `probe`; `alpha` is null for a hold |
| state | `state` |
| restore: state | |

An optimizer that raised is answered with `fault`, its text.
"""

import json
from collections.abc import Mapping
from math import isfinite
from typing import Any, Final, NoReturn, get_args

import attrs

from optimizers.errors import OptimizerError
from optimizers.protocol import HOLD, Hold, Mode, Outcome, Suggestion, Verdict

VERSION: Final = 1
LINE_MAX: Final = 1 << 20
TEXT_MAX: Final = 400
MODES: Final[tuple[Mode, ...]] = get_args(Mode)


class WireError(OptimizerError):
    """A line is no message of this format."""


def encode(message: Mapping[str, object], number: int) -> bytes:
    """Return a message as a line.

    Raises:
        WireError: it has no JSON, or is too long.
    """
    try:
        line = json.dumps({"v": VERSION, "id": number, **message}, allow_nan=False).encode("ascii") + b"\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise WireError(f"message has no JSON: {type(error).__name__}") from error
    if not len(line) <= LINE_MAX:
        raise WireError(f"message takes {len(line)} bytes, must not exceed {LINE_MAX}")
    return line


def decode(line: bytes, number: int) -> dict[str, Any]:
    """Return the message in a line.

    Args:
        line: Without more than one message, at most LINE_MAX bytes.
        number: The number it must carry.

    Raises:
        WireError: it is another version, another number, or no message at all.
    """
    if not len(line) <= LINE_MAX:
        raise WireError(f"line takes {len(line)} bytes, must not exceed {LINE_MAX}")
    try:
        message = json.loads(line.decode("ascii"), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise WireError("line is not JSON") from error
    if not isinstance(message, dict):
        raise WireError(f"line holds a {type(message).__name__}, must hold an object")
    for key, wanted in (("v", VERSION), ("id", number)):
        if type(message.get(key)) is not int or message[key] != wanted:
            raise WireError(f"{key} of the line is not {wanted}")
    return message


def told(outcome: Outcome) -> dict[str, object]:
    """Return an outcome as it is sent."""
    return {**attrs.asdict(outcome), "verdict": outcome.verdict.value}


def outcome(message: Mapping[str, Any]) -> Outcome:
    """Return the outcome in a message that `told` made."""
    return Outcome(
        cycle=message["cycle"],
        alpha=message["alpha"],
        objective=message["objective"],
        verdict=Verdict(message["verdict"]),
        committed_alpha=message["committed_alpha"],
        broken=tuple(message["broken"]),
        margins=tuple((name, figure) for name, figure in message["margins"]),
    )


def wished(wish: object) -> dict[str, object]:
    """Return an answer to `ask` as it is sent.

    Raises:
        WireError: it is neither HOLD nor a suggestion of a finite number.
    """
    if wish is HOLD:
        return {"alpha": None, "probe": False}
    if not isinstance(wish, Suggestion):
        raise WireError(f"optimizer answered with a {type(wish).__name__}, must be a Suggestion or HOLD")
    alpha, probe = figure(wish.alpha), wish.probe
    if alpha is None:
        raise WireError(f"alpha is {_shown(wish.alpha)}, must be a finite number")
    if type(probe) is not bool:
        raise WireError(f"probe is of type {type(probe).__name__}, must be true or false")
    return {"alpha": alpha, "probe": probe}


def wish(message: Mapping[str, Any]) -> Suggestion | Hold:
    """Return the answer to `ask` in a message.

    Raises:
        WireError: it is none.
    """
    if message.get("alpha", message) is None:
        return HOLD
    alpha, probe = figure(message.get("alpha")), message.get("probe")
    if alpha is None or not isinstance(probe, bool):
        raise WireError("answer holds no finite alpha with a probe of true or false")
    return Suggestion(alpha, probe)


def figure(value: object) -> float | None:
    """Return a finite number as the float it is, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float.__pos__(value) if isinstance(value, float) else float(int.__pos__(value))
    except (OverflowError, TypeError):
        return None
    return number if isfinite(number) else None


def mode(value: object) -> Mode:
    """Return a mode, idle for what is none."""
    return next((name for name in MODES if type(value) is str and name == value), "idle")


def text(value: object) -> str:
    """Return text that is short and prints, whatever came."""
    said = value if type(value) is str else f"a {type(value).__name__}"
    return "".join(one if one.isprintable() else "?" for one in said[:TEXT_MAX])


def _shown(value: object) -> str:
    return float.__repr__(value) if type(value) is float else f"of type {type(value).__name__}"


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")
