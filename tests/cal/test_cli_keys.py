"""The ledger's keys are replaced from the command line, and everything goes on."""

import json
import os

import pytest

from attunement.key_files import first_key, replace_key, with_pub
from ledger import (
    KeyFileError,
    Kind,
    Ledger,
    LedgerWriteError,
    NoteKey,
    SigningKey,
    generate,
    load_private,
    load_public,
    open_checkpoint,
    read_records,
)


def test_a_run_goes_on_after_both_keys_were_replaced(cli, site, tmp_path):
    config = ("--config", site.config())
    first = load_public(with_pub(site.key))
    assert cli("run", *config, "--plain")[0] == 0
    anchor = tmp_path / "anchor"
    anchor.write_bytes((site.ledger / "checkpoint").read_bytes())
    for flags, private in (((), site.key), (("--log",), site.log_key), ((), site.key)):
        old = load_private(private).verify_key
        code, out, err = cli("keys", "rotate", *flags, *config)
        new = load_private(private).verify_key
        assert (code, out.splitlines()[0]) == (0, f"key {new.key_id}: {private} and {private}.pub"), err
        assert new != old
        assert load_public(with_pub(private)) == new
        assert load_public(f"{private}.{old.key_id}.pub") == old
        assert f"{private}.{old.key_id} will be the old key" in err
        code, _, err = cli("run", *config, "--plain")
        assert (code, "verified" in err) == (0, True), err
    vkey = NoteKey(site.signers.log.name, load_private(site.log_key).verify_key)
    assert open_checkpoint((site.ledger / "checkpoint").read_bytes(), vkey).checkpoint.size > 3
    kinds = [record.kind for record in read_records(site.ledger)]
    assert [kinds.count(kind) for kind in (Kind.ROTATION, Kind.LOG_ROTATION)] == [2, 1]
    assert first_key(site.key, site.ledger) == first
    for command in (
        ("ledger", "verify", "--anchor", anchor),
        ("ledger", "verify", "--public-key", f"{site.key}.{first.key_id}.pub"),
        ("ledger", "replay"),
        ("ledger", "prove", 1),
        ("ledger", "export", tmp_path / "evidence"),
        ("save", tmp_path / "snapshot"),
        ("load", tmp_path / "snapshot"),
        ("status", "--snapshot", tmp_path / "snapshot"),
    ):
        code, out, err = cli(*command, *config)
        assert code == 0, (command, out, err)
    told = json.loads(cli("ledger", "verify", "--anchor", anchor, "--json", *config)[1])
    assert told["verdict"] == "verified"


def test_the_new_vkey_of_the_log_is_told(cli, site):
    config = ("--config", site.config())
    assert cli("run", *config, "--plain")[0] == 0
    _, out, _ = cli("keys", "rotate", "--log", *config)
    vkey = out.splitlines()[1].rpartition(" ")[2]
    assert NoteKey.parse(vkey) == site.signers.log.verifier


def test_a_key_is_not_replaced_under_a_run(cli, site):
    config = ("--config", site.config())
    assert cli("run", *config, "--plain")[0] == 0
    old = load_private(site.key).verify_key
    with Ledger.open(site.ledger, site.signers):
        code, _, err = cli("keys", "rotate", *config)
    assert (code, "held by another writer" in err) == (1, True)
    assert load_private(site.key).verify_key == old
    assert cli("keys", "rotate", *config)[0] == 0


def test_without_a_ledger_there_is_nothing_to_rotate(cli, site):
    code, _, err = cli("keys", "rotate", "--config", site.config())
    assert (code, "no ledger in" in err) == (1, True)


@pytest.mark.parametrize("calls", range(5))
def test_a_rotation_that_was_cut_off_is_finished(cli, site, monkeypatch, calls):
    config = ("--config", site.config())
    assert cli("run", *config, "--plain")[0] == 0
    old, rename, left = load_private(site.key).verify_key, os.rename, iter(range(calls))

    def renamed(source, target):
        # The ledger renames files of its own.
        if str(source).startswith(str(site.key)) and next(left, None) is None:
            raise OSError(5, "Input/output error")
        rename(source, target)

    with monkeypatch.context() as patched:
        patched.setattr("attunement.key_files.os.rename", renamed)
        code, _, err = cli("keys", "rotate", *config)
    assert code == (2 if calls < 4 else 0), err
    if calls < 4:
        assert "Input/output error" in err
        assert cli("keys", "rotate", *config)[0] == 0
    assert sum(record.kind is Kind.ROTATION for record in read_records(site.ledger)) == 1
    assert load_public(with_pub(site.key)) == load_private(site.key).verify_key != old
    assert not site.key.with_name(f"{site.key.name}.next").exists()
    assert cli("run", *config, "--plain")[0] == 0


def test_a_successor_waits_until_the_ledger_has_it(tmp_path):
    private = tmp_path / "key"
    key = generate(private, with_pub(private))

    def refuse(old, successor):
        raise LedgerWriteError("no space left")

    for _ in range(2):
        with pytest.raises(LedgerWriteError):
            replace_key(private, key.verify_key, refuse)
    waiting = load_private(tmp_path / "key.next")
    assert load_private(private).verify_key == key.verify_key
    appended = []
    successor = replace_key(private, key.verify_key, lambda *keys: appended.append(keys))
    assert [[one.verify_key for one in keys] for keys in appended] == [[key.verify_key, waiting.verify_key]]
    assert load_private(private).verify_key == successor.verify_key == waiting.verify_key


def test_a_retired_key_file_must_hold_what_its_name_says(cli, site, tmp_path):
    config = ("--config", site.config())
    assert cli("run", *config, "--plain")[0] == 0
    key_id = load_private(site.key).verify_key.key_id
    generate(tmp_path / "other", f"{site.key}.{key_id}.pub")
    with pytest.raises(KeyFileError, match=f"must hold {key_id}"):
        first_key(site.key, site.ledger)
    assert isinstance(load_private(tmp_path / "other"), SigningKey)
