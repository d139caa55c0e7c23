"""The ledger's commands on real runs: what they say, and the exit code of each verdict."""

import csv
import io
import json
import shutil
import subprocess
from decimal import Decimal
from hashlib import sha256

import pytest

from attunement.cli import _exit_code
from attunement.config_schema import Config
from attunement.explain import Explainer
from attunement.journal import JournalError, body_of
from attunement.ledger_filter import RecordFilter, parse_alpha, parse_moment
from attunement.ledger_view import record_row
from attunement.policy import kernel_limits
from kernel import Comparison, Entry, Kind, Limits, Mode, Outcome, Reading, State, rules
from kernel.state import Verdict
from ledger import (
    Head,
    Ledger,
    NoteKey,
    NoteSigner,
    ProofError,
    Record,
    Signers,
    SigningKey,
    frame,
    load_private,
    open_checkpoint,
    read_records,
)
from ledger import Kind as RecordKind
from ledger.canonical import encode
from ledger.evidence import TlogProof
from ledger.keys import decode_base64
from ledger.merkle import verify_consistency
from ledger.note import COSIGNATURE, cosign
from ledger.record import parse as parse_record

SHOCK = {"kind": "partition", "start": 30, "length": 8, "magnitude": 0.25, "share": 0.2}
LIMITS = kernel_limits(Config())


class Deed:
    """A folder with a configuration and the ledger of a run."""

    def __init__(self, folder):
        self.folder = folder
        self.ledger = folder / "ledger"
        self.config = folder / "attunement.yaml"
        paths = {
            "audit_ledger_path": str(self.ledger),
            "key_path": str(folder / "key"),
            "log_key_path": str(folder / "log-key"),
            "origin": "example.com/attunement",
        }
        document = {
            "settle_delay": 0,
            "cycles": 45,
            "source": {"nodes": 16, "seed": 3, "shocks": [SHOCK]},
            "metrics": {"enabled": False},
            # A machine that is busy must not make an optimizer seem to hang.
            "optimizer": {"name": "gradient", "ask_timeout": 60},
            "logging": paths,
        }
        self.config.write_text(json.dumps({"attunement": document}), encoding="utf-8")

    @property
    def signers(self):
        log_key = load_private(self.folder / "log-key")
        return Signers(load_private(self.folder / "key"), NoteSigner("example.com/attunement", log_key))

    @property
    def log_key(self):
        return self.signers.log.verifier

    @property
    def records(self):
        return list(read_records(self.ledger))

    def copy(self, folder):
        """A deed of one's own to alter."""
        shutil.copytree(self.folder, folder)
        return Deed(folder)


@pytest.fixture(scope="module")
def deed(tmp_path_factory):
    made = Deed(tmp_path_factory.mktemp("deed"))
    greedy = ["--set", "optimizer.name=adversary:always_max", "--cycles", "3"]
    for command in (["keys", "init"], ["run", "--plain", *greedy], ["run", "--plain"]):
        assert _exit_code([*command, "--config", str(made.config)]) == 0
    return made


@pytest.fixture
def told(capsys, deed):
    """Run a ledger command on a deed; return its exit code, stdout and stderr."""

    def run(*arguments, of=deed, group=("ledger",)):
        capsys.readouterr()
        code = _exit_code([*group, *map(str, arguments), "--config", str(of.config)])
        return code, *capsys.readouterr()

    return run


# verify


def test_a_ledger_without_an_anchor_is_good_as_far_as_it_goes(told, deed):
    code, out, err = told("verify")
    head = deed.records[-1]
    assert (code, err) == (0, "")
    count = len(deed.records)
    head = f"{head.sequence}:{head.hash_hex}"
    assert out == f"ledger {deed.ledger}: no anchor, {count} records good, head {head}\n"


def test_a_checkpoint_that_was_kept_is_an_anchor(told, deed, tmp_path):
    kept = tmp_path / "kept"
    shutil.copy(deed.ledger / "checkpoint", kept)
    code, out, _ = told("verify", "--anchor", kept)
    assert (code, ": verified, " in out) == (0, True)
    set_back = deed.copy(tmp_path / "back")
    journal = (set_back.ledger / "journal").read_bytes()
    (set_back.ledger / "journal").write_bytes(journal[: -len(deed.records[-1].stored) - 9])
    (set_back.ledger / "checkpoint").unlink()
    code, out, _ = told("verify", "--json", of=set_back)
    assert (code, json.loads(out)["verdict"]) == (0, "no anchor")
    code, out, _ = told("verify", "--json", "--anchor", kept, of=set_back)
    assert (code, json.loads(out)["verdict"]) == (3, "truncated")
    assert f"the anchor has {len(deed.records)} records" in json.loads(out)["finding"]


