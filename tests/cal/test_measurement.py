"""From an engine's floats to the kernel's integers."""

from math import inf, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attunement.build import build_engine
from attunement.config_schema import Config
from attunement.engine_protocol import EngineProtocolError
from attunement.foreign import described, escaped, printable
from attunement.measurement import EngineCapabilityError, Measurement, MeasurementError, Sensors
from kernel import MalformedQuantityError
from kernel.quantity import NANO

FIGURES = st.floats(0.0, 1e6)


class SilentError(Exception):
    def __str__(self):
        raise RuntimeError("no text")


def measurement(**changes):
    figures = {
        "cycle": 7,
        "alpha": 1.01,
        "c_hat": 0.5,
        "objective": 0.5,
        "entropy_rate": 0.0,
        "h_internal": 1.0,
        "drive": (0.1, 0.2, 0.3),
        "loop_gain": (0.1, 0.2, 0.3),
    }
    return Measurement(**{**figures, **changes})


def test_every_figure_of_the_real_engine_reaches_the_kernel():
    engine = build_engine(Config())
    sensors = Sensors(engine, 1, 0.0, 100)
    engine.run_cycle()
    measured = sensors.measure()
    assert measured.cycle == 101
    assert measured.alpha == 1.0
    assert measured.c_hat == measured.objective
    assert measured.entropy_rate == engine.get_entropy_rate()
    assert measured.h_internal == engine.get_h_internal()
    assert measured.drive == tuple(gain.drive for gain in engine.get_gains().values())
    assert measured.loop_gain == tuple(gain.loop_gain for gain in engine.get_gains().values())
    reading = measured.reading()
    assert reading.alpha == NANO
    assert all(type(figure) is int for figure in (*reading[:5], *reading.drive, *reading.loop_gain))


@given(entropy=FIGURES, h=FIGURES, drive=st.tuples(FIGURES, FIGURES, FIGURES))
def test_each_figure_is_rounded_against_the_proposer(entropy, h, drive):
    reading = measurement(entropy_rate=entropy, h_internal=h, drive=drive, loop_gain=drive).reading()
    scaled = entropy.as_integer_ratio()
    assert 0 <= reading.entropy_rate * scaled[1] - scaled[0] * NANO < scaled[1]
    scaled = h.as_integer_ratio()
    assert 0 <= scaled[0] * NANO - reading.h_internal * scaled[1] < scaled[1]
    for rounded, real in zip((*reading.drive, *reading.loop_gain), drive * 2, strict=True):
        scaled = real.as_integer_ratio()
        assert 0 <= rounded * scaled[1] - scaled[0] * NANO < scaled[1]


@pytest.mark.parametrize("name", ["alpha", "objective", "entropy_rate", "h_internal", "drive", "loop_gain"])
@pytest.mark.parametrize("value", [nan, inf, -inf, True, None, "1"], ids=repr)
def test_what_is_no_finite_number_is_named(name, value):
    is_per_scale = name in ("drive", "loop_gain")
    with pytest.raises(MalformedQuantityError, match=name + (r"\[L_phi\]" if is_per_scale else "")):
        measurement(**{name: (0.1, value, 0.1) if is_per_scale else value}).reading()


def test_the_objective_is_coherence_less_the_regulariser(scripted_engine):
    engine = scripted_engine(coherence=0.5)
    engine.set_alpha_multiplier(1.1)
    engine.run_cycle()
    assert Sensors(engine, 1, 2.0, 0).measure().objective == pytest.approx(0.5 - 2.0 * 0.1**2)


def test_coherence_is_averaged_over_a_window_at_one_alpha(scripted_engine):
    engine = scripted_engine(coherence=0.2)
    engine.set_alpha_multiplier(1.0)
    sensors = Sensors(engine, 2, 0.0, 0)
    engine.run_cycle()
    sensors.measure()
    engine.coherence = 0.4
    engine.run_cycle()
    assert sensors.measure().c_hat == pytest.approx(0.3)
    engine.set_alpha_multiplier(1.01)
    engine.coherence = 0.6
    engine.run_cycle()
    assert sensors.measure().c_hat == pytest.approx(0.6)


@pytest.mark.parametrize("coherence", [nan, inf, -0.1, 1.0000001])
def test_a_coherence_outside_its_range_is_no_reading(scripted_engine, coherence):
    engine = type("Wild", (scripted_engine,), {"normalize_C": lambda self, c: coherence})()
    engine.set_alpha_multiplier(1.0)
    engine.run_cycle()
    with pytest.raises(MeasurementError, match=r"C_hat is .*, must lie in \[0, 1\]"):
        Sensors(engine, 1, 0.0, 0).measure()


