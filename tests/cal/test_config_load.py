"""Reading the configuration from YAML: defaults, every kind of error, and the way back."""

import json
import time
from contextlib import suppress
from math import inf, nan
from pathlib import Path

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attunement.config import dump, load, loads
from attunement.config_option import Interval, shown
from attunement.config_schema import (
    Config,
    ConfigError,
    EngineConfig,
    LoggingConfig,
    MetricsConfig,
    ObjectiveConfig,
    OptimizerConfig,
    SafetyConfig,
    Shock,
    SourceConfig,
    describe,
)


def problems(text):
    with pytest.raises(ConfigError) as caught:
        loads(text)
    return caught.value.problems


def within(low, high, exclude_min=False, exclude_max=False):
    return st.floats(low, high, exclude_min=exclude_min, exclude_max=exclude_max)


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1).filter(str.strip)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
SHOCKS = st.one_of(
    st.builds(
        Shock,
        kind=st.just("latency"),
        start=st.integers(1, 99),
        length=st.integers(1, 99),
        magnitude=st.integers(1, 9).map(float),
    ),
    st.builds(
        Shock,
        kind=st.sampled_from(["spectral", "psi", "partition"]),
        start=st.integers(1, 99),
        length=st.integers(1, 99),
        magnitude=within(0, 1),
        share=within(0, 1, exclude_min=True),
    ),
)
CONFIGS = st.builds(
    Config,
    enabled=st.booleans(),
    alpha_initial=within(0.9, 1.1),
    alpha_min=within(0.5, 0.9),
    alpha_max=within(1.1, 2),
    delta_alpha_max=within(1e-3, 0.2),
    lr=st.just("auto") | within(0, 1000, exclude_min=True),
    momentum=within(0, 1, exclude_max=True),
    epsilon=st.just("auto") | within(0, 1e-3, exclude_min=True),
    cycles=st.none() | st.integers(1, 10**9),
    safety=st.builds(
        SafetyConfig,
        entropy_max=within(0, 0.1),
        h_internal_min=within(0.5, 1),
        revert_on_failure=st.booleans(),
        alpha_safe=st.none() | within(0.9, 1.1),
        entropy_severe=st.none() | within(0.1, 1),
        h_internal_severe=st.none() | within(0, 0.5),
        tolerance=st.just("auto") | within(0, 1),
    ),
    objective=st.builds(ObjectiveConfig, rho=within(0, 1000)),
    optimizer=st.builds(OptimizerConfig, name=TEXT, settings=st.dictionaries(TEXT, PLAIN, max_size=3)),
    engine=st.builds(EngineConfig, window=st.integers(1, 99), W=within(0, 10, exclude_min=True)),
    source=st.builds(SourceConfig, dims=st.integers(2, 9), shocks=st.lists(SHOCKS, max_size=3).map(tuple))
    | st.builds(SourceConfig, kind=st.just("trace"), folder=TEXT, repeat=st.booleans()),
    metrics=st.builds(MetricsConfig, host=st.sampled_from(["::1", "a.example"]), port=st.integers(0, 65535)),
    logging=st.builds(LoggingConfig, audit_ledger_path=TEXT, level=st.sampled_from(["debug", "error"])),
)


@settings(max_examples=60, deadline=None)
@given(CONFIGS)
def test_what_is_written_reads_back_equal(config):
    assert loads(dump(config)) == config


@pytest.mark.parametrize(
    "text", ["1e-3", "null", "yes", "0x10", "2024-01-01", "- a", "{a: b}", "'", "#", "~", "1_0"]
)
def test_text_that_looks_like_something_else_stays_text(text):
    config = Config(logging=LoggingConfig(key_path=text))
    assert loads(dump(config)).logging.key_path == text


