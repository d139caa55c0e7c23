"""Every command with its exit code: 0 done, 1 error, 2 usage, 3 refused, 4 latched."""

import json
import re
import socket
import stat
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from ledger_bench import split

import proofs
from attunement.config import loads
from ledger import Ledger, SigningKey, load_private, read_records

COMMANDS = [
    (),
    ("run",),
    ("dry-run",),
    ("status",),
    ("ledger",),
    ("ledger", "verify"),
    ("ledger", "show"),
    ("prove",),
    ("keys",),
    ("keys", "init"),
    ("keys", "rotate"),
    ("config",),
    ("config", "check"),
    ("config", "calibrate"),
    ("order",),
    ("order", "make"),
    ("order", "sign"),
    ("order", "show"),
]
STORM = {"kind": "partition", "start": 8, "length": 4, "magnitude": 1, "share": 0.5}


@pytest.fixture(autouse=True)
def narrow(cli, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_a_help_text(cli, command):
    code, out, err = cli(*command, "--help")
    assert (code, err) == (0, "")
    assert out.startswith("Usage: lambda-attunement")
    assert re.search(r"\n\n  [A-Z]\w+[ ,]", out)


def test_the_exit_codes_are_in_the_help_text(cli):
    said = " ".join(cli("--help")[1].split())
    assert "Exit codes: 0 done, 1 error, 2 usage or configuration, 3 refused, 4 frozen or emergency." in said


def test_the_version_is_told(cli):
    code, out, _ = cli("--version")
    assert code == 0
    assert re.fullmatch(r"lambda-attunement, version \d+\.\d+.*\n", out)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("tune",),
        ("run", "--fast"),
        ("run", "extra"),
        ("run", "--cycles", "0"),
        ("run", "--cycles", "many"),
        ("ledger",),
        ("ledger", "mend"),
        ("ledger", "show", "--last", "0"),
        ("config", "calibrate", "--quantile", "1.5"),
        ("run", "--actor", "ines"),
        ("run", "--operator-key", "k", "--actor", "ines"),
        ("run", "--operator-key", "k", "--actor", " ", "--reason", "storm"),
    ],
    ids=" ".join,
)
def test_what_is_no_command_is_a_usage_error(cli, arguments):
    code, out, err = cli(*arguments)
    assert (code, out) == (2, "")
    assert "Usage:" in err


def test_the_console_script_exits_with_the_code():
    (script,) = entry_points(group="console_scripts", name="lambda-attunement")
    program = f"from {script.module} import {script.attr}; {script.attr}()"
    for argument, code, said in (("--version", 0, "version"), ("nope", 2, "")):
        done = subprocess.run(
            [sys.executable, "-c", program, argument], capture_output=True, text=True, check=False
        )
        assert (done.returncode, said in done.stdout) == (code, True)


def test_an_interruption_is_an_error(cli, monkeypatch):
    def interrupted(path, environ, flags):
        raise KeyboardInterrupt

    monkeypatch.setattr("attunement.cli_common.load", interrupted)
    code, _, err = cli("config", "check")
    assert (code, err.strip()) == (1, "error: interrupted")


def test_a_run_prints_a_line_a_cycle_and_ends_with_a_verified_ledger(cli, site):
    code, out, err = cli("run", "--config", site.config(), "--plain")
    assert code == 0
    assert len(out.splitlines()) == 30
    assert all(line.startswith(f"cycle {number} ") for number, line in enumerate(out.splitlines(), 1))
    ran, verified = err.splitlines()
    assert ran == "30 cycles run: all cycles are done"
    assert re.fullmatch(
        rf"ledger {site.ledger}: verified, \d+ records good, head \d+:[0-9a-f]{{64}}", verified
    )
    assert [record.body.get("event") for record in read_records(site.ledger)][:2] == [None, "start"]


def test_json_goes_to_stdout_and_messages_to_stderr(cli, site):
    code, out, err = cli("run", "--config", site.config(), "--json", "--cycles", 5)
    assert code == 0
    assert [json.loads(line)["cycle"] for line in out.splitlines()] == [1, 2, 3, 4, 5]
    assert "5 cycles run" in err


