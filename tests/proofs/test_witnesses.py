"""A theorem about nothing is found out: premises never met, rows never reached, paths that do not replay."""

import attrs
import pytest

from proofs import witnesses
from proofs.events import EVENTS, explore_event
from proofs.solvers import Discharge, Verdict
from proofs.source import kernel_from, shipped_kernel
from proofs.tasks import Task, perform
from proofs.theorems import Subject
from proofs.witnesses import find_witnesses

RULES = shipped_kernel().sources["rules"]
SHIPPED = Subject(shipped_kernel())
REFUSING = Subject(
    kernel_from(rules=RULES.replace('("alpha_delta", NANO, -limits', '("alpha_delta", NANO, 1 + limits'))
)


def test_every_path_of_an_event_is_replayed() -> None:
    answer = find_witnesses(SHIPPED, "every_path_is_reachable_and_replays", "settle")
    assert answer.verdict is Verdict.PROVED
    assert answer.paths == len(SHIPPED.event("settle").cases) > 20


def test_a_premise_that_a_kernel_never_meets_is_found_out() -> None:
    answer = find_witnesses(REFUSING, "every_premise_is_reachable", "granted_alpha_keeps_the_envelope")
    assert answer == Discharge(
        Verdict.REFUTED, reason="the premise of granted_alpha_keeps_the_envelope is never met"
    )


def test_only_claims_on_events_have_premises() -> None:
    answer = find_witnesses(SHIPPED, "every_premise_is_reachable", "every_input_takes_exactly_one_path")
    assert answer.verdict is Verdict.UNKNOWN


def test_a_row_that_a_kernel_never_ends_in_is_found_out() -> None:
    answer = find_witnesses(REFUSING, "every_row_of_the_specification_is_reachable", "propose")
    assert answer == Discharge(Verdict.REFUTED, reason="row 1 of propose does not replay")


def test_a_row_without_a_witness_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    (row, *_) = witnesses.TABLES["freeze"](witnesses.symbolic_facts("freeze"))
    monkeypatch.setitem(witnesses.TABLES, "freeze", lambda facts: (attrs.evolve(row, when=False),))
    answer = find_witnesses(SHIPPED, "every_row_of_the_specification_is_reachable", "freeze")
    assert answer == Discharge(Verdict.REFUTED, reason="row 1 of freeze: no witness")


@pytest.mark.parametrize("event", ["recover", "observe"])
def test_a_path_whose_formulas_are_not_the_function_is_found_out(event: str) -> None:
    forged = Subject(shipped_kernel())
    explored = explore_event(forged.kernel, event)
    first, *rest = explored.cases
    for case in (
        attrs.evolve(first, after=first.after._replace(cycle=first.after.cycle + 1)),
        attrs.evolve(first, error=ValueError()),
    ):
        forged._events[event] = attrs.evolve(explored, cases=(case, *rest))
        answer = find_witnesses(forged, "every_path_is_reachable_and_replays", event)
        assert answer == Discharge(Verdict.REFUTED, reason=f"path 1 of {event} does not replay")


def test_a_path_that_nothing_takes_is_found_out() -> None:
    forged = Subject(shipped_kernel())
    explored = explore_event(forged.kernel, "recover")
    first, *_ = explored.cases
    nowhere = attrs.evolve(first, guard=first.guard != first.guard)
    forged._events["recover"] = attrs.evolve(explored, cases=(nowhere,))
    answer = find_witnesses(forged, "every_path_is_reachable_and_replays", "recover")
    assert answer == Discharge(Verdict.REFUTED, reason="path 1 of recover: no witness")


def test_a_witness_beyond_the_solver_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(witnesses, "RLIMIT", 1)
    answer = find_witnesses(SHIPPED, "every_path_is_reachable_and_replays", "recover")
    assert answer.verdict is Verdict.UNKNOWN
    assert answer.reason.startswith("path 1 of recover: ")


def test_a_worker_makes_a_changed_kernel_again() -> None:
    sources = (("rules", REFUSING.kernel.sources["rules"]),)
    for given, verdict in ((sources, Verdict.REFUTED), ((), Verdict.PROVED)):
        task = Task("every_premise_is_reachable", "granted_alpha_keeps_the_envelope", "witness", "", given)
        assert perform(task).verdict is verdict


def test_events_are_those_of_the_tables() -> None:
    assert tuple(witnesses.TABLES) == EVENTS
