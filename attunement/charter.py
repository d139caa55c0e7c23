"""Who governs, and by which rules, as the configuration says it and as the ledger keeps it."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import attrs

from attunement.config_schema import ORDER_TTL_MOST_S, ROOT, Config, ConfigError
from attunement.order import Action, OrderError
from kernel.quantity import NANO, Nano, round_nearest, to_float
from ledger import JsonValue, KeyFileError, VerifyKey, load_public
from ledger.keys import decode_base64, encode_base64

_HALF = Nano(NANO // 2)


@attrs.frozen
class Operator:
    """One who may sign orders."""

    name: str
    key: VerifyKey


@attrs.frozen
class Charter:
    """Who governs, and by which rules.

    Attributes:
        operators: Who may sign; nobody may order when there are none.
        quorum: How many of them an order needs; a freeze needs one.
        psi_min: Smallest Ψ, nano, at which a policy is adopted.
        order_ttl_s: Longest life of an order, seconds.

    Raises:
        ConfigError: two operators have one name or one key, or there are fewer than the quorum.
    """

    operators: tuple[Operator, ...] = ()
    quorum: int = 1
    psi_min: Nano = _HALF
    order_ttl_s: float = 3600.0

    def __attrs_post_init__(self) -> None:
        for what, values in (
            ("name", [one.name for one in self.operators]),
            ("key", [one.key.key_id for one in self.operators]),
        ):
            twice = sorted({value for value in values if values.count(value) > 1})
            if twice:
                raise ConfigError(f"{ROOT}.governance.operators has the {what} {twice[0]} twice")
        if self.operators and not 1 <= self.quorum <= len(self.operators):
            raise ConfigError(
                f"{ROOT}.governance.quorum is {self.quorum}, must lie in [1, {len(self.operators)}] "
                "(the number of operators)"
            )

    def operator(self, key_id: str) -> Operator | None:
        """Return the operator with this key, None if there is none."""
        return next((one for one in self.operators if one.key.key_id == key_id), None)

    def needed(self, action: Action) -> int:
        """Return how many operators must be for an order."""
        return 1 if action is Action.FREEZE else self.quorum


NOBODY: Final = Charter()
"""Nobody may order."""


def load_charter(config: Config) -> Charter:
    """Return the charter that a configuration describes.

    Raises:
        KeyFileError: an operator's public key cannot be used.
        ConfigError: see `Charter`.
    """
    governance = config.governance
    return Charter(
        tuple(Operator(one.name, load_public(Path(one.key_path))) for one in governance.operators),
        governance.quorum,
        round_nearest("psi_min", governance.psi_min),
        governance.order_ttl,
    )


def charter_body(charter: Charter) -> dict[str, JsonValue]:
    """Return a charter as the ledger stores it; figures in units of 1e-9."""
    operators: list[JsonValue] = [
        {"name": one.name, "public_key": encode_base64(one.key.raw)} for one in charter.operators
    ]
    return {
        "operators": operators,
        "order_ttl": round_nearest("order_ttl", charter.order_ttl_s),
        "psi_min": charter.psi_min,
        "quorum": charter.quorum,
    }


def charter_of(stored: Mapping[str, JsonValue]) -> Charter:
    """Return the charter in a record's body.

    Raises:
        OrderError: there is none, or it is malformed.
    """
    operators = stored.get("operators")
    if not isinstance(operators, list):
        raise OrderError("operators must be a list")
    quorum = _figure(stored, "quorum", sys.maxsize)
    psi_min, ttl = _figure(stored, "psi_min", NANO), _figure(stored, "order_ttl", ORDER_TTL_MOST_S * NANO)
    try:
        return Charter(tuple(map(_operator, operators)), quorum, Nano(psi_min), to_float(Nano(ttl)))
    except ConfigError as error:
        raise OrderError(str(error)) from error


def _figure(stored: Mapping[str, JsonValue], name: str, most: int) -> int:
    value = stored.get(name)
    if type(value) is int and 0 <= value <= most:
        return value
    raise OrderError(f"{name} must be a whole number from 0 to {most}")


def _operator(stored: JsonValue) -> Operator:
    if not (isinstance(stored, dict) and stored.keys() == {"name", "public_key"}):
        raise OrderError("an operator must have the members name, public_key")
    name, text = stored["name"], stored["public_key"]
    raw = decode_base64(text) if isinstance(text, str) else None
    if not (isinstance(name, str) and raw is not None):
        raise OrderError("an operator must have a name, and a public key in canonical base64")
    try:
        return Operator(name, VerifyKey(raw))
    except KeyFileError as error:
        raise OrderError(f"operator {name!a}: {error}") from error