def test_a_terminal_gets_the_live_screen(cli, site, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    code, out, _ = cli("run", "--config", site.config(cycles=6))
    assert code == 0
    assert "cycle 6 of 6" in out
    assert "╭" in out


def test_a_run_goes_on_where_the_ledger_left_off(cli, site):
    config = site.config()
    cli("run", "--config", config, "--plain")
    code, out, _ = cli("status", "--config", config, "--json")
    before = json.loads(out)
    assert code == 0
    assert before["mode"] == "ready"
    assert before["alpha"] == before["good"] != 1.0
    code, out, _ = cli("run", "--config", config, "--json", "--cycles", 1)
    assert code == 0
    line = json.loads(out)
    assert line["cycle"] == 31
    assert abs(line["alpha"] - before["alpha"]) <= 0.02 + 1e-12
    restart = [record.body for record in read_records(site.ledger) if record.body.get("event") == "recover"]
    assert (restart[-1]["reason"], restart[-1]["new_alpha"]) in [
        ("restart", round(before["alpha"] * 1e9)),
        ("controller stopped: open trial reverted", round(before["alpha"] * 1e9)),
    ]


def test_the_environment_wins_over_the_file(cli, site, monkeypatch):
    monkeypatch.setenv("ATTUNEMENT__CYCLES", "3")
    code, out, _ = cli("run", "--config", site.config(), "--plain")
    assert (code, len(out.splitlines())) == (0, 3)
    monkeypatch.setenv("ATTUNEMENT__CYCELS", "3")
    code, _, err = cli("run", "--config", site.config(), "--plain")
    assert code == 2
    assert "error: ATTUNEMENT__CYCELS is not known, the nearest name is ATTUNEMENT__CYCLES" in err


def test_what_is_not_enabled_holds_alpha(cli, site):
    code, out, _ = cli("run", "--config", site.config(enabled=False), "--plain")
    assert code == 0
    assert all(" alpha 1.000000000 " in line for line in out.splitlines())
    assert [record.body.get("event") for record in read_records(site.ledger)] == [None, "start", "charter"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"delta_alpha_max": -0.02}, "attunement.delta_alpha_max is -0.02, must lie in (0, 1]"),
        ({"delta_alpha_max": 0}, "attunement.delta_alpha_max is 0, must lie in (0, 1]"),
        ({"delta_alpha_max": True}, "attunement.delta_alpha_max is true, must be a number"),
        ({"delta_alpha_max": "0.02"}, 'attunement.delta_alpha_max is "0.02", must be a number'),
        ({"delta_alpha_max": float("nan")}, "attunement.delta_alpha_max is"),
        ({"delta_alpha_max": 1e-10}, "attunement gives a policy whose step_max is 0"),
        ({"alpha_initial": 1.5}, "attunement.alpha_initial is 1.5, must lie in [0.8, 1.2]"),
        ({"alpha_min": 1.3}, "attunement.alpha_min is 1.3, must be below attunement.alpha_max (1.2)"),
        ({"safety": {"entropy_mx": 1}}, "attunement.safety.entropy_mx is not a key"),
        ({"optimizer": {"name": "magic"}}, "optimizer is 'magic', must be one of"),
        ({"optimizer": {"settings": {"lrr": 1}}}, "lrr is no setting"),
        ({"source": {"kind": "trace"}}, "attunement.source.folder is null, must name a folder"),
        (
            {"governance": {"operators": [{"name": "ines", "key_path": "/nowhere/key.pub"}]}},
            "cannot read /nowhere",
        ),
        ({"governance": {"quorum": 2}}, "attunement.governance.quorum is 2, must lie in [1, 1]"),
    ],
    ids=str,
)
def test_a_configuration_that_cannot_be_used_is_named(cli, site, changes, said):
    code, out, err = cli("run", "--config", site.config(**changes), "--plain")
    assert (code, out) == (2, "")
    assert f"error: {said}" in err
    assert not site.ledger.exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("attunement: [1, 2", "line 1, column"),
        ("attunement: {cycles: 1, cycles: 2}", "cycles"),
        ("\tattunement:", "line 1, column"),
        ("", "must be a mapping with the key attunement"),
        ("attunement: 3", "attunement is 3, must be a mapping"),
    ],
)
def test_a_file_that_is_no_configuration_is_named(cli, tmp_path, text, said):
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    code, out, err = cli("run", "--config", path)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert said in err


