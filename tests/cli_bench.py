"""The command line as a process of its own."""

import sys
from typing import Final

PROGRAM: Final = [sys.executable, "-c", "from attunement.cli import main; main()"]
