"""Printing where nobody reads any more."""

import os
import select
import sys
from collections.abc import Sequence


def flush() -> bool:
    """Write what is left for stdout, and say whether anybody reads it.

    Raises:
        OSError: it cannot be written for another reason, as a full disk.
    """
    if sys.stdout is None:
        return True
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter flushes once more at its end, and would complain.
        lead_nowhere([sys.stdout.fileno()])
        return False
    return True


def is_unread(descriptor: int) -> bool:
    """Say whether a pipe's or a socket's other end is gone."""
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def lead_nowhere(descriptors: Sequence[int]) -> None:
    """Have what is written to descriptors vanish."""
    for descriptor in descriptors:
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