def test_an_anchor_of_another_log_is_refused(told, deed, tmp_path):
    kept = tmp_path / "kept"
    other = NoteSigner("example.com/attunement", SigningKey(bytes(32)))
    with Ledger.open(tmp_path / "other", Signers(SigningKey(bytes(31) + b"1"), other)) as ledger:
        kept.write_bytes(ledger.checkpoint().note)
    code, _, err = told("verify", "--anchor", kept)
    assert code == 3
    assert "error: the checkpoint is not signed by a key of the log" in err


@pytest.mark.parametrize(
    "anchor", ["", "12", "12:", "12:ab", f"-1:{'a' * 64}", f"1:{'A' * 64}", "nowhere/kept"]
)
def test_an_anchor_that_is_neither_a_head_nor_a_file_is_a_usage_error(told, anchor):
    code, out, err = told("verify", "--anchor", anchor)
    assert (code, out) == (2, "")
    assert f"--anchor is {anchor!r}, must be SEQUENCE:HASH or the file of a checkpoint" in err


def test_a_witness_counts_as_seen_outside(told, deed, tmp_path):
    own = deed.copy(tmp_path / "own")
    witness = SigningKey(bytes(range(40, 72)))
    vkey = NoteKey("witness.example", witness.verify_key, COSIGNATURE)
    note = (own.ledger / "checkpoint").read_bytes()
    text = open_checkpoint(note, own.log_key).checkpoint.text
    (own.ledger / "witnessed").write_bytes(
        note + cosign("witness.example", witness, text, 1_700_000_000).encode()
    )
    assert "no anchor" in told("verify", of=own)[1]
    code, out, _ = told("verify", "--witness-key", vkey, of=own)
    assert (code, ": verified, " in out) == (0, True)
    (tmp_path / "vkey").write_text(f"{vkey}\n")
    assert ": verified, " in told("verify", "--witness-key", tmp_path / "vkey", of=own)[1]


@pytest.mark.parametrize(
    ("command", "option"), [(("verify",), "--witness-key"), (("witness", "--url", "http://x.test"), "--key")]
)
def test_a_malformed_vkey_is_a_usage_error_that_names_its_option(told, command, option):
    code, out, err = told(*command, option, "witness.example+00+AA")
    assert (code, out, f"'{option}': no vkey and no file of one" in err) == (2, "", True)


def test_every_verdict_has_its_exit_code_in_the_help(told):
    said = " ".join(told("verify", "--help")[1].split())
    for words in ("verified 0", "no anchor 0", "torn tail 3", "truncated 3", "forked 3", "tampered 3"):
        assert words in said
    assert "unverifiable 3" in said


@pytest.mark.parametrize(
    "command", ["verify", "replay", "show", "prove", "export", "explain", "save", "load"]
)
def test_every_command_says_what_it_does(told, command):
    code, out, err = told(command, "--help", group=() if command in ("save", "load") else ("ledger",))
    assert (code, err) == (0, "")
    assert "\n  Example: lambda-attunement " in out


# replay


def forged(deed, folder, change):
    """The deed with one changed body, all of it signed again with the right keys."""
    bodies = [record.body for record in deed.records if record.kind is RecordKind.ENTRY]
    own = deed.copy(folder)
    shutil.rmtree(own.ledger)
    with Ledger.open(own.ledger, own.signers, sync=lambda descriptor: None) as ledger:
        for body in bodies:
            ledger.append(change(body))
    return own


def test_replay_finds_what_verify_cannot(told, deed, tmp_path):
    target = next(one for one in deed.records if one.body.get("verdict") == "refused")

    def lie(body):
        return {**body, "verdict": "accepted"} if body == target.body else body

    own = forged(deed, tmp_path / "own", lie)
    assert told("verify", of=own)[0] == 0
    code, out, _ = told("replay", of=own)
    assert code == 3
    first, last = out.splitlines()
    assert first == f"record {target.sequence}: verdict is 'accepted', must be 'refused'"
    decisions = len(deed.records) - 1
    assert last == f"ledger {own.ledger}: replayed, {decisions} decisions derived again, 1 mismatches"
    code, out, _ = told("replay", "--json", of=own)
    assert (code, json.loads(out)["verdict"], json.loads(out)["mismatch_count"]) == (3, "mismatched", 1)
    assert json.loads(out)["mismatches"] == [
        {"seq": target.sequence, "field": "verdict", "recorded": "'accepted'", "derived": "'refused'"}
    ]
    code, out, _ = told("explain", target.sequence, of=own)
    assert code == 3
    assert "The rules do not give this:\n  record" in out