def test_a_file_that_is_not_there_is_named(cli, tmp_path):
    code, _, err = cli("run", "--config", tmp_path / "nothing.yaml")
    assert code == 2
    assert "nothing.yaml: cannot be read" in err


def test_a_run_without_a_key_says_how_to_make_one(cli, site):
    site.key.unlink()
    code, _, err = cli("run", "--config", site.config())
    assert code == 2
    assert err == f"error: {site.key} does not exist: make it with `lambda-attunement keys init`\n"


def test_a_key_that_others_may_read_is_not_used(cli, site):
    site.key.chmod(0o644)
    code, _, err = cli("run", "--config", site.config())
    assert code == 2
    assert "has mode 0644, must be its owner's alone" in err


def test_a_changed_policy_needs_an_operator(cli, site):
    cli("run", "--config", site.config(), "--plain")
    tight = site.config(safety={"entropy_max": 0.001})
    code, _, err = cli("run", "--config", tight, "--plain")
    assert code == 2
    assert err.splitlines() == [
        "error: attunement gives entropy_max = 1,000,000 in units of 1e-9 or counts, the ledger's policy has "
        "2,000,000: an operator must adopt the change",
        "error: attunement gives entropy_severe = 10,000,000 in units of 1e-9 or counts, the ledger's policy "
        "has 20,000,000: an operator must adopt the change",
    ]
    code, _, _ = cli("run", "--config", tight, "--plain", *site.orders)
    assert code == 0
    adopted = [
        record.body for record in read_records(site.ledger) if record.body.get("event") == "set_limits"
    ]
    assert [body["verdict"] for body in adopted] == ["adopted"]
    assert (adopted[0]["actor"], adopted[0]["reason"]) == ("ines", "storm is over")
    assert cli("run", "--config", tight, "--plain")[0] == 0
    assert json.loads(cli("status", "--config", tight, "--json")[1])["policy"] == 2


def test_a_policy_is_not_adopted_for_somebody_else(cli, site):
    cli("run", "--config", site.config(), "--plain")
    tight = site.config(safety={"entropy_max": 0.001})
    forged = ("--operator-key", site.key, "--actor", "mallory", "--reason", "because")
    code, _, err = cli("run", "--config", tight, "--plain", *forged)
    assert code == 2
    assert "authorised is 0" in err
    assert json.loads(cli("status", "--config", tight, "--json")[1])["policy"] == 1


def test_a_policy_that_alpha_lies_outside_is_not_adopted(cli, site):
    cli("run", "--config", site.config(), "--plain")
    narrow = site.config(alpha_min=0.98, alpha_max=1.0, alpha_initial=1.0)
    code, _, err = cli("run", "--config", narrow, "--plain", *site.orders)
    assert code == 2
    assert re.search(r"error: alpha is [01]\.\d+, must lie in \[0\.98, 1\]", err)


def test_a_ledger_of_another_key_is_refused(cli, site):
    cli("run", "--config", site.config(), "--plain")
    other = site.folder / "other.key"
    assert cli("keys", "init", "--path", other)[0] == 0
    before = site.journal.read_bytes()
    for command in ("run", "--plain"), ("ledger", "verify"):
        config = site.config(logging={"audit_ledger_path": str(site.ledger), "key_path": str(other)})
        code, out, err = cli(*command, "--config", config)
        assert code == 3
        assert "was written by key" in out + err
    assert site.journal.read_bytes() == before


def test_a_tampered_ledger_is_refused(cli, site):
    config = site.config()
    cli("run", "--config", config, "--plain")
    frames = split(site.journal.read_bytes())
    frames[4] = frames[4].replace(b'"attunement_controller"', b'"attunement_contraller"', 1)
    site.journal.write_bytes(b"".join(frames))
    for command in ("run", "--plain"), ("ledger", "verify"):
        code, out, err = cli(*command, "--config", config)
        assert code == 3
        assert "record 4 at byte" in out + err
        assert "frame" in out + err


