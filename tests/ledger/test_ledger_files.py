"""Files that appear whole or not at all, whatever fails while they are written."""

import errno
import os

import pytest

from ledger import files


@pytest.fixture
def fails(monkeypatch):
    """Return a function that has a call of the system fail, once what it is given was written."""

    def make(name):
        def failing(*_):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, name, failing)

    return make


@pytest.mark.parametrize("name", ["fdatasync", "rename"])
def test_what_could_not_replace_a_file_leaves_nothing_behind(tmp_path, fails, name):
    path = tmp_path / "checkpoint"
    files.replace(str(path), b"before", 0o644)
    fails(name)
    with pytest.raises(OSError, match="No space left"):
        files.replace(str(path), b"after", 0o644)
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["checkpoint"]


@pytest.mark.parametrize("name", ["fsync", "link"])
def test_what_could_not_be_published_leaves_nothing_behind(tmp_path, fails, name):
    fails(name)
    with pytest.raises(OSError, match="No space left"):
        files.publish(str(tmp_path / "key"), b"secret", 0o600)
    assert os.listdir(tmp_path) == []


def test_a_draft_that_a_crash_left_is_written_over(tmp_path):
    path = tmp_path / "checkpoint"
    (tmp_path / "checkpoint.new").write_bytes(b"half of a much longer note")
    files.replace(str(path), b"after", 0o644)
    assert path.read_bytes() == b"after"
    assert os.listdir(tmp_path) == ["checkpoint"]