def test_without_file_and_environment_the_defaults_hold():
    config = load(None, {})
    assert config == Config()
    safety = config.safety
    assert (config.alpha_initial, config.alpha_min, config.alpha_max) == (1.0, 0.8, 1.2)
    assert (config.delta_alpha_max, config.momentum, config.settle_delay) == (0.02, 0.85, 0.25)
    assert (config.lr, config.epsilon, config.gradient_averaging_window) == ("auto", "auto", 3)
    assert (safety.entropy_max, safety.h_internal_min, safety.revert_on_failure) == (0.002, 0.95, True)
    assert (safety.k_max, safety.kappa) == (10.0, 0.9)


def test_defaults_that_depend_on_other_keys_are_filled_in():
    config = Config()
    assert (config.alpha_safe, config.entropy_severe, config.h_internal_severe) == (0.8, 0.02, 0.8)
    safety = SafetyConfig(entropy_max=0.5, h_internal_min=0.6)
    config = Config(alpha_min=0.7, safety=safety)
    assert (config.alpha_safe, config.entropy_severe, config.h_internal_severe) == (0.7, 1.0, 0.6)
    safety = SafetyConfig(alpha_safe=0.9, entropy_severe=0.1, h_internal_severe=0.5)
    config = Config(safety=safety)
    assert (config.alpha_safe, config.entropy_severe, config.h_internal_severe) == (0.9, 0.1, 0.5)


def test_the_specification_s_example_is_read(tmp_path):
    path = tmp_path / "attunement.yaml"
    path.write_text(
        """
attunement:
  enabled: true
  alpha_initial: 1.0
  alpha_min: 0.8
  alpha_max: 1.2
  delta_alpha_max: 0.02
  lr: 0.001
  momentum: 0.85
  epsilon: 1e-5
  settle_delay: 0.25  # seconds
  gradient_averaging_window: 3
  safety:
    entropy_max: 0.002
    h_internal_min: 0.95
    revert_on_failure: true
  logging:
    audit_ledger_path: /var/lib/uhes/attunement_ledger.log
""",
        encoding="utf-8",
    )
    config = load(path, {})
    assert (config.lr, config.epsilon) == (0.001, 0.00001)
    assert config.logging.audit_ledger_path == "/var/lib/uhes/attunement_ledger.log"


def test_whole_numbers_are_taken_for_floats_and_minus_zero_for_zero():
    config = loads("version: 1\nattunement: {alpha_initial: 1, objective: {rho: -0.0}}")
    assert type(config.alpha_initial) is float
    assert str(config.objective.rho) == "0.0"


