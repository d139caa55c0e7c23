"""Orders in one command, to a loop that runs: freeze, unfreeze, approve, rollback, override, policy."""

import json
import subprocess

import pytest
from cli_bench import PROGRAM

from attunement.order import SignedOrder
from ledger import generate

WORDS = ("--actor", "ines", "--reason", "drill")
STORM = {"kind": "partition", "start": 8, "length": 4, "magnitude": 1, "share": 0.5}


@pytest.fixture
def loop(site, until):
    """Return a function that starts a loop without an end; each is stopped by SIGTERM at the end."""
    processes = []

    def start(**changes):
        config = site.config(cycles=None, settle_delay=0.01, **changes)
        processes.append(subprocess.Popen([*PROGRAM, "run", "--config", config], stdout=subprocess.DEVNULL))
        until(site.ledger.with_name("ledger.log.sock").exists)
        return config

    yield start
    for process in processes:
        process.terminate()
        assert process.wait(30) in (0, 4)


def two_operators(site):
    second = site.folder / "omar.key"
    generate(second, f"{second}.pub")
    keys = (("ines", site.operator), ("omar", second))
    operators = [{"name": name, "key_path": f"{key}.pub"} for name, key in keys]
    return second, {"operators": operators, "quorum": 2}


def mode(cli, config):
    return json.loads(cli("status", "--config", config, "--json")[1])["mode"]


def test_a_loop_is_frozen_unfrozen_and_moved(cli, site, loop):
    config = loop()
    signed = ("--config", config, "--key", site.operator, *WORDS)
    code, out, _ = cli("freeze", *signed)
    assert (code, out.endswith(": done: frozen\n")) == (0, True)
    assert mode(cli, config) == "frozen"
    code, _, err = cli("approve", *signed, "--json")
    assert (code, err) == (3, "")
    code, out, _ = cli("unfreeze", *signed, "--json")
    assert (code, json.loads(out)["said"]) == (0, ["approved"])
    code, out, _ = cli("override", *signed, "--alpha", "1.01", "--json")
    told = json.loads(out)
    # An optimizer's trial, or noise, may take the operator's step back: both answers are the kernel's.
    assert (code, told["state"]) in ((0, "done"), (3, "refused"))
    code, out, _ = cli("override", *signed, "--alpha", "-5")
    assert (code, "refused: α is -5, must lie in [0.8, 1.2]" in out) == (3, True)
    code, _, err = cli("rollback", *signed)
    assert (code, "name the commit by --alpha or --record" in err) == (2, True)
    code, _, err = cli("override", *signed)
    assert (code, "Missing option '--alpha'" in err) == (2, True)


def test_an_emergency_is_left_by_approval(cli, site, loop, until):
    config = loop(source={"shocks": [STORM]})
    until(lambda: mode(cli, config) == "emergency")
    code, out, _ = cli("approve", "--config", config, "--key", site.operator, *WORDS, "--json")
    assert (code, json.loads(out)["said"]) == (0, ["approved"])


def test_without_a_loop_it_is_said_what_to_do(cli, site):
    config = site.config()
    cli("run", "--config", config, "--plain")
    signed = ("--config", config, "--key", site.operator, *WORDS)
    code, _, err = cli("freeze", *signed)
    assert (code, "write the order with --out FILE, `run --order FILE` carries it out" in err) == (1, True)
    file = site.folder / "freeze.json"
    code, out, _ = cli("freeze", *signed, "--out", file, "--json")
    assert (code, json.loads(out)["signed"]) == (0, 1)
    assert SignedOrder.parse(file.read_text().rstrip("\n")).terms.action.value == "freeze"
    assert cli("freeze", *signed, "--out", file)[0] == 2
    assert cli("run", "--config", config, "--plain", "--order", file)[0] == 4


def test_a_signature_too_few_is_not_handed_over(cli, site):
    second, governance = two_operators(site)
    config = site.config(governance=governance)
    cli("run", "--config", config, "--plain")
    code, _, err = cli("unfreeze", "--config", config, "--key", site.operator, *WORDS)
    assert (code, err.startswith("error: 1 signed, must be 2")) == (3, True)
    code, _, err = cli("unfreeze", "--config", config, *WORDS)
    assert (code, "an order needs --key, or --out" in err) == (2, True)
    # One operator is enough to stop; without a loop there is nobody to stop.
    assert cli("freeze", "--config", config, "--key", second, *WORDS)[0] == 1


def test_a_policy_is_proposed_voted_on_and_shown(cli, site, loop, until):
    second, governance = two_operators(site)
    config = loop(governance=governance)
    until(lambda: cli("status", "--config", config)[0] == 0)
    file, tighter = site.folder / "calmer.json", ("--set", "safety.entropy_max=0.0015")
    propose = ("policy", "propose", "--config", config, *tighter, *WORDS, "--out", file)
    code, out, err = cli(*propose, "--key", site.operator, "--json")
    assert (code, json.loads(out)["said"]) == (0, ["waits for more votes"])
    assert err == f"written: {file}\n"
    shown = json.loads(cli("policy", "show", "--config", config, "--json")[1])
    assert (shown["in_force"]["entropy_max"], shown["quorum"]) == (0.002, 2)
    (proposal,) = shown["proposals"]
    assert (proposal["for"], proposal["against"], proposal["limits"]["entropy_max"]) == (1, 0, 0.0015)
    code, out, _ = cli("policy", "show", "--config", config, *tighter)
    assert (code, "0.0015 *" in out, "1 for, 0 against, 2 needed" in out) == (0, True, True)
    code, out, _ = cli("policy", "vote", file, "--config", config, "--key", second, "--json")
    assert (code, json.loads(out)["said"]) == (0, ["adopted"])
    shown = json.loads(cli("policy", "show", "--config", config, "--json")[1])
    assert (shown["in_force"]["entropy_max"], shown["proposals"]) == (0.0015, [])
    # A proposal without a vote is a file for the others.
    other = site.folder / "other.json"
    code, out, _ = cli("policy", "propose", "--config", config, *WORDS, "--out", other)
    assert (code, ", 0 signed" in out) == (0, True)
    freeze = site.folder / "freeze.json"
    cli("freeze", "--config", config, *WORDS, "--out", freeze)
    code, _, err = cli("policy", "vote", freeze, "--config", config, "--key", second)
    assert (code, "asks for freeze, a vote is on a policy" in err) == (2, True)


def test_a_policy_before_the_first_decision(cli, site):
    config = site.config()
    assert cli("policy", "show", "--config", config)[0] == 1