@pytest.mark.parametrize(
    ("snapshot", "said"),
    [
        ([[nan]], "snapshot row 0 is not finite"),
        ([[1.0], [0.0]], "snapshot row 1 is zero"),
        (np.empty((0, 4)), "snapshot has shape"),
        ([[1.0], [1.0, 2.0]], "ragged or not numeric"),
        ("Ω", "must hold real numbers"),
    ],
    ids=str,
)
def test_a_snapshot_that_cannot_be_measured_is_no_reading(scripted_engine, snapshot, said):
    engine = type("Odd", (scripted_engine,), {"sample_omega_snapshot": lambda self: snapshot})()
    engine.set_alpha_multiplier(1.0)
    engine.run_cycle()
    with pytest.raises(MeasurementError, match=said):
        Sensors(engine, 1, 0.0, 0).measure()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyError("L_mu"), "engine raised KeyError: 'L_mu'"),
        (SilentError(), "engine raised SilentError"),
        (OSError("line\nbreak \ud800"), r"engine raised OSError: line\nbreak \ud800"),
    ],
)
def test_an_engine_that_raises_gives_no_reading(scripted_engine, error, said):
    engine = scripted_engine(entropy_rate=error)
    engine.set_alpha_multiplier(1.0)
    engine.run_cycle()
    with pytest.raises(MeasurementError) as caught:
        Sensors(engine, 1, 0.0, 0).measure()
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("cycle", "said"),
    [(3.0, "float"), ("3", "str"), (None, "NoneType"), (nan, "float"), (True, "bool")],
    ids=repr,
)
def test_a_cycle_that_is_no_whole_number_is_no_reading(scripted_engine, cycle, said):
    engine = scripted_engine()
    sensors = Sensors(engine, 1, 0.0, 0)
    engine.cycle = cycle
    with pytest.raises(MeasurementError, match=f"engine's cycle is no whole number: TypeError: .*{said}"):
        sensors.newest_cycle()
    engine.cycle_alpha = 1.0
    with pytest.raises(MeasurementError, match="engine's cycle is no whole number: TypeError"):
        sensors.measure()


def test_a_whole_number_of_another_library_is_one(scripted_engine):
    engine = scripted_engine(cycle=np.int64(3))
    newest = Sensors(engine, 1, 0.0, 40).newest_cycle()
    assert newest == 43
    assert type(newest) is int


def test_all_that_is_lacking_is_named_with_the_check_it_is_for():
    class Least:
        def sample_omega_snapshot(self):
            return [[1.0]]

        def set_alpha_multiplier(self, alpha):
            """Takes any."""

    with pytest.raises(EngineCapabilityError) as caught:
        Sensors(Least(), 1, 0.0, 0)
    assert str(caught.value) == (
        "Least cannot be attuned: "
        "no cycle, so nothing can check whether a reading is new; "
        "no cycle_alpha, so nothing can check whether a reading was taken at the present α; "
        "no get_entropy_rate, so nothing can check entropy_rate; "
        "no get_h_internal, so nothing can check h_internal; "
        "no get_gains, so nothing can check drive and loop_gain"
    )


def test_what_is_no_engine_at_all_is_refused():
    with pytest.raises(EngineProtocolError, match="no sample_omega_snapshot"):
        Sensors(object(), 1, 0.0, 0)


@given(st.text(st.characters(), max_size=900))
def test_printable_text_is_short_one_line_and_valid(text):
    shown = printable(text)
    assert shown.isprintable()
    assert len(shown) <= 400 * 10
    assert shown.encode("utf-8").decode("utf-8") == shown
    assert printable(shown)[:400] == shown[:400]


@given(st.text(st.characters(), max_size=900))
def test_escaped_text_is_printable_and_whole(text):
    shown = escaped(text)
    assert shown.isprintable()
    assert printable(text) == escaped(text[:400])
    assert escaped(shown) == shown
    assert shown == text or not text.isprintable()


def test_printable_text_stays_as_it_is():
    assert printable("α 1.0 → 1.01 (gradient step)") == "α 1.0 → 1.01 (gradient step)"


def test_an_exception_is_described_by_its_name_when_its_text_raises():
    assert described(SilentError()) == "SilentError"
    assert described(SystemExit(3)) == "SystemExit: 3"


def test_a_class_has_no_say_in_how_its_exception_is_named():
    class Meta(type):
        @property
        def __name__(cls):
            raise SystemExit

    class ForeignError(Exception, metaclass=Meta):
        pass

    assert described(ForeignError("x")) == "ForeignError: x"
