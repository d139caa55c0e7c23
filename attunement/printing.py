"""Printing where not every character can be printed, or where nobody reads any more."""

import codecs
import io
import os
import select
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import click

_ESCAPE = "attunement.escape"


class _NamedFile(io.FileIO):
    """One that says in its errors which stream it is, where the system names no file."""

    def __init__(self, descriptor: int, name: str) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._name = name

    def write(self, data: Any) -> int:
        with naming(self._name):
            return super().write(data)


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Have an error of the system that names no file, as that of a full disk, name this one."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = name
        raise


def open_streams() -> None:
    """Have errors of stdout name it; what is written to a stream that was closed from the start vanishes.

    Without a stderr, what is meant for it would be taken to stdout.
    """
    given = sys.stdout
    # One that somebody has put in its place is his own affair.
    if given is sys.__stdout__ and isinstance(given, io.TextIOWrapper):
        file = _NamedFile(given.fileno(), "stdout")
        # Python may have been told to hold nothing back.
        sys.stdout = io.TextIOWrapper(
            file if isinstance(given.buffer, io.RawIOBase) else io.BufferedWriter(file),
            encoding=given.encoding,
            errors=given.errors,
            line_buffering=given.line_buffering,
            write_through=given.write_through,
        )
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8"))


def close_streams() -> None:
    """Write what is left, and have vanish what cannot be written: that was told, or is a message.

    The interpreter would write it once more at its end, complain, and end with a code of its own.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            lead_nowhere([stream.fileno()])


def tell(message: str) -> None:
    """Print a message to stderr. One that cannot be printed is lost, and ends nothing."""
    with suppress(OSError):
        click.echo(message, err=True)


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