def test_shocks_are_read():
    config = loads("attunement: {source: {shocks: [{kind: psi, start: 3, length: 4, magnitude: 1.1}]}}")
    assert config.source.shocks == (Shock(kind="psi", start=3, length=4, magnitude=1.1, share=1.0),)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("alpha_min: -0.02", "attunement.alpha_min is -0.02, must lie in (0, 10]"),
        ("alpha_min: .nan", "attunement.alpha_min is nan, must lie in (0, 10]"),
        ("alpha_max: .inf", "attunement.alpha_max is inf, must lie in (0, 10]"),
        ("alpha_max: 1" + "0" * 400, "attunement.alpha_max is inf, must lie in (0, 10]"),
        ("alpha_max: -1" + "0" * 400, "attunement.alpha_max is -inf, must lie in (0, 10]"),
        ("alpha_max: true", "attunement.alpha_max is true, must be a number in (0, 10]"),
        ("alpha_max: '1.1'", 'attunement.alpha_max is "1.1", must be a number in (0, 10]'),
        ("alpha_max: null", "attunement.alpha_max is null, must be a number in (0, 10]"),
        ("alpha_max: [1]", "attunement.alpha_max is a list, must be a number in (0, 10]"),
        ("alpha_max: {a: 1}", "attunement.alpha_max is a mapping, must be a number in (0, 10]"),
        ("alpha_max: 2024-01-01", "attunement.alpha_max is a date, must be a number in (0, 10]"),
        ("delta_alpha_max: 0", "attunement.delta_alpha_max is 0, must lie in (0, 1]"),
        ("momentum: 1", "attunement.momentum is 1, must lie in [0, 1)"),
        ("lr: automatic", 'attunement.lr is "automatic", must be a number in (0, 1000] or auto'),
        ("lr: 0", "attunement.lr is 0, must lie in (0, 1000]"),
        ("enabled: 1", "attunement.enabled is 1, must be true or false"),
        ("enabled: yes", 'attunement.enabled is "yes", must be true or false'),
        ("cycles: 91.7", "attunement.cycles is 91.7, must be a whole number in [1, 1000000000] or null"),
        ("cycles: 91.0", "attunement.cycles is 91, must be a whole number in [1, 1000000000] or null"),
        ("cycles: 0", "attunement.cycles is 0, must lie in [1, 1000000000]"),
        ("metrics: {port: 65536}", "attunement.metrics.port is 65536, must lie in [0, 65535]"),
        ("metrics: {host: ''}", 'attunement.metrics.host is "", must be a host name or an address'),
        ("metrics: {host: 12}", "attunement.metrics.host is 12, must be a host name or an address"),
        ("metrics: 12", "attunement.metrics is 12, must be a mapping"),
        ("metrics: null", "attunement.metrics is null, must be a mapping"),
        ("safety: {kappa: 1.1}", "attunement.safety.kappa is 1.1, must lie in (0, 1]"),
        (
            "logging: {level: loud}",
            'attunement.logging.level is "loud", must be debug or info or warning or error',
        ),
        ("source: {shocks: psi}", 'attunement.source.shocks is "psi", must be a list'),
        ("source: {shocks: [psi]}", 'attunement.source.shocks[0] is "psi", must be a mapping'),
        (
            "optimizer: {settings: {a: .nan}}",
            "attunement.optimizer.settings is a mapping, must be a mapping of names to plain finite values",
        ),
        (
            "optimizer: {settings: {1: 1}}",
            "attunement.optimizer.settings is a mapping, must be a mapping of names to plain finite values",
        ),
        (
            "optimizer: {settings: [1]}",
            "attunement.optimizer.settings is a list, must be a mapping of names to plain finite values",
        ),
        ("alfa_max: 1", "attunement.alfa_max is not a key, the nearest key is attunement.alpha_max"),
        ("1: 1", "attunement.1 is not a key, the nearest key is attunement.lr"),
        (
            "entropy_max: 1",
            "attunement.entropy_max is not a key, the nearest key is attunement.safety.entropy_max",
        ),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_figure_and_range(body, problem):
    assert problems(f"attunement:\n  {body}\n") == (problem,)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (
            "governance: {escalation: {command: page o'me}}",
            "attunement.governance.escalation.command cannot be split into words: No closing quotation",
        ),
        (
            "governance: {escalation: {command: \"'' now\"}}",
            "attunement.governance.escalation.command names no program",
        ),
        ("governance: {operators: [{name: ines}]}", "attunement.governance.operators[0].key_path is missing"),
        ("governance: {quorum: 0}", "attunement.governance.quorum is 0, must lie in [1, 64]"),
        ("alpha_min: 1.2", "attunement.alpha_min is 1.2, must be below attunement.alpha_max (1.2)"),
        ("alpha_initial: 1.3", "attunement.alpha_initial is 1.3, must lie in [0.8, 1.2]"),
        ("safety: {alpha_safe: 0.7}", "attunement.safety.alpha_safe is 0.7, must lie in [0.8, 1.2]"),
        ("delta_alpha_max: 0.5", "attunement.delta_alpha_max is 0.5, must be at most 0.4"),
        ("epsilon: 0.03", "attunement.epsilon is 0.03, must be at most attunement.delta_alpha_max (0.02)"),
        (
            "safety: {entropy_severe: 0.001}",
            "attunement.safety.entropy_severe is 0.001, must be at least attunement.safety.entropy_max",
        ),
        (
            "safety: {h_internal_severe: 0.96}",
            "attunement.safety.h_internal_severe is 0.96, must be at most attunement.safety.h_internal_min",
        ),
        (
            "safety: {k_max: 0.5}",
            "attunement.safety.kappa is 0.9, must be at most attunement.safety.k_max (0.5)",
        ),
        (
            "settle_delay: 5",
            "attunement.settle_delay is 5 s, must be below attunement.safety.trial_deadline (5 s)",
        ),
        ("source: {kind: trace}", "attunement.source.folder is null, must name a folder"),
        (
            "source: {kind: host, shocks: [{kind: psi, start: 1, length: 1, magnitude: 1}]}",
            "attunement.source.shocks has 1 entries, must be empty when attunement.source.kind is host",
        ),
        (
            "source: {shocks: [{kind: latency, start: 1, length: 1, magnitude: 0.5}]}",
            "attunement.source.shocks[0].magnitude is 0.5, must be a whole number of cycles",
        ),
        (
            "source: {dims: 1, shocks: [{kind: partition, start: 1, length: 1, magnitude: 1}]}",
            "attunement.source.shocks[0].kind is partition, must be another kind",
        ),
    ],
)
def test_keys_that_contradict_each_other_are_named(body, problem):
    (found,) = problems(f"attunement:\n  {body}\n")
    assert found.startswith(problem)


