"""What every drawn terminal has in common."""

import re
from typing import Final

from rich.console import Console

# The picture names fonts of its own to fetch; whoever looks at it has a monospaced one.
_FONT_FACE: Final = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


def picture(console: Console, title: str, name: str) -> str:
    """Return what a console has recorded as an SVG that loads nothing, and let go of the record."""
    return _FONT_FACE.sub("", console.export_svg(title=title, unique_id=name))
