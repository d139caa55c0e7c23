"""Orders from the command line: made beside the ledger, signed anywhere, carried out by a run."""

import json
import re

import pytest

from attunement.order import SignedOrder
from ledger import generate, read_records

STORM = {"kind": "partition", "start": 8, "length": 4, "magnitude": 1, "share": 0.5}
WORDS = ("--actor", "ines", "--reason", "storm is over")


@pytest.fixture
def second(site):
    key = site.folder / "second.key"
    generate(key, f"{key}.pub")
    return key


@pytest.fixture
def governed(site, second):
    """Write a configuration under which two of two operators must agree."""
    operators = [
        {"name": "ines", "key_path": f"{site.operator}.pub"},
        {"name": "omar", "key_path": f"{second}.pub"},
    ]

    def write(**changes):
        return site.config(**{"governance": {"operators": operators, "quorum": 2}, **changes})

    return write


def governance(site, event="order"):
    return [record.body for record in read_records(site.ledger) if record.body.get("event") == event]


def status(cli, config):
    return json.loads(cli("status", "--config", config, "--json")[1])


def test_two_operators_end_an_emergency_from_two_places(cli, site, governed, second):
    assert cli("run", "--config", governed(source={"shocks": [STORM]}, cycles=20), "--plain")[0] == 4
    config, file = governed(cycles=5), site.folder / "approve.json"
    code, out, _ = cli("order", "make", "approve", "--config", config, *WORDS, "--out", file)
    assert code == 0
    assert re.fullmatch(rf"order [0-9a-f]{{64}}: {file}\n", out)
    assert cli("order", "sign", file, "--key", site.operator)[1].endswith(": 1 signed\n")
    code, _, err = cli("run", "--config", config, "--plain", "--order", file)
    assert code == 3
    assert "(approve): 1 of 2 operators are for it, must be 2; authorised is 0" in err
    other = site.folder / "approve-2.json"
    assert cli("order", "sign", file, "--key", second, "--out", other)[1].endswith(": 2 signed\n")
    assert len(SignedOrder.parse(file.read_text().rstrip("\n")).votes) == 1
    code, _, err = cli("run", "--config", config, "--plain", "--order", other)
    assert (code, "(approve): approved" in err) == (0, True)
    assert [body["verdict"] for body in governance(site)] == ["refused", "authorised"]
    code, _, err = cli("run", "--config", config, "--plain", "--order", other)
    assert code == 3
    assert "was used" in err


def test_one_operator_present_is_not_two(cli, site, governed):
    assert cli("run", "--config", governed(source={"shocks": [STORM]}, cycles=20), "--plain")[0] == 4
    code, _, err = cli("run", "--config", governed(cycles=5), "--plain", *site.orders)
    assert code == 3
    assert "1 of 2 operators are for it, must be 2" in err


def test_a_policy_is_voted_on_over_two_runs(cli, site, governed, second):
    config = governed()
    cli("run", "--config", config, "--plain")
    tight = governed(safety={"entropy_max": 0.001})
    file, other = site.folder / "policy.json", site.folder / "second.json"
    assert cli("order", "make", "policy", "--config", tight, *WORDS, "--out", file)[0] == 0
    cli("order", "sign", file, "--key", second, "--out", other)
    cli("order", "sign", file, "--key", site.operator)
    config = governed()
    code, _, err = cli("run", "--config", config, "--plain", "--order", file)
    assert (code, "(policy): waits for more votes" in err) == (0, True)
    assert status(cli, config)["policy"] == 1
    tight = governed(safety={"entropy_max": 0.001})
    code, _, err = cli("run", "--config", tight, "--plain", "--order", other)
    assert (code, "(policy): adopted" in err) == (0, True)
    assert status(cli, tight)["policy"] == 2
    assert [vote["actor"] for vote in governance(site, "vote")] == ["ines", "omar"]
    assert cli("run", "--config", tight, "--plain")[0] == 0


def test_a_policy_that_waits_for_votes_does_not_run_under_its_own_configuration(cli, site, governed):
    cli("run", "--config", governed(), "--plain")
    tight, file = governed(safety={"entropy_max": 0.001}), site.folder / "policy.json"
    cli("order", "make", "policy", "--config", tight, *WORDS, "--out", file)
    cli("order", "sign", file, "--key", site.operator)
    code, _, err = cli("run", "--config", tight, "--plain", "--order", file)
    assert (code, err) == (2, "error: waits for more votes\n")
    assert len(governance(site, "vote")) == 1


def test_a_vote_against_is_a_vote(cli, site, governed, second):
    config, file = governed(), site.folder / "policy.json"
    cli("run", "--config", config, "--plain")
    cli("order", "make", "policy", "--config", config, *WORDS, "--out", file)
    cli("order", "sign", file, "--key", second, "--against")
    cli("order", "sign", file, "--key", site.operator)
    code, _, err = cli("run", "--config", config, "--plain", "--order", file)
    assert code == 3
    assert "1 of 2 operators are against it: it is rejected" in err