WATCHED = {
    "url": "http://127.0.0.1:9090",
    "clock": "timestamp(up)",
    "coherence": {"promql": "goodput"},
    "apply_url": "http://localhost/alpha",
}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"url": None}, "attunement.prometheus.url is null, must be given"),
        ({"clock": None}, "attunement.prometheus.clock is null, must be given"),
        ({"coherence": {}}, "attunement.prometheus.coherence.promql is null, must be given"),
        ({"apply_url": None}, "attunement.prometheus.apply_url is null, must be given"),
        ({"apply": "file"}, "attunement.prometheus.apply_path is null, must be given"),
        ({"lookback": 5}, "attunement.prometheus.lookback is 5 s, must be below"),
        (
            {"url": "ftp://host/"},
            'attunement.prometheus.url is "ftp://host/", must be an http or https address',
        ),
        ({"url": "https://"}, 'attunement.prometheus.url is "https://", must be an http or https address'),
        (
            {"url": "http://a:b@host/"},
            "attunement.prometheus.url has a user in it, must be an http or https address without one",
        ),
        (
            {"url": "a:b@host/"},
            "attunement.prometheus.url has a user in it, must be an http or https address without one",
        ),
        ({"url": "http://host:x/"}, "attunement.prometheus.url is no address: Port could not be cast"),
        (
            {"url": "http://host/", "auth": {"token_path": "t"}},
            "attunement.prometheus.url is http://host/, must be https",
        ),
        (
            {"apply_url": "http://host/", "apply_auth": {"username": "u", "password_path": "p"}},
            "attunement.prometheus.apply_url is http://host/, must be https",
        ),
        (
            {"auth": {"username": "u"}},
            "attunement.prometheus.auth.username and attunement.prometheus.auth.pass",
        ),
        (
            {"auth": {"username": "u", "password_path": "p", "token_path": "t"}},
            "attunement.prometheus.auth.token_path and attunement.prometheus.auth.username are both given",
        ),
        (
            {"psi": {"reduce": "sum"}},
            'attunement.prometheus.psi.reduce is "sum", must be last or mean or min',
        ),
    ],
)
def test_a_watched_system_needs_what_it_is_reached_by(changes, problem):
    document = {"engine": {"kind": "prometheus"}, "prometheus": {**WATCHED, **changes}}
    (found,) = problems(json.dumps({"attunement": document}))
    assert found.startswith(problem)


