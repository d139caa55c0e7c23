"""`python -m attunement` is `lambda-attunement`."""

import os
import signal
from contextlib import suppress
from types import FrameType
from typing import NoReturn


def main() -> None:
    """Run the command line and exit; SIGINT ends it in words, also while it is loaded."""
    # Who started it in the background may have it ignore SIGINT.
    is_heard = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_heard:
        signal.signal(signal.SIGINT, _leave)
    # Imported here: that takes long enough to be interrupted.
    from attunement.cli import main as run

    if is_heard:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


def _leave(_number: int, _frame: FrameType | None) -> NoReturn:
    # An exception would come out of whatever is imported just then, which may take it for its own or drop it.
    with suppress(OSError):
        os.write(2, b"error: interrupted\n")
    os._exit(1)


if __name__ == "__main__":
    main()