@pytest.mark.parametrize("place", ["a file", "below a file"])
def test_a_ledger_that_cannot_be_written_is_an_error(cli, site, place):
    path = site.folder / "place"
    path.write_text("a file")
    if place == "below a file":
        path = path / "ledger"
    config = site.config(logging={"audit_ledger_path": str(path), "key_path": str(site.key)})
    code, out, err = cli("run", "--config", config, "--plain")
    assert (code, out) == (1, "")
    assert re.match(rf"error: cannot create the folder {path}: \w", err)


def test_a_ledger_that_is_being_written_is_left_alone(cli, site):
    config = site.config()
    cli("run", "--config", config, "--plain")
    with Ledger.open(site.ledger, site.signers):
        code, _, err = cli("run", "--config", config, "--plain")
    assert code == 1
    assert "is held by another writer" in err


def test_a_taken_port_costs_the_metrics_and_not_the_run(cli, site):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        config = site.config(metrics={"enabled": True, "port": port}, cycles=4)
        code, out, err = cli("run", "--config", config, "--plain")
    assert (code, len(out.splitlines())) == (0, 4)
    assert err.splitlines()[0] == (
        f"error: no metrics are served: metrics.port {port} on 127.0.0.1 is taken by another program or run"
    )


def test_metrics_are_served_while_a_run_lasts(cli, site):
    code, _, err = cli("run", "--config", site.config(metrics={"enabled": True, "port": 0}, cycles=2))
    assert code == 0
    assert "no metrics" not in err


def test_a_storm_latches_and_only_the_operator_ends_it(cli, site):
    stormy = site.config(source={"shocks": [STORM]}, cycles=20)
    assert cli("run", "--config", stormy, "--plain")[0] == 4
    assert cli("status", "--config", stormy)[0] == 4
    calm = site.config(cycles=5)
    assert cli("run", "--config", calm, "--plain")[0] == 4
    forged = ("--operator-key", site.key, "--actor", "mallory", "--reason", "because")
    assert cli("run", "--config", calm, "--plain", *forged)[0] == 3
    assert json.loads(cli("status", "--config", calm, "--json")[1])["mode"] == "emergency"
    code, out, _ = cli("run", "--config", calm, "--plain", *site.orders)
    assert code == 0
    assert "approve approved (storm is over)" in out.splitlines()[0]
    assert cli("status", "--config", calm)[0] == 0


def test_an_operator_present_does_not_approve_a_storm_that_comes_later(cli, site):
    stormy = site.config(source={"shocks": [STORM]}, cycles=20)
    assert cli("run", "--config", stormy, "--plain", *site.orders)[0] == 4
    events = [record.body.get("event") for record in read_records(site.ledger)]
    assert "approve" not in events


def test_a_trace_is_attuned_to_its_end(cli, site):
    folder = site.folder / "trace"
    folder.mkdir()
    for node in range(3):
        rows = "".join(f"2026-03-01T00:{minute:02d}:00,{(minute * 7 + node) % 11}\n" for minute in range(40))
        (folder / f"node{node}.csv").write_text(f"timestamp,value\n{rows}")
    safety = {"entropy_max": 0.2, "h_internal_min": 0.3, "kappa": 1.0}
    config = site.config(source={"kind": "trace", "folder": str(folder)}, safety=safety, cycles=None)
    code, out, err = cli("run", "--config", config, "--plain")
    assert code in (0, 4)
    assert "29 cycles run: the trace ended after 29 samples" in err
    assert len(out.splitlines()) == 29


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("2026-03-01T00:00:00,\n", "line 2: value is ''"),
        ("2026-03-01T00:00:00,1\n", "must be at least the window of 12"),
    ],
)
def test_a_trace_that_cannot_be_used_is_named(cli, site, rows, said):
    folder = site.folder / "trace"
    folder.mkdir()
    (folder / "node.csv").write_text(f"timestamp,value\n{rows}")
    code, _, err = cli("run", "--config", site.config(source={"kind": "trace", "folder": str(folder)}))
    assert code == 1
    assert said in err


def test_status_tells_where_the_ledger_stands(cli, site):
    config = site.config()
    cli("run", "--config", config, "--plain")
    code, out, _ = cli("status", "--config", config)
    assert code == 0
    for shown in ("READY", "in [0.8, 1.2]", "rollback target", "policy version", "committed", "started 1"):
        assert shown in out
    told = json.loads(cli("status", "--config", config, "--json")[1])
    assert told["records"] == len(list(read_records(site.ledger)))
    assert sum(told["verdicts"].values()) == told["records"] - 2  # the key's and the charter's