def test_replay_of_a_true_ledger(told, deed):
    code, out, err = told("replay")
    decisions = len(deed.records) - 1
    assert (code, err) == (0, "")
    found = "every one is what the rules give"
    assert out == f"ledger {deed.ledger}: replayed, {decisions} decisions derived again, {found}\n"
    code, out, _ = told("replay", "--json")
    assert json.loads(out) == {
        "path": str(deed.ledger),
        "verdict": "replayed",
        "decisions": decisions,
        "others": 1,
        "mismatch_count": 0,
        "mismatches": [],
    }


@pytest.mark.parametrize("command", [("replay",), ("explain", 3), ("show",), ("prove", 3), ("export", "x")])
def test_a_ledger_that_cannot_be_read_is_an_error(told, tmp_path, command):
    code, out, err = told(*command, "--path", tmp_path / "none")
    assert (code, out) == (1, "")
    assert f"error: no ledger in {tmp_path / 'none'}: it has no file journal" in err


def test_a_broken_chain_ends_a_replay(told, deed, tmp_path):
    own = deed.copy(tmp_path / "own")
    journal = own.ledger / "journal"
    journal.write_bytes(journal.read_bytes().replace(b"attunement_controller", b"attunement_contraller", 1))
    code, _, err = told("replay", of=own)
    assert code == 3
    assert "error: record 1 at byte" in err


