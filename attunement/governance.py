"""Who may sign orders, and what is signed."""

from collections.abc import Callable

import attrs

from kernel import Order
from ledger import JsonValue, SigningKey, VerifyKey
from ledger.canonical import encode
from ledger.keys import decode_base64, encode_base64

ORDER_DOMAIN = b"lambda-attunement/order/v1\0"


@attrs.frozen
class KeyAuthority:
    """Accepts orders signed by one operator's key at the present head of the ledger.

    Attributes:
        operator: The operator's public key, None when nobody may sign.
        head: Returns the hash of the ledger's newest record. An order answers to the head it was signed at,
            so that it is used up by the record it causes.
    """

    operator: VerifyKey | None
    head: Callable[[], str]

    def authorises(self, order: Order) -> bool:
        """Say whether the order's signature holds, and actor and reason are given."""
        signature = decode_base64(order.signature)
        if self.operator is None or signature is None or not order.actor.strip() or not order.reason.strip():
            return False
        return self.operator.verifies(signature, _signed_bytes(order, self.head()))


def sign_order(key: SigningKey, order: Order, head: str) -> Order:
    """Return the order with an operator's signature for one head of the ledger.

    Raises:
        CanonicalError: a text is not valid Unicode.
    """
    return order._replace(signature=encode_base64(key.sign(_signed_bytes(order, head))))


def _signed_bytes(order: Order, head: str) -> bytes:
    subject: list[JsonValue] = list(order.subject)
    signed: dict[str, JsonValue] = {
        "action": order.action,
        "actor": order.actor,
        "head": head,
        "reason": order.reason,
        "subject": subject,
    }
    return ORDER_DOMAIN + encode(signed)
