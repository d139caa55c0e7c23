import os

import pytest

from ledger import place
from ledger.place import Locator, Place


@pytest.fixture(params=["statx", "no statx", "statx is denied"])
def locate(request, monkeypatch):
    """Each way to look at a file."""
    if request.param == "no statx":
        monkeypatch.setattr(place, "_STATX", None)
    elif request.param == "statx is denied":
        monkeypatch.setattr(place, "_STATX", lambda *_: -1)
    return lambda path: Locator(str(path)).locate()


def test_a_place_is_what_stat_says(tmp_path, locate):
    for name, size in (("a", 0), ("ä\udcff", 1), ("b", 70_000)):
        (tmp_path / name).write_bytes(bytes(size))
        found = os.stat(tmp_path / name)
        assert locate(tmp_path / name) == Place(found.st_dev, found.st_ino, size)
    (tmp_path / "link").symlink_to("b")
    assert locate(tmp_path / "link") == locate(tmp_path / "b") != locate(tmp_path / "a")


def test_a_file_that_grows_and_is_replaced_is_seen(tmp_path):
    path, other = tmp_path / "a", tmp_path / "b"
    path.write_bytes(b"1")
    other.write_bytes(b"12")
    locator = Locator(str(path))
    first = locator.locate()
    with path.open("ab") as stream:
        stream.write(b"23")
    assert locator.locate() == first._replace(size=3)
    other.rename(path)
    assert locator.locate() == Place(first.device, os.stat(path).st_ino, 2) != first


def test_a_file_that_is_not_there_is_an_error(tmp_path, locate):
    with pytest.raises(FileNotFoundError):
        locate(tmp_path / "missing")
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(NotADirectoryError):
        locate(tmp_path / "a" / "b")