def test_a_terminal_sees_the_progress(told, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    for command, word in (("replay", "replaying"), ("verify", "verifying")):
        code, out, err = told(command)
        assert code == 0
        assert word in err
        assert word not in out


# show


def shown(told, *filters):
    code, out, _ = told("show", "--json", *filters)
    assert code == 0
    return [json.loads(line) for line in out.splitlines()]


def test_filters_join(told, deed):
    everything = shown(told)
    assert [line["seq"] for line in everything] == [record.sequence for record in deed.records]
    controller = [line for line in everything if line["body"].get("actor") == "attunement_controller"]
    assert shown(told, "--actor", "attunement_controller") == controller
    assert shown(told, "--actor", "nobody") == []
    assert shown(told, "--actor", "nobody", "--actor", "attunement_controller") == controller
    for verdict in ("accepted", "refused", "committed", "returned"):
        wanted = [line for line in everything if line["body"].get("verdict") == verdict]
        assert wanted
        assert shown(told, "--verdict", verdict) == wanted
        assert shown(told, "--verdict", verdict, "--last", 1) == wanted[-1:]
    low = sorted(line["body"]["new_alpha"] for line in controller)[len(controller) // 2]
    exact = str(Decimal(low).scaleb(-9))
    for options, test in (
        (("--alpha-min", exact), lambda alpha: alpha >= low),
        (("--alpha-max", exact), lambda alpha: alpha <= low),
        (("--alpha-min", exact, "--alpha-max", exact), lambda alpha: alpha == low),
        (("--alpha-min", f"{exact}1"), lambda alpha: alpha > low),
        (("--alpha-max", f"{exact}1"), lambda alpha: alpha <= low),
    ):
        assert shown(told, *options) == [line for line in controller if test(line["body"]["new_alpha"])]


def test_times_select(told, deed):
    middle = deed.records[len(deed.records) // 2].timestamp
    earlier, later = shown(told, "--until", middle), shown(told, "--since", middle)
    assert later[0]["timestamp"] == middle
    assert all(line["timestamp"] < middle for line in earlier)
    assert earlier + later == shown(told)
    without_zone = middle.removesuffix("Z")
    assert shown(told, "--since", without_zone) == later
    assert shown(told, "--since", f"{without_zone}+00:00") == later
    assert shown(told, "--since", "9999-01-01") == []


def test_a_time_without_a_zone_is_utc_wherever_one_is(monkeypatch):
    for zone in ("UTC", "Asia/Tokyo"):
        monkeypatch.setenv("TZ", zone)
        assert parse_moment("2026-03-01") == "2026-03-01T00:00:00.000000Z"
        assert parse_moment("2026-03-01T01:00:00+09:00") == "2026-02-28T16:00:00.000000Z"


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--since", "yesterday", "'yesterday' is no ISO 8601 date or time"),
        ("--until", "0001-01-01T00:00+10:00", "is no ISO 8601 date or time"),
        ("--alpha-min", "one", "'one' is no number"),
        ("--alpha-max", "nan", "'nan' is no α"),
        ("--alpha-max", "1e999999", "'1e999999' is no α"),
        ("--verdict", "fine", "'fine' is not one of"),
        ("--last", "0", "0 is not in the range"),
        ("--csv", "--json", "--json and --csv exclude each other"),
    ],
)
def test_a_filter_that_is_none_is_a_usage_error(told, option, value, said):
    code, out, err = told("show", option, value)
    assert (code, out) == (2, "")
    assert said in err


def test_csv_has_a_row_for_each_record(told, deed):
    code, out, _ = told("show", "--csv")
    rows = list(csv.reader(io.StringIO(out)))
    assert code == 0
    assert rows[0][:4] == ["seq", "time (UTC)", "event", "verdict"]
    assert [row[0] for row in rows[1:]] == [str(record.sequence) for record in deed.records]
    assert {len(row) for row in rows} == {9}
    refused = next(row for row in rows if row[3] == "refused")
    assert refused[6]


def test_the_table_has_the_same_rows(told, deed):
    code, out, _ = told("show", "--last", 2)
    assert code == 0
    assert all(str(record.sequence) in out for record in deed.records[-2:])


def test_a_narrow_terminal_folds_and_cuts_nothing_off(told, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "90")
    code, out, _ = told("show", "--verdict", "refused", "--last", 2)
    assert code == 0
    assert "refused" in out
    assert "…" not in out


def record(body, sequence=7, kind=RecordKind.ENTRY):
    return Record(
        sequence, "2026-03-01T00:00:00.000000Z", None, "0" * 64, "key", kind, body, b"", "0" * 64, b""
    )


def test_a_record_without_alpha_is_in_no_range_of_alpha():
    assert RecordFilter().wants(record({}))
    for given in ({"alpha_min": Decimal(0)}, {"alpha_max": Decimal(9)}):
        assert not RecordFilter(**given).wants(record({}))
        assert not RecordFilter(**given).wants(record({"new_alpha": True}))
        assert RecordFilter(**given).wants(record({"new_alpha": 10**9}))
    assert parse_alpha("1.02") == Decimal("1.02")


# prove and export


def test_a_proof_shows_a_record_to_others(told, deed):
    code, out, _ = told("prove", 7)
    assert code == 0
    proof = TlogProof.parse(out.encode())
    assert proof.verify(deed.records[7].stored, deed.log_key).checkpoint.size == len(deed.records)
    with pytest.raises(ProofError):
        proof.verify(deed.records[8].stored, deed.log_key)
    code, out, _ = told("prove", 7, "--json")
    parsed = json.loads(out)
    assert [decode_base64(value) for value in parsed["hashes"]] == list(proof.hashes)
    assert (parsed["index"], parsed["checkpoint"].encode()) == (7, proof.note)


def test_consistency_is_proved_by_hashes(told):
    code, out, _ = told("prove", "--consistency", 5, 40)
    assert code == 0
    told_in_json = json.loads(told("prove", "--consistency", 5, 40, "--json")[1])
    assert told_in_json["hashes"] == out.splitlines()
    hashes = [decode_base64(line) for line in out.splitlines()]
    roots = [decode_base64(told_in_json[name]) for name in ("old_root", "new_root")]
    verify_consistency(5, 40, *roots, hashes)
    with pytest.raises(ProofError):
        verify_consistency(6, 40, *roots, hashes)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "prove takes INDEX, or --consistency OLD NEW"),
        ((3, "--consistency", 1, 2), "prove takes INDEX, or --consistency OLD NEW"),
        ((-1,), "No such option"),
        ((99999,), "record 99999 is not under the checkpoint, which covers"),
        (("--consistency", 9, 5), "sizes are 9 and 5, must be in order and at most"),
        (("--consistency", 9, 99999), "sizes are 9 and 99999, must be in order and at most"),
        (("--consistency", 0, 5), "0 is not in the range"),
    ],
)
def test_what_cannot_be_proved_is_a_usage_error(told, arguments, said):
    code, out, err = told("prove", *arguments)
    assert (code, out) == (2, "")
    assert said in err


def test_damaged_tiles_are_refused(told, deed, tmp_path):
    own = deed.copy(tmp_path / "own")
    for tile in (own.ledger / "tile" / "0").rglob("*"):
        if tile.is_file():
            data = bytearray(tile.read_bytes())
            data[0] ^= 1
            tile.write_bytes(data)
    code, _, err = told("prove", 7, of=own)
    assert code == 3
    assert "is not in the tree" in err


def test_a_proof_of_another_keys_ledger_is_refused(told, deed, tmp_path):
    assert _exit_code(["keys", "init", "--path", str(tmp_path / "other")]) == 0
    code, _, err = told("prove", 7, "--public-key", tmp_path / "other.pub")
    assert code == 3
    assert "error: ledger was written by key" in err