def test_status_of_no_ledger_is_an_error(cli, site):
    code, _, err = cli("status", "--config", site.config())
    assert code == 1
    assert f"error: no ledger in {site.ledger}: it has no file journal" in err


def test_status_of_a_ledger_without_decisions_is_refused(cli, site):
    Ledger.open(site.ledger, site.signers).close()
    code, _, err = cli("status", "--config", site.config())
    assert code == 3
    assert "holds no decisions yet" in err


def test_a_ledger_of_something_else_is_refused(cli, site):
    with Ledger.open(site.ledger, site.signers) as ledger:
        ledger.append({"song": "of the sea"})
    for command in ("run", "--plain"), ("status",):
        code, _, err = cli(*command, "--config", site.config())
        assert code == 3
        assert "record 1 holds no kernel entry" in err


def test_verify_says_what_it_found(cli, site):
    config = site.config()
    cli("run", "--config", config, "--plain")
    code, out, _ = cli("ledger", "verify", "--config", config)
    assert (code, ": no anchor, " in out) == (0, True)
    code, out, _ = cli("ledger", "verify", "--config", config, "--json")
    told = json.loads(out)
    assert (code, told["verdict"], told["finding"]) == (0, "no anchor", None)
    assert cli("ledger", "verify", "--config", config, "--anchor", told["head"])[0] == 0
    sequence, digest = told["head"].split(":")
    code, out, _ = cli("ledger", "verify", "--config", config, "--anchor", f"{int(sequence) + 1}:{digest}")
    assert code == 3
    assert "was seen and is missing" in out
    code, out, _ = cli("ledger", "verify", "--config", config, "--anchor", f"{sequence}:{'0' * 64}", "--json")
    assert (code, json.loads(out)["verdict"]) == (3, "forked")


@pytest.mark.parametrize("anchor", ["", "12", "12:", ":ab", "-1:ab", "١:ab", "1.0:ab"])
def test_an_anchor_that_is_none_is_a_usage_error(cli, site, anchor):
    cli("run", "--config", site.config(), "--plain", "--cycles", 1)
    code, _, err = cli("ledger", "verify", "--config", site.config(), "--anchor", anchor)
    assert code == 2
    assert "must be SEQUENCE:HASH" in err


def test_verify_takes_a_path_and_a_key(cli, site):
    cli("run", "--config", site.config(), "--plain")
    moved = site.ledger.rename(site.folder / "moved.log")
    public = f"{site.key}.pub"
    assert cli("ledger", "verify", "--path", moved, "--public-key", public)[0] == 0
    code, out, _ = cli("ledger", "verify", "--path", moved, "--public-key", f"{site.operator}.pub")
    assert code == 3
    assert "unverifiable" in out
    (moved / "checkpoint").unlink()
    (moved / "journal").write_bytes((moved / "journal").read_bytes()[:-5])
    code, out, _ = cli("ledger", "verify", "--path", moved, "--public-key", public)
    assert code == 3
    assert "torn tail" in out
    code, _, err = cli("ledger", "verify", "--path", site.folder / "none", "--public-key", public)
    assert (code, "no ledger in" in err) == (1, True)
    code, _, err = cli("ledger", "verify", "--path", moved, "--public-key", site.folder / "none")
    assert (code, "cannot read" in err) == (2, True)


def test_show_lists_the_records(cli, site):
    config = site.config()
    cli("run", "--config", config, "--plain")
    records = list(read_records(site.ledger))
    code, out, _ = cli("ledger", "show", "--config", config, "--json")
    shown = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [line["hash"] for line in shown] == [record.hash_hex for record in records]
    assert [line["body"] for line in shown] == [record.body for record in records]
    code, out, _ = cli("ledger", "show", "--config", config, "--last", 2)
    assert code == 0
    assert "attunement_controller" in out
    assert str(len(records) - 1) in out
    code, out, _ = cli("ledger", "show", "--path", site.ledger, "--json", "--last", 1)
    assert [json.loads(line)["seq"] for line in out.splitlines()] == [len(records) - 1]
    assert cli("ledger", "show", "--path", site.folder / "none")[0] == 1


