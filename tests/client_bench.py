"""Clients that connect to a port of ours and do not do their part."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager


@contextmanager
def clients() -> Iterator[Callable[..., socket.socket]]:
    """Give a function that connects a client to a port, and sends what it is given."""
    with ExitStack() as stack:

        def connect(port: int, sent: bytes = b"") -> socket.socket:
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            client.sendall(sent)
            return client

        yield connect


def is_cut_on_sending(client: socket.socket) -> bool:
    """Say whether one more byte finds nobody."""
    try:
        client.sendall(b"G")
        time.sleep(0.05)
    except ConnectionError:
        return True
    return False