def test_an_export_stands_for_itself(told, deed, tmp_path):
    folder = tmp_path / "evidence"
    code, out, err = told("export", folder, "--verdict", "refused", "--last", 2)
    assert code == 0
    assert err == f"2 records exported to {folder}\n"
    manifest = (folder / "MANIFEST").read_bytes()
    assert out.startswith("h1:")
    assert decode_base64(out.strip().removeprefix("h1:")) == sha256(manifest).digest()
    checked = subprocess.run(
        ["sha256sum", "--check", "--strict", "MANIFEST"], cwd=folder, capture_output=True
    )
    assert checked.returncode == 0
    log_key = NoteKey.parse((folder / "log.vkey").read_text().strip())
    assert log_key == deed.log_key
    exported = sorted(folder.glob("*.json"))
    assert len(exported) == 2
    for path in exported:
        proof = TlogProof.parse(path.with_suffix(".tlog-proof").read_bytes())
        proof.verify(path.read_bytes(), log_key)
        assert parse_record(path.read_bytes()).body["verdict"] == "refused"
    code, _, err = told("export", folder)
    assert code == 1
    assert f"error: cannot write to {folder}: File exists" in err


def test_an_export_says_what_no_checkpoint_covers(told, deed, tmp_path):
    own = deed.copy(tmp_path / "own")
    kept = (own.ledger / "checkpoint").read_bytes()
    with Ledger.open(own.ledger, own.signers) as ledger:
        ledger.append({"event": "note", "actor": "ines"})
    (own.ledger / "checkpoint").write_bytes(kept)
    code, _, err = told("export", tmp_path / "evidence", "--last", 2, of=own)
    assert code == 0
    assert err.splitlines() == [
        "1 records are newer than the checkpoint and were left out",
        f"1 records exported to {tmp_path / 'evidence'}",
    ]


def test_an_export_of_nothing_is_an_error(told, deed, tmp_path):
    own, folder, size = deed.copy(tmp_path / "own"), tmp_path / "evidence", len(deed.records)
    kept = (own.ledger / "checkpoint").read_bytes()
    with Ledger.open(own.ledger, own.signers) as ledger:
        ledger.append_many([{"event": "note", "actor": "ines"}] * 3)
    (own.ledger / "checkpoint").write_bytes(kept)
    covers = f"newer than the checkpoint, which covers {size} records"
    for options, reason in (
        (("--last", 1), f"record {size + 2} is {covers}"),
        (("--last", 3), f"records {size} to {size + 2} are {covers}"),
        (("--actor", "nobody"), "no record is what was asked for"),
    ):
        code, out, err = told("export", folder, *options, of=own)
        assert (code, out) == (1, "")
        assert f"error: nothing to export: {reason}" in err
        assert not folder.exists()


# explain


def explained(told, deed, **wanted):
    """The explanation of the newest record whose body has these members."""
    found = next(one for one in reversed(deed.records) if wanted.items() <= one.body.items())
    code, out, err = told("explain", found.sequence)
    assert (code, err) == (0, "")
    return found, out


def test_a_refusal_names_the_limit_and_by_how_much_it_broke(told, deed):
    found, out = explained(told, deed, verdict="refused", event="propose")
    name, unit, _, figure, most = found.body["broken"][-1]
    excess = f"{Decimal(figure - most) / unit:.12g}"
    lines = out.splitlines()
    assert lines[0] == f"Record {found.sequence} of {found.timestamp}: propose, by attunement_controller."
    before, target = Decimal(found.body["old_alpha"]).scaleb(-9), Decimal(found.body["target"]).scaleb(-9)
    kind, reason = found.body["kind"], found.body["reason"]
    assert lines[1] == f"Proposed was a {kind} from α = {before} to {target} ({target - before:+f})."
    assert lines[2:4] == [f'The reason given: "{reason}".', "Refused: nothing was applied."]
    assert reason == f"idle {kind}"
    assert f"  {name} is " in out
    assert f": above by {excess} (" in out
    assert f"α stayed at {before}." in out
    assert f"α·{name}" in out
    assert f"BROKEN by {excess}" in out
    assert "attunement_controller asked " in out
    assert lines[-1] == "The rules give the same, under policy version 1."


def test_a_commit_tells_what_was_measured(told, deed):
    found, out = explained(told, deed, verdict="committed")
    assert "Committed: the trial was measured safe and not worse, and α stays." in out
    assert "The mode went from trial to ready." in out
    assert f"The reading of cycle {found.body['reading']['cycle']}, taken at α = " in out
    assert "entropy_rate 0." in out
    assert "at most 0.002000000: margin " in out
    assert "at least 0.950000000: margin " in out
    before, after = (Decimal(found.body["comparison"][name]).scaleb(-9) for name in ("before", "after"))
    assert f"mean coherence {before:f} before and {after:f} after: changed by {after - before:+f}" in out


def test_a_returned_probe_and_the_start_are_explained(told, deed):
    found, out = explained(told, deed, verdict="returned")
    old, new = (Decimal(found.body[name]).scaleb(-9) for name in ("old_alpha", "new_alpha"))
    assert f"α moved from {old:f} to {new:f} ({new - old:+f})." in out
    _, out = explained(told, deed, event="start")
    assert "A history began.\nα stayed at 1.000000000.\nThe rules give the same" in out