def test_no_policy_while_psi_is_low(cli, site, governed):
    one = {"operators": [{"name": "ines", "key_path": f"{site.operator}.pub"}], "psi_min": 0.95}
    cli("run", "--config", site.config(governance=one), "--plain")
    tight = site.config(governance=one, safety={"entropy_max": 0.001})
    code, _, err = cli("run", "--config", tight, "--plain", *site.orders)
    assert code == 2
    assert "error: Ψ is 0.900000000, must be at least 0.950000000" in err
    assert status(cli, tight)["policy"] == 1


def commit_of(site):
    return next(record for record in read_records(site.ledger) if record.body.get("verdict") == "committed")


def test_a_freeze_a_rollback_and_an_alpha_to_begin_at(cli, site, second):
    config = site.config(enabled=True)
    cli("run", "--config", config, "--plain")
    commit = commit_of(site)
    alpha = commit.body["new_alpha"] / 1e9
    files = [site.folder / f"{name}.json" for name in ("freeze", "rollback", "persist")]
    cli("order", "make", "freeze", "--config", config, *WORDS, "--out", files[0])
    cli("order", "sign", files[0], "--key", site.operator)
    assert cli("run", "--config", config, "--plain", "--order", files[0])[0] == 4
    cli(
        "order",
        "make",
        "rollback",
        "--config",
        config,
        *WORDS,
        "--record",
        commit.sequence,
        "--out",
        files[1],
    )
    cli(
        "order", "make", "persist", "--config", config, *WORDS, "--record", commit.sequence, "--out", files[2]
    )
    for file in files[1:]:
        cli("order", "sign", file, "--key", site.operator)
    orders = [part for file in files[1:] for part in ("--order", file)]
    code, _, err = cli("run", "--config", config, "--plain", *orders)
    assert code == 4
    assert f"(rollback): α = {alpha:.9f} is committed" in err
    assert "(persist): recorded" in err
    told = status(cli, config)
    assert (told["mode"], told["alpha"], told["alpha_initial"]) == ("frozen", alpha, alpha)
    shown = cli("status", "--config", config)[1]
    assert re.search(rf"latched by +│ record {told['latch']} ", shown)
    assert f"{alpha:.9f}, of record {commit.sequence}" in shown
    code, out, _ = cli("dry-run", "--config", config, "--cycles", 4, "--json")
    assert json.loads(out)["held"]["mean_alpha"] == pytest.approx(alpha)
    new = site.folder / "new"
    successor = site.config(
        logging={"audit_ledger_path": str(new)}, governance={"predecessor": str(site.ledger)}, cycles=1
    )
    assert cli("run", "--config", successor, "--plain")[0] == 0
    start = list(read_records(new))[1].body
    assert start["new_alpha"] == commit.body["new_alpha"]
    assert re.fullmatch(
        r"first start at the α persisted in the ledger with head \d+:[0-9a-f]{64}", start["reason"]
    )


def test_a_predecessor_without_a_persisted_alpha_or_that_is_not_good(cli, site, second):
    cli("run", "--config", site.config(), "--plain")
    new = site.folder / "new"
    changes = {"logging": {"audit_ledger_path": str(new)}, "governance": {"predecessor": str(site.ledger)}}
    assert cli("run", "--config", site.config(**changes, cycles=1), "--plain")[0] == 0
    assert list(read_records(new))[1].body["new_alpha"] == 10**9
    site.journal.write_bytes(site.journal.read_bytes()[:-4])
    changes["logging"] = {"audit_ledger_path": str(site.folder / "newer")}
    code, _, err = cli("run", "--config", site.config(**changes), "--plain")
    assert code == 2
    assert f"attunement.governance.predecessor: {site.ledger}: truncated" in err


def test_an_override_from_the_command_line(cli, site):
    config, file = site.config(enabled=False), site.folder / "override.json"
    cli("run", "--config", config, "--plain")
    cli("order", "make", "override", "--alpha", "1.03", "--config", config, *WORDS, "--out", file)
    cli("order", "sign", file, "--key", site.operator)
    code, _, err = cli("run", "--config", config, "--plain", "--order", file, "--cycles", 2)
    assert (code, "error: orders not carried out to their end: 1" in err) == (3, True)
    assert status(cli, config)["alpha"] == 1.02


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("override",), "override needs --alpha"),
        (("override", "--alpha", "nan"), "--alpha is nan"),
        (("freeze", "--alpha", "1"), "freeze takes no --alpha"),
        (("policy", "--alpha", "1"), "policy takes no --alpha"),
        (("approve", "--record", "1"), "approve takes no --record"),
        (("rollback",), "name the commit by --alpha or --record"),
        (("rollback", "--alpha", "1.19"), "no commit like that"),
        (("persist", "--record", "1"), "no commit like that"),
        (("freeze", "--ttl", "0"), "--ttl is 0, must lie in (0, 3600]"),
        (("freeze", "--ttl", "1e9"), "--ttl is 1e+09, must lie in"),
        (("freeze", "--ttl", "nan"), "--ttl is nan, must lie in"),
        (("sing",), "'sing' is not one of"),
        (("freeze", "--actor", " "), "actor must be 1 to 400 printable characters"),
    ],
    ids=str,
)
def test_orders_that_cannot_be_made_are_usage_errors(cli, site, arguments, said):
    config, file = site.config(), site.folder / "order.json"
    cli("run", "--config", config, "--plain", "--cycles", 1)
    action, *others = arguments
    code, _, err = cli("order", "make", action, "--config", config, *WORDS, *others, "--out", file)
    assert (code, said in err) == (2, True)
    assert not file.exists()


