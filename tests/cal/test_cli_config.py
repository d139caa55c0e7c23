"""Flags above the environment, where a value came from, and the page of all keys."""

import json
from pathlib import Path
from types import SimpleNamespace

import attrs
import pytest

from attunement.config import load, load_with_origins, plain
from attunement.config_docs import page
from attunement.config_schema import Config, ConfigError, describe
from attunement.policy import kernel_limits
from attunement.prometheus_engine import PrometheusError

PAGE = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"


def problems(*flags):
    with pytest.raises(ConfigError) as caught:
        load(None, {}, flags)
    return caught.value.problems


def test_the_page_is_what_the_schema_says():
    assert PAGE.read_text(encoding="utf-8") == page(), "docs/configuration.md is stale: make docs"


def test_the_page_names_every_key_once():
    text = page()
    for info in describe():
        assert text.count(f"| `{info.key.removeprefix('attunement.')}` |") == 1


def test_later_layers_hold_and_each_says_where_it_came_from(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("attunement:\n  momentum: 0.5\n  lr: 0.1\n  safety:\n    entropy_max: 0.1\n")
    environ = {"ATTUNEMENT__SAFETY__ENTROPY_MAX": "0.01", "ATTUNEMENT__LR": "0.2"}
    flags = ("safety.entropy_max=0.003", "attunement.safety.entropy_max=1e-3", "optimizer.settings.gain=2")
    loaded = load_with_origins(path, environ, flags)
    config = loaded.config
    assert (config.momentum, config.lr, config.safety.entropy_max) == (0.5, 0.2, 0.001)
    assert config.optimizer.settings == {"gain": 2}
    assert loaded.origins == {
        "attunement.momentum": f"{path}, line 2",
        "attunement.lr": "environment, ATTUNEMENT__LR",
        "attunement.safety.entropy_max": "flag, --set attunement.safety.entropy_max=1e-3",
        "attunement.optimizer.settings.gain": "flag, --set optimizer.settings.gain=2",
    }


NESTED = """\
attunement:
  alpha_initial: 1.0
  objective:
    rho: 0.5
  momentum: 0.5
  serve: {host: "::1", port: 7}
  prometheus:
    coherence:
      range: 30
      step: 2
    drive: {reduce: max}
"""


def test_a_key_came_from_where_it_stands(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(NESTED)
    loaded = load_with_origins(path, {})
    assert loaded.origins == {
        f"attunement.{key}": f"{path}, line {line}"
        for key, line in {
            "alpha_initial": 2,
            "objective.rho": 4,
            "momentum": 5,
            "serve.host": 6,
            "serve.port": 6,
            "prometheus.coherence.range": 9,
            "prometheus.coherence.step": 10,
            "prometheus.drive.reduce": 11,
        }.items()
    }
    # What has an origin is all that is not as it would be without the file.
    default = dict(_leaves(plain(load_with_origins(None, {}).config)))
    changed = {f"attunement.{key}" for key, value in _leaves(plain(loaded.config)) if value != default[key]}
    assert changed == loaded.origins.keys() - {"attunement.alpha_initial"}


def _leaves(section, prefix=""):
    for name, value in section.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('attunement: {"<<": {momentum: 0.5}}', r"attunement\.<< is not a key"),
        ("attunement: {? [1, 2] : 3}", "line 1, column 16: a list or a mapping is not taken as a key"),
        ("attunement: {2: 3}", r"attunement\.2 is not a key"),
    ],
)
def test_a_key_of_another_kind_is_not_known(tmp_path, text, said):
    path = tmp_path / "a.yaml"
    path.write_text(f"{text}\n")
    with pytest.raises(ConfigError, match=said):
        load_with_origins(path, {})


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        (
            "safety.entropymax=1",
            "--set safety.entropymax is not a key, the nearest key is attunement.safety.",
        ),
        ("safety=1", "--set safety is not a key"),
        ("source.shocks[].kind=psi", "--set source.shocks[].kind is not a key"),
        ("optimizer.settings=1", "--set optimizer.settings is not a key"),
        ("optimizer.settings.=1", "--set optimizer.settings. is not a key"),
        ("optimizer.settings.a.b=1", "--set optimizer.settings.a.b is not a key"),
        ("momentum", "--set momentum must have the form key=value"),
        ("momentum= ", "--set momentum is empty, must hold a value"),
        ("momentum=[", "--set momentum: "),
        ("momentum=true", "attunement.momentum is true, must be a number in [0, 1)"),
        ("momentum=.nan", "attunement.momentum is nan, must lie in [0, 1)"),
    ],
)
def test_a_flag_that_cannot_be_used_is_named(flag, said):
    (problem,) = problems(flag)
    assert problem.startswith(said)