def test_a_watched_system_is_read_also_from_the_environment():
    document = json.dumps({"attunement": {"engine": {"kind": "prometheus"}, "prometheus": WATCHED}})
    assert loads(document).prometheus.coherence.promql == "goodput"
    environ = {
        "ATTUNEMENT__PROMETHEUS__AUTH__VERIFY_TLS": "false",
        "ATTUNEMENT__PROMETHEUS__PSI__PROMQL": "psi",
    }
    read = load(None, environ).prometheus
    assert (read.auth.verify_tls, read.psi.promql, read.apply_auth.verify_tls) == (False, "psi", True)


def test_the_whole_range_of_alpha_may_be_one_step():
    assert Config(delta_alpha_max=0.4).delta_alpha_max == 0.4


def test_all_problems_are_reported_together():
    found = problems(
        "attunement: {alpha_min: -1, bogus: 1, safety: {kappa: 2, entropy_max: x},"
        " source: {shocks: [{kind: psi, start: 0}]}}"
    )
    assert [problem.split()[0] for problem in found] == [
        "attunement.alpha_min",
        "attunement.safety.entropy_max",
        "attunement.safety.kappa",
        "attunement.source.shocks[0].start",
        "attunement.source.shocks[0].length",
        "attunement.source.shocks[0].magnitude",
        "attunement.bogus",
    ]
    assert "attunement.source.shocks[0].length is missing" in found


def test_the_message_has_a_line_for_each_problem():
    with pytest.raises(ConfigError, match=r"^attunement.alpha_min is .*\nattunement.alpha_max is "):
        loads("attunement: {alpha_min: -1, alpha_max: -1}")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("attunement: {lr: 1, lr: 2}", "config: line 1, column 21: found duplicate key"),
        ("attunement:\n  lr: [1\n", "config: line 3, column 1: "),
        ("attunement:\n\tlr: 1\n", "config: line 2, column 1: found character '\\t'"),
        ("attunement: {}\n---\n{}", "config: line 2, column 1: but found another document"),
        ("attunement: \0", "config: malformed YAML: unacceptable character"),
        ("attunement: {lr: 2001-99-99}", "config: malformed YAML: month must be in 1..12"),
        ("%YAML 1.1\n---\nattunement: {lr: 0x_}", "config: malformed YAML: invalid literal for int()"),
        ("attunement: {[[1]]: 1}", "config: line 1, column 14: a list or a mapping is not taken as a key"),
        ("attunement: {lr: 1, ? [1] : 1}", "config: line 1, column 23: a list or a mapping is not taken as"),
        ("? {lr: 1}\n: attunement", "config: line 1, column 3: a list or a mapping is not taken as a key"),
        ("attunement: {<<: {lr: 1}}", "config: line 1, column 14: << is not taken"),
        ("attunement: {lr: <<}", "config: line 1, column 18: << is not taken"),
        ("", "config: must be a mapping with the key attunement, is null"),
        ("- 1", "config: must be a mapping with the key attunement, is a list"),
        ("alpha_min: 1", "config: must be a mapping with the key attunement, is a mapping"),
        ("attunement:", "attunement is null, must be a mapping"),
        ("attunement: {}\nversion: 2", "version is 2, must be the whole number 1"),
        ("attunement: {}\nversion: true", "version is true, must be the whole number 1"),
        ("attunement: {}\nversion: 1.0", "version is 1, must be the whole number 1"),
        ("attunement: {}\nalpha_min: 1", "alpha_min is not a key, the only ones are version and attunement"),
    ],
)
def test_a_malformed_document_is_refused(text, problem):
    (found,) = problems(text)
    assert found.startswith(problem)


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(ConfigError, match=r"none.yaml: cannot be read: "):
        load(tmp_path / "none.yaml", {})


