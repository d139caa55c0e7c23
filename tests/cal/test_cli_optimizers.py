"""Listing the optimizers, and holding them against scenarios."""

import json

import attrs
import pytest

from attunement.cli import _exit_code
from attunement.config_schema import Config
from attunement.scenarios import SCENARIOS, ScenarioEngine, score
from optimizers import NAMES

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


@pytest.fixture
def cli(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")

    def run(*arguments):
        code = _exit_code(["optimizers", *map(str, arguments)])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_the_list_names_those_of_this_package(cli):
    code, out, _ = cli("list", "--json")
    assert code == 0
    assert [row["name"] for row in json.loads(out)[: len(NAMES)]] == list(NAMES)
    assert cli("list")[1].count("built in") == len(NAMES)


def test_those_of_other_packages_are_listed_and_not_imported(cli, tmp_path, monkeypatch):
    info = tmp_path / "other-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1\n", "utf-8")
    entries = "[lambda_attunement.optimizers]\nnew = other:New\nhold = other:Hold\n"
    (info / "entry_points.txt").write_text(entries, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    rows = {row["name"]: row for row in json.loads(cli("list", "--json")[1])[len(NAMES) :]}
    assert rows["new"] == {"name": "new", "source": "other:New", "package": "other 1", "usable": True}
    assert rows["hold"]["usable"] is False
    assert "no, the name is taken" in cli("list")[1]


def test_a_bench_tells_every_figure(cli):
    asked = ("bench", "gradient", "hold", "--scenario", "quadratic", "--cycles", "60", "--seeds", "1")
    code, out, _ = cli(*asked, "--json")
    assert code == 0
    gradient, hold = json.loads(out)
    assert (gradient["optimizer"], hold["optimizer"], hold["seed"]) == ("gradient", "hold", 0)
    assert hold["regret"] == pytest.approx(40.0)
    assert gradient["regret"] < 30.0
    assert hold["final_alpha"] == 1.0
    assert (hold["unsafe"], hold["unsafe_commits"], hold["refused"]) == (0, 0, 0)
    assert cli(*asked)[1].count("quadratic") == 2


def test_a_comparison_tells_ratios_to_the_first(cli):
    asked = ("compare", "hold", "gradient", "--scenario", "quadratic", "--cycles", "60", "--seeds", "2")
    code, out, _ = cli(*asked, "--json")
    assert code == 0
    told = json.loads(out)
    (row,) = told["scenarios"]
    assert (row["best"], row["won"]) == ("gradient", 2)
    assert row["ratios"]["gradient"] == pytest.approx(row["regrets"]["gradient"] / row["regrets"]["hold"])
    assert told["geometric_mean"]["gradient"] == pytest.approx(row["ratios"]["gradient"])
    shown = cli(*asked)[1]
    assert "geometric mean" in shown
    assert "2 of 2" in shown


def test_an_isolated_optimizer_scores_as_it_does_here(cli):
    asked = ("bench", "gradient", "--scenario", "cliff", "--cycles", "30", "--seeds", "1", "--json")
    (here,), (apart,) = (json.loads(cli(*asked, *more)[1]) for more in ((), ("--isolate",)))
    assert {**here, "cycle_ms": 0} == {**apart, "cycle_ms": 0}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("bench", "nobody"), "optimizer is 'nobody', must be one of"),
        (("bench", "--scenario", "storm"), "storm"),
        (("compare", "hold"), "must be two or more different ones"),
        (("compare", "hold", "hold"), "must be two or more different ones"),
        (("compare",), "NAMES"),
    ],
)
def test_what_cannot_be_run_is_a_usage_error(cli, arguments, said):
    code, out, err = cli(*arguments)
    assert (code, out) == (2, "")
    assert said in err


@pytest.mark.parametrize("name", BY_NAME)
def test_every_scenario_is_a_sound_engine(name):
    held = score(BY_NAME[name], "hold", 1, 20)
    assert (held.scenario, held.final_alpha, held.unsafe) == (name, 1.0, 0)
    assert held.regret > 0


def test_an_unsafe_cycle_counts_as_unsafe_and_not_as_regret():
    leaping = attrs.evolve(Config(), delta_alpha_max=0.25)
    found = score(BY_NAME["cliff"], "adversary:always_max", 0, 60, leaping)
    assert found.unsafe > 0
    assert found.unsafe_commits == 0


def test_a_lag_delays_what_alpha_does():
    engine = ScenarioEngine(BY_NAME["lag"], 100, 0)
    engine.run_cycle()
    engine.set_alpha_multiplier(1.1)
    engine.run_cycle()
    assert engine.effective_alpha == pytest.approx(1.0 + 0.1 * (1 - 2.718281828 ** (-1 / 5)))