def test_show_prints_what_was_said_and_not_what_it_would_be_as_markup(cli, site, monkeypatch):
    cli("run", "--config", site.config(), "--plain", "--cycles", 1)
    with Ledger.open(site.ledger, site.signers) as ledger:
        ledger.append({"event": "note", "actor": "[/bold]", "reason": "[urgent] ticket 7", "broken": "?"})
    code, out, _ = cli("ledger", "show", "--path", site.ledger)
    assert code == 0
    assert "[/bold]" in out
    assert "[urgent] ticket 7" in out
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert cli("ledger", "show", "--path", site.ledger)[0] == 0


def test_a_dry_run_compares_and_touches_no_ledger(cli, site):
    config = site.config()
    code, out, _ = cli("dry-run", "--config", config, "--cycles", 40)
    assert code == 0
    for shown in ("α held", "attuned", "mean_coherence", "committed", "40 cycles, last quarter"):
        assert shown in out
    code, out, _ = cli("dry-run", "--config", config, "--json")
    told = json.loads(out)
    assert told["held"]["committed"] == 0
    assert told["held"]["mean_alpha"] == 1.0
    assert told["attuned"]["committed"] > 0
    assert not site.ledger.exists()


def test_a_dry_run_of_a_single_cycle_measures_it(cli, site):
    code, out, _ = cli("dry-run", "--config", site.config(), "--cycles", 1)
    assert (code, "unknown" in out) == (0, False)


def test_a_dry_run_of_a_dead_trace_says_unknown(cli, site):
    folder = site.folder / "trace"
    folder.mkdir()
    rows = "".join(f"2026-03-01T00:{minute:02d}:00,{minute}\n" for minute in range(12))
    (folder / "node.csv").write_text(f"timestamp,value\n{rows}")
    config = site.config(source={"kind": "trace", "folder": str(folder)})
    code, out, _ = cli("dry-run", "--config", config, "--cycles", 40)
    assert code == 0
    assert "unknown" in out


def test_keys_are_made_once(cli, tmp_path):
    path = tmp_path / "keys" / "ledger.key"
    code, out, _ = cli("keys", "init", "--path", path)
    assert code == 0
    assert re.fullmatch(rf"key [0-9a-f]{{16}}: {path} and {path}\.pub\n", out)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_bytes()
    code, _, err = cli("keys", "init", "--path", path)
    assert code == 2
    assert "exists, a key file is never overwritten" in err
    assert cli("keys", "init", "--path", path, "--if-missing") == (0, "", f"{path} is there already\n")
    assert path.read_bytes() == before
    assert isinstance(load_private(path), SigningKey)


def test_keys_go_where_the_configuration_says(cli, site):
    for key in (site.key, site.log_key):
        key.unlink()
        key.with_name(f"{key.name}.pub").unlink()
    assert cli("keys", "init", "--config", site.config())[0] == 0
    assert site.signers.records != site.signers.log.key


def test_keys_that_cannot_be_written_are_an_error(cli, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = cli("keys", "init", "--path", tmp_path / "file" / "key")
    assert code == 1
    assert err.startswith("error: ")


def test_the_configuration_in_force_is_printed_with_every_default(cli, site):
    config = site.config(delta_alpha_max=0.01)
    code, out, _ = cli("config", "check", "--config", config)
    assert code == 0
    assert loads(out) == loads(Path(config).read_text())
    assert "entropy_max: 0.002" in out


def test_check_says_all_that_is_wrong_at_once(cli, site):
    config = site.config(delta_alpha_max=-1, safety={"kappa": 2}, lrr=1)
    code, out, err = cli("config", "check", "--config", config)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 3


def test_check_knows_what_the_kernel_would_refuse(cli, site):
    code, _, err = cli("config", "check", "--config", site.config(safety={"kappa": 1e-12}))
    assert code == 2
    assert "loop_gain_max is 0" in err


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"optimizer": {"name": "gradiemt"}}, "the nearest is gradient"),
        ({"optimizer": {"settings": {"kq": 1.0}}}, "kq is no setting"),
        ({"optimizer": {"settings": {"kp": "x"}}}, "kp is"),
        ({"logging": {"audit_ledger_path": "x" * 110}}, "with 115 bytes, must have at most 107"),
    ],
)
def test_check_refuses_what_a_run_would_refuse(cli, site, changed, said):
    config = site.config(**changed)
    code, out, err = cli("config", "check", "--config", config)
    assert (code, out) == (2, "")
    assert said in err
    assert cli("run", "--config", config) == (2, "", err)


