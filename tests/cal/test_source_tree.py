"""What lies in the source tree: nothing that a run leaves behind, for it may hold a secret."""

import os
from fnmatch import fnmatch
from pathlib import Path

from ledger.chain import JOURNAL
from ledger.keys import PRIVATE_TAG

ROOT = Path(__file__).resolve().parents[2]


def shipped():
    """Yield the files of the tree, without the folders that are never committed."""
    patterns = (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    left_out = [".git", *(pattern.rstrip("/") for pattern in patterns if pattern.endswith("/"))]
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if not any(fnmatch(name, pattern) for pattern in left_out)]
        # Those of a measurement of coverage that is under way come and go.
        yield from (Path(folder, name) for name in names if not name.startswith(".coverage"))


def begins_with_a_secret(path):
    with path.open("rb") as stream:
        return stream.read(len(PRIVATE_TAG)) == PRIVATE_TAG.encode()


def test_no_run_has_left_its_keys_or_its_ledger_behind():
    files = [path for path in shipped() if path.is_file()]
    assert Path(__file__) in files
    assert [path for path in files if path.name == JOURNAL or begins_with_a_secret(path)] == []