def test_records_of_the_ledger_itself_are_explained(told, deed):
    code, out, _ = told("explain", 0)
    assert code == 0
    assert "The ledger begins: the record names the keys that write it." in out
    assert f"log_key: {deed.log_key}" in out
    for kind in RecordKind:
        (first, second, *_), found = Explainer().explain(record({"note": "x"}, kind=kind))
        assert first == f"Record 7 of 2026-03-01T00:00:00.000000Z: {kind.value}."
        assert len(second) > 20
        assert found == ()


def test_an_explanation_in_json_has_the_same_lines(told):
    out = told("explain", 1)[1]
    told_in_json = json.loads(told("explain", 1, "--json")[1])
    assert told_in_json == {"seq": 1, "lines": out.splitlines(), "mismatches": []}


def test_a_record_that_is_not_there_is_a_usage_error(told, deed):
    code, out, err = told("explain", 99999)
    assert (code, out) == (2, "")
    assert f"record 99999 is not in {deed.ledger}" in err


READY = State(Mode.READY, 10**9, 10**9, 5, 0, 0, 1, Kind.STEP, Mode.READY)
READING = Reading(6, 10**9, 5 * 10**8, 10**6, 10**9, (10**8,) * 3, (2 * 10**8,) * 3)


def explanation(event, state, transition, reading=None, **inputs):
    """The lines about one decision after a start."""
    nothing = dict.fromkeys(("target", "kind", "comparison", "limits"))
    after, verdict = transition
    start = Entry(
        "start", "ines", "begin", READY, READY, Verdict(Outcome.STARTED), 10**9, None, None, None, LIMITS
    )
    entry = Entry(event, "ines", "because", state, after, verdict, reading=reading, **{**nothing, **inputs})
    explainer = Explainer()
    explainer.follow(record(body_of(start), 1))
    return "\n".join(explainer.explain(record(body_of(entry), 2))[0])


def test_each_kind_of_broken_check_has_its_words():
    frozen, trial = READY._replace(mode=Mode.FROZEN), READY._replace(mode=Mode.TRIAL)
    stale = READING._replace(cycle=3, alpha=9 * 10**8)
    said = explanation("approve", READY, rules.approve(LIMITS, READY, stale, False), stale)
    assert "  the mode was ready, must be frozen or emergency." in said
    assert "  the order was not signed by one whose orders count." in said
    assert "  the reading was of cycle 3, must be of cycle 5 or later." in said
    assert "  the reading was taken at α = 0.900000000, α in force was 1.000000000." in said
    said = explanation(
        "propose",
        frozen,
        (frozen, rules.propose(LIMITS, frozen, 10**9, Kind.STEP, READING)[1]),
        READING,
        target=10**9,
        kind=Kind.STEP,
    )
    assert "  the mode was frozen, must be ready." in said
    no_number = Verdict(Outcome.REFUSED, (("finite_alpha", 1, 1, 0, 1),))
    said = explanation("propose", READY, (READY, no_number), READING, kind=Kind.PROBE)
    assert "Proposed was a probe to what is no number." in said
    assert "  the target was no finite number." in said
    blind = READY._replace(missed=4)
    said = explanation("miss", blind, rules.miss(LIMITS, blind))
    assert "  5 cycles in a row gave no usable reading, allowed are 4." in said
    assert "The mode went from ready to emergency." in said
    tired = trial._replace(reverts=7, alpha=101 * 10**7)
    worse = READING._replace(alpha=101 * 10**7, entropy_rate=5 * 10**6, h_internal=9 * 10**8)
    said = explanation(
        "settle",
        tired,
        rules.settle(LIMITS, tired, worse, Comparison(1, 1, 0)),
        worse,
        comparison=Comparison(1, 1, 0),
    )
    assert "  8 trials in a row were taken back, allowed are 7." in said
    assert (
        "  entropy_rate is 0.005000000, must lie in [0.000000000, 0.002000000]: above by 0.003000000 (150 %"
        in said
    )
    assert "  h_internal is 0.900000000, must lie in [0.950000000, 1.000000000]: below by 0.050000000" in said
    assert "h_internal 0.900000000, at least 0.950000000: BROKEN by 0.050000000 (5.26 % of the limit)" in said
    odd = Verdict(Outcome.REFUSED, (("mode", 1, 0, 9, 0),))
    assert "  the mode was 9, must be ready." in explanation("freeze", READY, (READY, odd))