def test_an_order_is_never_overwritten_by_another(cli, site):
    config, file = site.config(), site.folder / "order.json"
    cli("run", "--config", config, "--plain", "--cycles", 1)
    assert cli("order", "make", "freeze", "--config", config, *WORDS, "--out", file)[0] == 0
    before = file.read_bytes()
    code, _, err = cli("order", "make", "freeze", "--config", config, *WORDS, "--out", file)
    assert (code, "exists, an order is never overwritten" in err) == (2, True)
    assert file.read_bytes() == before
    assert (
        cli("order", "make", "freeze", "--config", config, *WORDS, "--out", site.folder / "no" / "x")[0] == 1
    )


def test_an_order_is_made_where_there_is_a_ledger(cli, site):
    code, _, err = cli(
        "order", "make", "freeze", "--config", site.config(), *WORDS, "--out", site.folder / "x"
    )
    assert (code, "no ledger in" in err) == (1, True)


@pytest.mark.parametrize("content", [None, b"", b"{}\n", b"\xff", b"x" * 70_000])
def test_a_file_that_is_no_order_is_named(cli, site, content):
    file = site.folder / "order.json"
    if content is not None:
        file.write_bytes(content)
    for arguments in (
        ("order", "sign", file, "--key", site.operator),
        ("order", "show", file, "--config", site.config()),
        ("run", "--config", site.config(), "--order", file),
    ):
        code, _, err = cli(*arguments)
        assert code == 2
        assert str(file) in err
    assert not site.ledger.exists()


def test_show_says_what_is_asked_and_who_signed(cli, site, governed, second):
    config, file = governed(cycles=10), site.folder / "order.json"
    cli("run", "--config", config, "--plain")
    cli("order", "make", "policy", "--config", config, *WORDS, "--out", file)
    code, out, _ = cli("order", "show", file, "--config", config)
    assert code == 0
    assert "0 of 2 operators are for it, must be 2" in out
    assert re.search(r"entropy_max +│ 2,000,000", out)
    for key in (site.operator, second, site.key):
        cli("order", "sign", file, "--key", key)
    code, out, _ = cli("order", "show", file, "--config", config, "--json")
    told = json.loads(out)
    assert (code, told["order"]["action"], told["order"]["actor"]) == (0, "policy", "ines")
    assert sorted((one["operator"] or "", one["verdict"]) for one in told["signatures"])[1:] == [
        ("ines", "good"),
        ("omar", "good"),
    ]
    (line,) = told["objections"]
    assert line.endswith("is no operator's")


def test_show_of_a_good_order_has_no_objection(cli, site):
    config, file = site.config(), site.folder / "order.json"
    cli("run", "--config", config, "--plain")
    commit = commit_of(site)
    alpha = f"{commit.body['new_alpha'] / 1e9:.9f}"
    cli("order", "make", "persist", "--config", config, *WORDS, "--alpha", alpha, "--out", file)
    cli("order", "sign", file, "--key", site.operator)
    code, out, _ = cli("order", "show", file, "--config", config)
    assert code == 0
    for shown in (
        alpha,
        f"record {commit.sequence}",
        "ines: good",
        "none, as far as is known",
        "storm is over",
    ):
        assert shown in out
    file = site.folder / "freeze.json"
    cli("order", "make", "freeze", "--config", config, *WORDS, "--out", file)
    assert "│ latch     │ none" in cli("order", "show", file, "--config", config)[1]


def test_the_ledgers_keys_are_no_operators(cli, site):
    for key in (site.key, site.log_key):
        operators = [{"name": "ines", "key_path": f"{key}.pub"}]
        code, _, err = cli("run", "--config", site.config(governance={"operators": operators}))
        assert code == 2
        assert "attunement.governance.operators: the key of ines signs the ledger, must be another" in err
    assert not site.ledger.exists()


def test_alerts_run_the_configured_command_and_a_dry_run_does_not(cli, site):
    out = site.folder / "told"
    escalation = {"reverts": 1, "window": 30, "command": f"tee {out}"}
    config = site.config(
        optimizer={"name": "pid"},
        governance={"escalation": escalation},
        cycles=40,
        safety={"tolerance": 0},
    )
    cli("dry-run", "--config", config)
    assert not out.exists()
    cli("run", "--config", config, "--plain")
    (first, *_) = governance(site, "alert")
    assert first["verdict"] == "raised"
    assert json.loads(out.read_text())["window"] == 30