def test_a_socket_that_is_not_served_may_have_a_long_name(cli, site):
    config = site.config(logging={"audit_ledger_path": "x" * 110}, control={"enabled": False})
    assert cli("config", "check", "--config", config)[0] == 0


def test_calibration_proposes_limits_that_the_configuration_takes(cli, site):
    code, out, _ = cli("config", "calibrate", "--config", site.config(), "--cycles", 40)
    assert code == 0
    proposed = loads(out).safety
    assert 0 < proposed.entropy_max <= 1
    assert 0 < proposed.h_internal_min < 1


def test_calibration_of_an_engine_in_runaway_is_refused(cli, site):
    code, _, err = cli("config", "calibrate", "--config", site.config(engine={"W": 4}), "--cycles", 40)
    assert code == 2
    assert "the engine is in runaway at alpha = 1" in err


def test_a_theorem_is_proved(cli):
    code, out, _ = cli("prove", "--theorem", "T1", "--json")
    assert code == 0
    (row,) = json.loads(out)
    assert (row["identifier"], row["verdict"]) == ("T1", "proved")


def test_an_unknown_theorem_is_a_usage_error(cli):
    code, _, err = cli("prove", "--theorem", "T99")
    assert code == 2
    assert "no theorem T99" in err


@pytest.mark.parametrize(("proved", "expected"), [(True, 0), (False, 3)])
def test_a_theorem_is_explained_in_words(cli, monkeypatch, proved, expected):
    import proofs

    monkeypatch.setattr(proofs, "explain", lambda name: (f"{name}: |α' − α| ≤ step_max", proved))
    code, out, _ = cli("prove", "--explain", "T2")
    assert (code, out) == (expected, "T2: |α' − α| ≤ step_max\n")
    code, out, _ = cli("prove", "--explain", "T2", "--json")
    told = {"theorem": "T2", "is_proved": proved, "text": "T2: |α' − α| ≤ step_max"}
    assert (code, json.loads(out)) == (expected, told)


def test_an_explanation_takes_no_second_theorem(cli):
    code, out, err = cli("prove", "--explain", "T2", "--theorem", "T1")
    assert (code, out) == (2, "")
    assert "--explain proves its own theorem: give it without --theorem" in err


def test_an_unknown_theorem_cannot_be_explained(cli):
    code, _, err = cli("prove", "--explain", "T99")
    assert code == 2
    assert "no theorem T99" in err


def test_what_is_not_proved_is_refused(cli, monkeypatch):
    def refuted(names, progress):
        progress(1, 1, "T5")
        row = proofs.Row(
            "T5", "latch", "it holds", 1, 1, proofs.Verdict.REFUTED, 10, 0, "rules.freeze()", "recover by z3"
        )
        return proofs.Results((row,))

    def impure(names, progress):
        raise proofs.ImpureKernelError("kernel.rules calls open")

    monkeypatch.setattr(proofs, "prove_all", refuted)
    code, out, err = cli("prove", "--json")
    assert code == 3
    assert json.loads(out)[0]["verdict"] == proofs.Verdict.REFUTED.value
    assert err == "error: latch: recover by z3\nerror: rules.freeze()\n"
    code, out, err = cli("prove")
    assert code == 3
    assert proofs.Verdict.REFUTED.value in out
    assert err == "error: latch: recover by z3\nerror: rules.freeze()\n"
    monkeypatch.setattr(proofs, "prove_all", impure)
    assert cli("prove") == (3, "", "error: kernel.rules calls open\n")
    monkeypatch.setattr(proofs, "explain", lambda name: impure(name, None))
    assert cli("prove", "--explain", "T5") == (3, "", "error: kernel.rules calls open\n")
