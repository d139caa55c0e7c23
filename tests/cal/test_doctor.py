"""What the doctor finds, and what is to be done about it."""

import json
import os
import socket
import subprocess
from datetime import datetime

import pytest
from cli_bench import PROGRAM

from attunement.cli import _exit_code
from ledger import generate


@pytest.fixture
def doctor(capsys, site):
    """Run the doctor; return its exit code and its findings by name."""

    def run(config=None, *flags):
        code = _exit_code(["doctor", "--config", config or site.config(), "--json", *flags])
        told = json.loads(capsys.readouterr().out)
        assert told["is_well"] == (code == 0)
        return code, {one["name"]: one for one in told["findings"]}

    return run


def test_a_sound_site_is_well(doctor, site, capsys):
    code, found = doctor()
    assert code == 0
    assert {one["level"] for one in found.values()} == {"ok"}
    assert "does not exist yet" in found["ledger"]["said"]
    _exit_code(["run", "--config", site.config(), "--plain"])
    capsys.readouterr()
    code, found = doctor()
    assert (code, "verifies" in found["ledger"]["said"]) == (0, True)
    assert _exit_code(["doctor", "--config", site.config()]) == 0
    assert "it is the proved one" in capsys.readouterr().out


def test_keys_that_cannot_be_used(doctor, site):
    site.key.chmod(0o644)
    site.log_key.unlink()
    code, found = doctor()
    assert code == 1
    assert "has mode 0644" in found["record key"]["said"]
    assert found["record key"]["advice"].startswith(f"chmod 600 {site.key}")
    assert (found["log key"]["level"], found["log key"]["advice"]) == ("failed", "`keys init` makes it")


def test_a_public_key_that_is_anothers(doctor, site):
    other = site.folder / "other.key"
    generate(other, f"{other}.pub")
    (site.folder / "other.key.pub").rename(f"{site.log_key}.pub")
    os.unlink(f"{site.key}.pub")
    code, found = doctor()
    assert (found["log key"]["level"], found["record key"]["level"]) == ("warning", "warning")
    assert "is not its public key" in found["log key"]["said"]
    assert code == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_key_of_another_user(doctor, site):
    os.chown(site.key, 65534, 65534)
    _, found = doctor()
    assert (found["record key"]["level"], found["record key"]["advice"]) == ("warning", "chown it to 0")


def test_operators(doctor, site):
    _, found = doctor(site.config(governance={"operators": []}))
    assert found["operators"]["level"] == "warning"
    code, found = doctor(site.config(governance={"operators": [{"name": "ines", "key_path": "none.pub"}]}))
    assert (code, found["operators"]["level"]) == (1, "failed")


def test_a_policy_that_is_not_well_formed(doctor, site):
    code, found = doctor(site.config(delta_alpha_max=1e-10))
    assert (code, found["policy"]["level"]) == (1, "failed")


def test_a_ledger_that_does_not_verify(doctor, site, capsys):
    _exit_code(["run", "--config", site.config(), "--plain"])
    capsys.readouterr()
    data = bytearray(site.journal.read_bytes())
    data[len(data) // 2] ^= 1
    site.journal.write_bytes(data)
    code, found = doctor()
    assert (code, found["ledger"]["level"]) == (1, "failed")
    os.unlink(f"{site.key}.pub")
    assert "cannot" in doctor()[1]["ledger"]["said"]


def test_a_folder_that_is_none(doctor, site):
    (site.folder / "file").write_text("precious")
    code, found = doctor(site.config(logging={"audit_ledger_path": str(site.folder / "file" / "ledger")}))
    assert (code, "is no folder" in found["ledger folder"]["said"]) == (1, True)


def test_ports_that_are_taken(doctor, site):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, found = doctor(site.config(metrics={"enabled": True, "port": port}, serve={"port": port}))
    assert (code, found["metrics port"]["level"], found["serve port"]["level"]) == (0, "warning", "warning")
    assert "Address already in use" in found["metrics port"]["said"]
    assert found["serve port"]["advice"].startswith("choose another serve.port")


def test_a_clock_that_is_behind_the_ledger(doctor, site, capsys, monkeypatch):
    _exit_code(["run", "--config", site.config(), "--plain"])
    capsys.readouterr()
    real = datetime

    def at(year):
        moment = type(
            "Moment", (datetime,), {"now": classmethod(lambda cls, zone: real(year, 1, 1, tzinfo=zone))}
        )
        monkeypatch.setattr("attunement.doctor.datetime", moment)

    at(2025)
    _, found = doctor()
    assert (found["clock"]["level"], "is behind it" in found["clock"]["said"]) == ("warning", True)
    at(1970)
    code, found = doctor()
    assert (code, found["clock"]["level"]) == (1, "failed")


@pytest.mark.parametrize(("free", "level"), [(10 << 20, "failed"), (100 << 20, "warning"), (10 << 30, "ok")])
def test_room_on_the_disk(doctor, monkeypatch, free, level):
    usage = type("Usage", (), {"free": free})
    monkeypatch.setattr("attunement.doctor.shutil.disk_usage", lambda place: usage)
    code, found = doctor()
    assert (found["disk"]["level"], code) == (level, 1 if level == "failed" else 0)


def test_sockets(doctor, site):
    path = site.folder / "a.sock"
    config = site.config(control={"socket": str(path)})
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    _, found = doctor(config)
    assert "a stale socket is there" in found["socket"]["said"]
    assert doctor(site.config(control={"enabled": False}))[1]["socket"]["level"] == "warning"
    long = {"audit_ledger_path": str(site.folder / ("x" * 120))}
    code, found = doctor(site.config(logging=long))
    assert (code, "must have at most 107" in found["socket"]["said"]) == (1, True)
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        code, found = doctor(site.config(control={"socket": str(path)}))
    assert (code, "gave no answer in" in found["socket"]["said"]) == (1, True)


def test_beside_a_loop_that_runs(doctor, site, until):
    config = site.config(cycles=None, settle_delay=0.01, metrics={"enabled": True, "port": 0})
    sock = site.ledger.with_name("ledger.log.sock")
    with subprocess.Popen([*PROGRAM, "run", "--config", config], stdout=subprocess.DEVNULL) as process:
        until(sock.exists)
        code, found = doctor(config)
        assert (code, found["socket"]["said"]) == (0, f"a loop runs, process {process.pid}")
        sock.chmod(0o666)
        code, found = doctor(config)
        assert (code, found["socket"]["advice"]) == (1, f"chmod 600 {sock}")
        process.terminate()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_for_the_shell(capsys, shell):
    assert _exit_code(["completion", shell]) == 0
    assert f"_LAMBDA_ATTUNEMENT_COMPLETE={shell}_complete" in capsys.readouterr().out
    assert _exit_code(["completion", "csh"]) == 2


def test_commands_and_keys_are_completed():
    def completed(words, place):
        environment = {
            **os.environ,
            "_LAMBDA_ATTUNEMENT_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": place,
        }
        done = subprocess.run(PROGRAM, env=environment, capture_output=True, text=True, check=False)
        return [line.removeprefix("plain,") for line in done.stdout.splitlines()]

    assert "rollback" in completed("lambda-attunement ro", "1")
    assert completed("lambda-attunement config explain safety.entropy", "3") == [
        "safety.entropy_max",
        "safety.entropy_severe",
    ]