def test_a_key_is_changed_by_order_if_and_only_if_the_kernel_knows_it():
    base = Config()
    others = {
        "attunement.alpha_initial": 1.01,
        "attunement.alpha_min": 0.79,
        "attunement.alpha_max": 1.19,
        "attunement.delta_alpha_max": 0.01,
        "attunement.safety.tolerance": 0.01,
        "attunement.safety.alpha_safe": 0.9,
        "attunement.safety.entropy_severe": 0.5,
        "attunement.safety.h_internal_severe": 0.7,
        "attunement.safety.revert_on_failure": False,
        "attunement.safety.entropy_max": 0.001,
        "attunement.safety.h_internal_min": 0.9,
        "attunement.safety.k_max": 9.0,
        "attunement.safety.kappa": 0.8,
        "attunement.safety.reverts_max": 7,
        "attunement.safety.missed_max": 6,
    }
    ordered = {info.key for info in describe() if info.change == "order"}
    assert ordered <= others.keys()
    for info in describe():
        if info.key not in others and not info.key.startswith("attunement.safety."):
            assert info.change != "order"
            continue
        value = others.get(info.key, 1.5)
        *_, section, leaf = info.key.split(".")
        if section == "attunement":
            changed = attrs.evolve(base, **{leaf: value})
        else:
            changed = attrs.evolve(base, safety=attrs.evolve(base.safety, **{leaf: value}))
        assert (kernel_limits(changed) != kernel_limits(base)) == (info.change == "order"), info.key


def test_whatever_is_part_of_the_policy_guards_something():
    assert all(info.guards for info in describe() if info.change == "order")


def test_a_key_is_explained(cli, site):
    config = site.config()
    code, out, _ = cli("config", "explain", "settle_delay", "--config", config, "--json")
    told = json.loads(out)
    assert (code, told["value"], told["default"], told["unit"]) == (0, "0", "0.25", "s")
    assert told["origin"] == f"{config}, line 1"
    code, out, _ = cli("config", "explain", "attunement.safety.kappa", "--set", "safety.kappa=0.5")
    assert code == 0
    assert "flag, --set safety.kappa=0.5" in out
    assert "Against runaway" in out
    out = cli("config", "explain", "source.shocks[].kind", "--json")[1]
    assert (json.loads(out)["value"], json.loads(out)["default"]) == (None, "required")
    out = cli("config", "explain", "optimizer.settings", "--set", "optimizer.settings.gain=2", "--json")[1]
    told = json.loads(out)
    assert (told["value"], told["origin"]) == ("{gain: 2}", "flag, --set optimizer.settings.gain=2")
    shock = "source.shocks=[{kind: psi, start: 1, length: 2, magnitude: 1}]"
    out = cli("config", "explain", "source.shocks", "--set", shock, "--json")[1]
    assert json.loads(out)["value"].startswith("[{kind: psi, start: 1,")


def test_the_version_of_the_file_is_explained(cli, tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("attunement: {}\nversion: 1\n", encoding="utf-8")
    code, out, _ = cli("config", "explain", "version", "--config", file, "--json")
    told = json.loads(out)
    assert (code, told["value"], told["default"], told["origin"]) == (0, "1", "1", f"{file}, line 2")
    code, out, _ = cli("config", "explain", "version")
    assert code == 0
    assert "the whole number 1" in out
    assert "ATTUNEMENT__" not in out
    file.write_text("attunement: {}\nversion: 2\n", encoding="utf-8")
    code, _, err = cli("config", "explain", "version", "--config", file)
    assert (code, err) == (2, "error: version is 2, must be the whole number 1\n")


def test_an_unknown_key_is_explained_by_the_nearest(cli):
    code, out, err = cli("config", "explain", "safety.entropy_maxx")
    assert (code, out) == (2, "")
    assert err == (
        "error: safety.entropy_maxx is not a key, the nearest key is attunement.safety.entropy_max\n"
    )


def test_what_is_in_force_is_shown(cli, site):
    config = site.config()
    shown = cli("config", "show", "--config", config, "--set", "momentum=0.5")[1]
    assert "momentum: 0.5" in shown
    assert cli("config", "check", "--config", config, "--set", "momentum=0.5")[1] == shown
    told = json.loads(cli("config", "show", "--config", config, "--set", "momentum=0.5", "--json")[1])
    assert told["config"]["momentum"] == 0.5
    assert told["origins"]["attunement.momentum"] == "flag, --set momentum=0.5"
    told = json.loads(cli("config", "check", "--config", config, "--json")[1])
    assert told["limits"]["entropy_max"] == 2_000_000
    told = json.loads(cli("config", "calibrate", "--config", config, "--cycles", 20, "--json")[1])
    assert 0 < told["h_internal_min"] < 1


def test_flags_reach_a_run(cli, site):
    code, _, err = cli("run", "--config", site.config(), "--set", "cycles=3", "--plain")
    assert (code, err.startswith("3 cycles run")) == (0, True)
    code, _, err = cli("run", "--config", site.config(), "--set", "cycels=3", "--plain")
    assert (code, err) == (2, "error: --set cycels is not a key, the nearest key is attunement.cycles\n")


def test_every_command_that_reads_a_configuration_reads_the_flags():
    for path in (PAGE.parents[1] / "attunement").glob("cli*.py"):
        if path.name not in ("cli_common.py", "cli_config.py"):
            assert "os.environ)" not in path.read_text(encoding="utf-8"), path.name


def test_calibrating_what_cannot_be_checked_or_reached_is_an_error(cli, site, monkeypatch):
    config = site.config()

    def vanished(*arguments):
        raise PrometheusError("no answer from the server")

    monkeypatch.setattr("attunement.cli_config.calibrate", vanished)
    code, _, err = cli("config", "calibrate", "--config", config)
    assert (code, err) == (1, "error: no answer from the server\n")
    bare = SimpleNamespace(sample_omega_snapshot=list, set_alpha_multiplier=float)
    monkeypatch.setattr("attunement.cli_config.build_engine", lambda config: bare)
    code, _, err = cli("config", "calibrate", "--config", config)
    assert (code, "no get_entropy_rate" in err) == (2, True)