def test_a_changed_policy_names_what_changed():
    wanted = LIMITS._replace(entropy_max=1_000_000, reverts_max=3)
    said = explanation("set_limits", READY, rules.set_limits(READY, wanted, True), limits=wanted)
    assert "Adopted: another policy is in force." in said
    assert "  entropy_max from 2,000,000 to 1,000,000\n  reverts_max from 8 to 3\n" in said
    nothing = Limits(*[0] * 13)
    assert "below by" in explanation(
        "set_limits", READY, rules.set_limits(READY, nothing, True), limits=nothing
    )


def test_what_claims_to_be_a_decision_and_is_none_cannot_be_explained():
    with pytest.raises(JournalError):
        Explainer().explain(record({"event": "observe"}))


def test_a_first_record_without_a_policy_is_explained_as_far_as_it_goes():
    entry = Entry(
        "observe", "ines", "x", READY, READY, Verdict(Outcome.HELD), None, None, READING, None, None
    )
    lines, found = Explainer().explain(record(body_of(entry), 1))
    assert "Held: α stays." in lines
    assert not any(line.startswith("The reading") for line in lines)
    assert {one.field for one in found} == {"event", "limits"}


def test_a_head_is_what_verify_tells(told, deed):
    head = json.loads(told("verify", "--json")[1])["head"]
    last = deed.records[-1]
    assert head == f"{last.sequence}:{last.hash_hex}"
    assert Head(last.sequence, last.hash_hex)
    code, out, _ = told("verify", "--anchor", head)
    assert (code, ": verified, " in out) == (0, True)


# what a forger wrote


@pytest.fixture
def rewritten(deed, tmp_path):
    """Return a function that writes a deed's ledger anew, with the bodies as they are changed."""
    made = deed.copy(tmp_path / "forged")

    def write(change):
        records = made.records
        shutil.rmtree(made.ledger)
        with Ledger.open(made.ledger, made.signers, sync=lambda descriptor: None) as ledger:
            for record in records:
                if record.kind is RecordKind.ENTRY:
                    ledger.append(change(record.sequence, json.loads(json.dumps(record.body))))
        return made

    return write


def test_what_does_not_print_is_escaped(told, rewritten):
    made = rewritten(lambda number, body: {**body, "reason": "\x1b[2Jall good", "actor": "a\nb"})
    for command in (("show",), ("show", "--csv"), ("explain", 3), ("replay",)):
        _, out, err = told(*command, of=made)
        assert "\x1b" not in out + err
    lines = told("show", "--csv", "--last", 1, of=made)[1].splitlines()
    assert lines[-1].endswith("a\\nb,\\x1b[2Jall good")


def test_an_alpha_beyond_all_floats_is_shown_as_it_is(told, rewritten):
    made = rewritten(lambda number, body: {**body, "new_alpha": 10**400})
    code, out, _ = told("show", "--csv", "--last", 1, of=made)
    assert code == 0
    assert f",{10**400}e-9," in out


def test_members_that_are_no_text_match_nothing(told, rewritten):
    made = rewritten(lambda number, body: {**body, "actor": ["x"], "verdict": {"x": 1}})
    for option in ("--actor", "--verdict"):
        code, out, _ = told("show", "--csv", option, "refused" if option == "--verdict" else "x", of=made)
        assert (code, out.count("\n")) == (0, 1)


@pytest.mark.parametrize("command", ["show", "export"])
def test_no_number_is_too_large_to_be_refused(told, tmp_path, command):
    arguments = (command, "--last", 10**20, *([tmp_path / "out"] if command == "export" else []))
    code, _, err = told(*arguments)
    assert code == 2
    assert "--last" in err


@pytest.mark.parametrize(
    "command",
    [
        ("freeze", "--actor", "ines", "--reason", "stop", "--wait", "nan"),
        ("order", "send", "order.json", "--wait", "nan"),
        ("order", "send", "order.json", "--wait", "inf"),
        ("config", "calibrate", "--quantile", "nan"),
    ],
    ids=" ".join,
)
def test_nan_lies_in_no_range(told, command):
    code, _, err = told(group=command)
    assert code == 2
    assert "error" in err.lower()
    assert "nan" in err or "inf" in err


def test_an_alpha_that_no_float_comes_near_to_is_shown_as_it_stands():
    huge = 10**400
    shown = record_row(record({"old_alpha": -huge, "new_alpha": huge, "broken": [[], ["x"], 5]}))
    assert shown[4:7] == (f"-{huge}e-9", f"{huge}e-9", "x")


FOUL = "\x1b[2J\n\x07\x9b1m\u202e"
SHOWN = r"\x1b[2J\n\x07\x9b1m\u202e"


