"""What counts as an engine, and what it is found to offer."""

import pytest

from attunement.engine import CalEngine
from attunement.engine_protocol import EngineProtocolError, capabilities
from attunement.simulator import SimulatedSource

ALL = {
    "cycle",
    "cycle_alpha",
    "on_cycle_end",
    "normalize_C",
    "get_alpha_multiplier",
    "get_lambda",
    "get_psi",
    "get_entropy_rate",
    "get_h_internal",
    "get_m_t_bounds",
    "get_gains",
}


class Least:
    def sample_omega_snapshot(self):
        return [[1.0]]

    def set_alpha_multiplier(self, alpha):
        raise AssertionError("nothing of the engine may be called")


def test_the_engine_offers_everything_before_its_first_cycle():
    assert capabilities(CalEngine(SimulatedSource(2, 2))) == ALL


def test_the_least_engine_offers_nothing_more():
    assert capabilities(Least()) == frozenset()


def test_what_only_the_instance_has_is_found():
    engine = Least()
    engine.get_entropy_rate = lambda: 0.0
    assert capabilities(engine) == {"get_entropy_rate"}


def test_what_is_none_is_not_offered():
    class Engine(Least):
        get_gains = None

    assert capabilities(Engine()) == frozenset()


def test_other_names_are_no_capability():
    class Engine(Least):
        def predict(self, alpha):
            return alpha

    assert capabilities(Engine()) == frozenset()


def test_every_missing_requirement_is_named():
    with pytest.raises(
        EngineProtocolError, match="int has no sample_omega_snapshot and no set_alpha_multiplier"
    ):
        capabilities(3)

    class Deaf:
        def sample_omega_snapshot(self):
            return [[1.0]]

    said = (
        "Deaf has no set_alpha_multiplier; an engine must have sample_omega_snapshot and set_alpha_multiplier"
    )
    with pytest.raises(EngineProtocolError, match=said):
        capabilities(Deaf())