def test_a_file_that_is_not_utf8_is_refused_by_name(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_bytes(b"attunement: {lr: \xff}")
    with pytest.raises(ConfigError, match=r"a.yaml: cannot be read: .*utf-8"):
        load(path, {})


def test_an_error_in_a_file_names_the_file(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("attunement: [", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"a.yaml: line 1, column 14"):
        load(path, {})


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (SafetyConfig, {"entropy_max": nan}, r"entropy_max is nan, must lie in \[0, 1\]"),
        (SafetyConfig, {"reverts_max": True}, r"reverts_max is true, must be a whole number"),
        (EngineConfig, {"W": inf}, r"W is inf, must lie in \(0, 10\]"),
        (Shock, {"kind": "psi", "start": 0, "length": 1, "magnitude": 1}, r"start is 0, must lie in"),
        (SourceConfig, {"shocks": [1]}, r"shocks is a list, must be a list of mappings"),
        (SourceConfig, {"shocks": (1,)}, r"shocks is a list, must be a list of mappings"),
    ],
)
def test_a_value_made_in_code_is_checked_as_well(kind, values, message):
    with pytest.raises(ValueError, match=message):
        kind(**values)


def test_a_changed_copy_is_checked_across_its_keys():
    with pytest.raises(ConfigError, match=r"attunement.alpha_initial is 1, must lie in \[1.1, 1.2\]"):
        attrs.evolve(Config(), alpha_min=1.1)


def test_the_table_lists_every_key_with_its_meaning():
    table = {info.key: info for info in describe()}
    assert len(table) == len(describe())
    assert all(info.doc.endswith((".", "factor.")) for info in table.values())
    entropy = table["attunement.safety.entropy_max"]
    assert (entropy.accepts, entropy.default, entropy.unit) == ("a number in [0, 1]", 0.002, "1/cycle")
    assert table["attunement.settle_delay"].unit == "s"
    assert table["attunement.optimizer.settings"].default == {}
    assert "attunement.source.shocks[].kind" in table
    assert "attunement.safety" not in table


def test_every_number_has_a_range():
    numbers = [info for info in describe() if "number" in info.accepts]
    assert len(numbers) > 30
    assert all(" in [" in info.accepts or " in (" in info.accepts for info in numbers)


@pytest.mark.parametrize(
    ("interval", "inside", "outside", "text"),
    [
        (Interval(0, 1), [0, -0.0, 1], [-1e-300, 1.0000001, nan, inf, -inf], "[0, 1]"),
        (Interval(0, 1, low_open=True), [5e-324, 1], [0, -0.0, nan], "(0, 1]"),
        (Interval(0.5, 2, high_open=True), [0.5, 1.999], [2, nan], "[0.5, 2)"),
    ],
)
def test_an_interval_holds_what_it_says(interval, inside, outside, text):
    assert all(interval.holds(value) for value in inside)
    assert not any(interval.holds(value) for value in outside)
    assert str(interval) == text


def test_long_text_is_clipped_in_messages():
    assert shown("x" * 500) == '"' + "x" * 60 + '…"'


ANCHORED = "anchors and aliases are not taken, each value must be written out"
DOUBLED = "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{p: *a{i - 1}, q: *a{i - 1}}}\n" for i in range(1, 25))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("attunement: {lr: *a}", f"line 1, column 18: {ANCHORED}"),
        ("attunement:\n  lr: &a 1", f"line 2, column 7: {ANCHORED}"),
        ("attunement: &a {optimizer: {settings: *a}}", f"line 1, column 13: {ANCHORED}"),
        ("attunement: &a {<<: *a}", f"line 1, column 13: {ANCHORED}"),
        (DOUBLED, f"line 1, column 5: {ANCHORED}"),
        ("[" * 20_000, "line 1, column 17: values are nested more than 16 deep"),
        ("- " * 20_000, "line 1, column 33: values are nested more than 16 deep"),
        ("{a: " * 16_000, "line 1, column 62: values are nested more than 16 deep"),
        ("attunement: [" + "1," * 20_000 + "]", "line 1, column 20008: there are more than 10000 keys"),
        ("#" * 65_537, "is larger than 65536 bytes"),
        ("# α" + "α" * 32_767, "is larger than 65536 bytes"),
    ],
    ids=range(11),
)
def test_a_text_that_would_take_long_is_refused_at_once(tmp_path, text, problem):
    path = tmp_path / "a.yaml"
    path.write_text(text, encoding="utf-8")
    begun_s = time.process_time()
    for name, read in ((path, lambda: load(path, {})), ("config", lambda: loads(text))):
        with pytest.raises(ConfigError) as caught:
            read()
        assert str(caught.value).startswith(f"{name}: {problem}")
    assert time.process_time() - begun_s < 20