@pytest.fixture(scope="module")
def foul(deed, tmp_path_factory):
    """The deed with a decision and a note whose every word would move the reader's cursor."""
    last = [one for one in deed.records if one.kind is RecordKind.ENTRY][-1]
    own = forged(deed, tmp_path_factory.mktemp("foul") / "own", lambda body: body)
    words = {"actor": f"a{FOUL}", "reason": f"r{FOUL}"}
    with Ledger.open(own.ledger, own.signers) as ledger:
        ledger.append({**last.body, **words, "event": f"e{FOUL}", "broken": [[f"b{FOUL}", 0, 0, 1, 0]]})
        ledger.append({"event": "order", **words, "verdict": f"v{FOUL}", f"m{FOUL}": f"m{FOUL}"})
    return own


def is_clean(text):
    return all(line.isprintable() for line in text.split("\n"))


def test_what_a_forged_ledger_says_does_not_steer_the_terminal(told, foul):
    last = foul.records[-1].sequence
    code, out, _ = told("show", "--csv", of=foul)
    assert (code, is_clean(out)) == (0, True)
    decision, note = list(csv.reader(io.StringIO(out)))[-2:]
    assert (decision[2], *decision[6:]) == (f"e{SHOWN}", f"b{SHOWN}", f"a{SHOWN}", f"r{SHOWN}")
    assert (note[3], note[8]) == (f"v{SHOWN}", f"r{SHOWN}")
    code, out, _ = told("show", "--last", 2, of=foul)
    assert (code, is_clean(out)) == (0, True)
    for index, words in ((last - 1, ("e", "a", "r", "b")), (last, ("a", "r", "v", "m"))):
        _, out, err = told("explain", index, of=foul)
        assert (is_clean(out), err) == (True, "")
        assert all(f"{word}{SHOWN}" in out for word in words)
    code, out, _ = told("replay", of=foul)
    assert (code, is_clean(out)) == (3, True)


def test_the_status_of_a_forged_ledger_is_told(told, deed, tmp_path):
    last = [one for one in deed.records if one.kind is RecordKind.ENTRY][-1]
    state = {**last.body["after"], "alpha": 10**400, "good": -(10**400)}
    limits = {**deed.records[1].body["limits"], "alpha_max": 10**400}
    own = forged(deed, tmp_path / "own", lambda body: body)
    with Ledger.open(own.ledger, own.signers) as ledger:
        ledger.append({**last.body, "after": state, "limits": limits, "verdict": f"v{FOUL}"})
    code, out, _ = told("status", of=own, group=())
    assert (code, is_clean(out)) == (0, True)
    whole = "".join(out.replace("│", "").split())
    assert f"{10**400}e-9in[" in whole
    assert f"v{SHOWN}1" in whole
    code, out, _ = told("status", "--json", of=own, group=())
    assert (code, json.loads(out)["alpha"]) == (0, f"{10**400}e-9")
    code, _, err = told("policy", "show", of=own, group=())
    assert (code, err.startswith("error: the ledger's limits in force cannot be shown")) == (3, True)


@pytest.mark.parametrize("member", ["alpha", "good"])
def test_an_alpha_that_no_float_comes_near_to_is_told_of_and_never_applied(told, deed, tmp_path, member):
    own, huge = deed.copy(tmp_path / "own"), 10**400
    assert told("save", tmp_path / "saved", of=own, group=())[0] == 0
    last = [one for one in deed.records if one.kind is RecordKind.ENTRY][-1]
    with Ledger.open(own.ledger, own.signers) as ledger:
        ledger.append({**last.body, "after": {**last.body["after"], member: huge}})
    code, out, _ = told("load", tmp_path / "saved", of=own, group=())
    assert (code, "1 records since; now ready, α = " in out) == (0, True)
    assert (f"α = {huge}e-9" in out) == (member == "alpha")
    before = (own.ledger / "journal").read_bytes()
    code, _, err = told("run", "--plain", of=own, group=())
    assert code == 3
    assert err.startswith("error: where the ledger leaves α cannot be shown: OverflowError")
    assert (own.ledger / "journal").read_bytes() == before


def test_what_is_wrong_with_a_forged_record_does_not_steer_the_terminal(told, deed, tmp_path):
    own = deed.copy(tmp_path / "own")
    stored = deed.records[-1].stored
    members = {**json.loads(stored), "v": f"v{FOUL}"}
    journal = own.ledger / "journal"
    journal.write_bytes(journal.read_bytes().replace(frame.encode(stored), frame.encode(encode(members))))
    code, out, _ = told("verify", of=own)
    assert (code, is_clean(out), f"v is 'v{SHOWN}', must be 1" in out) == (3, True, True)
    code, _, err = told("show", of=own)
    assert (code, is_clean(err), SHOWN in err) == (3, True, True)
    code, out, _ = told("doctor", of=own, group=())
    assert (code, is_clean(out)) == (1, True)
