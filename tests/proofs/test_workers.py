"""Worker processes answer, fail or are killed; none is waited for without end."""

import os
import time

import pytest

from proofs import workers
from proofs.workers import WorkerError, run_all


def square(number: int) -> int:
    if number < 0:
        raise ValueError(f"{number} is negative")
    if number == 13:
        os._exit(3)
    if number == 99:
        time.sleep(3600)
    return number * number


def test_answers_carry_the_index_of_their_task() -> None:
    answers = {answer.index: answer.value for answer in run_all(square, list(range(10)))}
    assert answers == {index: index * index for index in range(10)}


def test_no_tasks_no_answers() -> None:
    assert list(run_all(square, [])) == []


@pytest.mark.parametrize(
    ("task", "failure"),
    [(-1, "ValueError: -1 is negative"), (13, "the worker process died"), (99, "no answer within 2 s")],
)
def test_a_failed_task_is_answered_with_its_reason_and_the_others_go_on(task: int, failure: str) -> None:
    answers = {answer.index: answer for answer in run_all(square, [task, 2, 3], workers=1, deadline_s=2)}
    assert answers[0].value is None
    assert answers[0].failure == failure
    assert [answers[1].value, answers[2].value] == [4, 9]


def test_an_idle_worker_has_no_answer() -> None:
    idle = workers._Worker(square)
    try:
        with pytest.raises(WorkerError, match="idle"):
            idle.take(1.0)
    finally:
        idle.dismiss()


def test_a_process_that_does_not_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "START_S", 0.0)
    with pytest.raises(WorkerError, match="did not start within 0 s"):
        list(run_all(square, [1]))


def test_a_process_that_dies_before_it_starts_is_an_error() -> None:
    stillborn = workers._Worker(square)
    stillborn.process.kill()
    stillborn.process.join()
    try:
        with pytest.raises(WorkerError, match="died before it started"):
            stillborn.give(0, 1)
    finally:
        stillborn.dismiss()