def test_a_file_without_an_end_is_refused_by_its_size():
    with pytest.raises(ConfigError, match=r"^/dev/zero: is larger than 65536 bytes$"):
        load(Path("/dev/zero"), {})


def test_of_many_problems_the_first_are_named():
    found = problems("attunement: {" + ", ".join(f"a{index}: 1" for index in range(3000)) + "}")
    assert len(found) == 101
    assert found[-1] == "there are more problems, the first 100 are named"


TAGS = ["!", "!own", "!<x>", "!<tag:yaml.org,2002:int>", "!!python/none", "!!python/object/apply:os.system"]
TAGS += ["!!bool", "!!int", "!!float", "!!null", "!!str", "!!binary", "!!timestamp", "!!omap", "!!pairs"]
TAGS += ["!!set", "!!seq", "!!map", "!!merge", "!!value"]


@pytest.mark.parametrize("value", ["zz", "", "'2'", "[a]", "[{a: 1}]", "{a: 1}", "{a, b}"])
@pytest.mark.parametrize("tag", TAGS)
def test_a_tag_is_refused_wherever_it_stands(tag, value):
    for place in ("lr", "optimizer", "!own lr"):
        (found,) = problems(f"attunement:\n  {place}: {tag} {value}")
        assert found.startswith("config: line 2, column ")
        assert "tags are not taken, each value must be plain" in found
    for read in (
        lambda text: load(None, {"ATTUNEMENT__LR": text}),
        lambda text: load(None, {}, [f"lr={text}"]),
    ):
        with pytest.raises(ConfigError, match=r"LR: line 1, column 1: tags|lr: line 1, column 1: tags"):
            read(f"{tag} {value}")


YAML_WORDS = [
    "attunement",
    "version",
    "lr",
    "1",
    "~",
    "<<",
    "=",
    ".nan",
    "0x_",
    "2001-99-99",
    "a b",
    "!!int ",
]
YAML_WORDS += [
    "0001-01-01T00:00:00+23:59",
    ": ",
    "- ",
    "\n  ",
    "%YAML 1.1\n---\n",
    "---",
    "...",
    "\ufeff",
    "\x85",
]
YAML_WORDS += list("!&*?:,-[]{}#|>%@`'\"\\\n\t \0α")
YAML_TEXTS = st.lists(st.sampled_from(YAML_WORDS), max_size=12).map("".join)


@settings(max_examples=150, deadline=None)
@given(
    YAML_TEXTS,
    st.sampled_from(["", "attunement: ", "attunement:\n  lr: "]),
)
def test_whatever_is_written_is_a_configuration_or_a_problem_that_is_named(text, before):
    for read in (lambda: loads(before + text), lambda: load(None, {"ATTUNEMENT__LR": text})):
        with suppress(ConfigError):
            assert isinstance(read(), Config)


@pytest.mark.parametrize("kind", [KeyError, AttributeError, AssertionError, NotImplementedError, MemoryError])
def test_whatever_the_parser_raises_is_told_by_the_name_of_the_text(monkeypatch, kind):
    def broken(*_):
        raise kind("zz")

    monkeypatch.setattr("ruamel.yaml.constructor.SafeConstructor.construct_document", broken)
    (found,) = problems("attunement: {}")
    assert found.startswith("config: malformed YAML: ")
    assert "zz" in found
