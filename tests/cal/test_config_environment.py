"""The environment's part of the configuration."""

import pytest

from attunement.config import load
from attunement.config_schema import ConfigError


def problems(environ, path=None):
    with pytest.raises(ConfigError) as caught:
        load(path, environ)
    return caught.value.problems


def test_the_environment_stands_above_the_file(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("attunement: {momentum: 0.5, safety: {entropy_max: 0.1, kappa: 0.5}}", encoding="utf-8")
    config = load(path, {"ATTUNEMENT__SAFETY__ENTROPY_MAX": "1e-3", "PATH": "x", "ATTUNEMENT_CONFIG": "y"})
    assert (config.momentum, config.safety.entropy_max, config.safety.kappa) == (0.5, 0.001, 0.5)


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("ATTUNEMENT__ENABLED", "false", lambda config: config.enabled is False),
        ("ATTUNEMENT__CYCLES", "null", lambda config: config.cycles is None),
        ("ATTUNEMENT__LR", "auto", lambda config: config.lr == "auto"),
        ("ATTUNEMENT__ENGINE__W", "2", lambda config: config.engine.W == 2.0),
        ("ATTUNEMENT__LOGGING__KEY_PATH", "'12'", lambda config: config.logging.key_path == "12"),
        (
            "ATTUNEMENT__OPTIMIZER__SETTINGS__GAIN",
            "0.5",
            lambda config: config.optimizer.settings == {"gain": 0.5},
        ),
        (
            "ATTUNEMENT__SOURCE__SHOCKS",
            "[{kind: psi, start: 1, length: 2, magnitude: 1}]",
            lambda config: config.source.shocks[0].length == 2,
        ),
    ],
)
def test_a_value_is_read_as_yaml(name, value, read):
    assert read(load(None, {name: value}))


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("ATTUNEMENT__SAFETY__ENTROPYMAX", "ATTUNEMENT__SAFETY__ENTROPY_MAX"),
        ("ATTUNEMENT__ALFA_MIN", "ATTUNEMENT__ALPHA_MIN"),
        ("attunement__alpha_min", "ATTUNEMENT__ALPHA_MIN"),
        ("ATTUNEMENT__SAFETY", "ATTUNEMENT__SAFETY__K_MAX"),
        ("ATTUNEMENT__OPTIMIZER__SETTINGS", "ATTUNEMENT__OPTIMIZER__SETTINGS__<NAME>"),
        ("ATTUNEMENT__OPTIMIZER__SETTINGS__", "ATTUNEMENT__OPTIMIZER__SETTINGS__<NAME>"),
        ("ATTUNEMENT__SOURCE__SHOCKS__KIND", "ATTUNEMENT__SOURCE__SHOCKS"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_known_one(name, nearest):
    assert problems({name: "1"}) == (f"{name} is not known, the nearest name is {nearest}",)


@pytest.mark.parametrize("value", ["", "  "])
def test_an_empty_value_is_refused(value):
    assert problems({"ATTUNEMENT__CYCLES": value}) == ("ATTUNEMENT__CYCLES is empty, must hold a value",)


def test_a_value_that_is_no_yaml_is_refused_by_name():
    (found,) = problems({"ATTUNEMENT__LR": "[1"})
    assert found.startswith("ATTUNEMENT__LR: line 1, column 3: ")


def test_a_value_out_of_range_is_refused_by_key():
    assert problems({"ATTUNEMENT__ALPHA_MIN": "nan"}) == (
        'attunement.alpha_min is "nan", must be a number in (0, 10]',
    )
    assert problems({"ATTUNEMENT__ALPHA_MIN": ".nan"}) == (
        "attunement.alpha_min is nan, must lie in (0, 10]",
    )


def test_all_problems_of_file_and_environment_are_reported_together(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("attunement: {safety: 3, momentum: 7}", encoding="utf-8")
    environ = {"ATTUNEMENT__SAFETY__KAPPA": "0.5", "ATTUNEMENT__BOGUS": "1", "ATTUNEMENT__ALPHA_MAX": "-1"}
    found = problems(environ, path)
    assert [problem.split()[0] for problem in found] == [
        "ATTUNEMENT__BOGUS",
        "attunement.alpha_max",
        "attunement.momentum",
        "attunement.safety",
    ]


def test_an_unknown_name_is_refused_even_when_all_else_is_sound():
    assert len(problems({"ATTUNEMENT__X": "1", "ATTUNEMENT__LR": "0.1"})) == 1
