"""Printing where not every character can be printed, or where nobody reads any more."""

import codecs
import io
import os
import select
import sys
from collections.abc import Sequence

_ESCAPE = "attunement.escape"


def print_whatever_comes() -> None:
    r"""Have stdout and stderr write a character that their encoding lacks as \uXXXX, instead of failing.

    Two of them stand for a character beyond U+FFFF, as in JSON: what is JSON stays JSON.
    """
    codecs.register_error(_ESCAPE, _escaped)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ESCAPE)


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


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    pairs = zip(units[::2], units[1::2], strict=True)
    return "".join(f"\\u{high:02x}{low:02x}" for high, low in pairs), error.end
