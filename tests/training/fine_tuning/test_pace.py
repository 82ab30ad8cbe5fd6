"""A training that has a time to end in, on a machine that turns out slower than it was measured."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from vizsla.training.fine_tuning.pace import Pace

PER_EPOCH, PLANNED = 40, 400


def train(
    each: float, end: float, evaluation: float = 0.0, slow_from: int = PLANNED
) -> tuple[Pace, int, float, list[str]]:
    """Steps of ``each`` seconds, twice as many from step ``slow_from`` on; where it ended, and when."""
    notes: list[str] = []
    pace, step, now = Pace(PLANNED, PER_EPOCH, end, notes.append), 0, 0.0
    shares = []
    while step < pace.total:
        shares.append(pace.share(step))
        step, now = step + 1, now + each * (2 if step >= slow_from else 1)
        pace.change(step, pace.fitting(step, now))
        if step % PER_EPOCH == 0:
            pace.evaluated(evaluation)
            now += evaluation
    assert shares == sorted(shares)
    assert max(after - before for before, after in itertools.pairwise(shares)) < 0.03, "no jump of the rate"
    return pace, step, now, notes


def test_a_machine_that_keeps_its_pace_changes_nothing() -> None:
    pace, step, now, notes = train(each=1.0, end=420.0)
    assert (step, now, notes) == (PLANNED, 400.0, [])
    assert pace.share(100) == 0.25


@pytest.mark.parametrize("evaluation", [0.0, 8.0])
def test_a_slower_machine_has_fewer_steps_and_still_comes_to_the_end_of_its_way(evaluation: float) -> None:
    pace, step, now, notes = train(each=2.0, end=420.0, evaluation=evaluation)
    assert step < PLANNED / 2 + PER_EPOCH
    assert 0.9 * 420 < now <= 420 + 2
    assert pace.share(step) == pytest.approx(1.0)
    (note,) = notes
    assert "The machine is slower than it was measured: there is time for" in note
    assert "instead of 10" in note


def test_others_that_come_in_the_middle() -> None:
    _, step, now, notes = train(each=1.0, end=420.0, slow_from=200)
    assert 280 <= step <= 320
    assert now <= 425
    assert len(notes) == 1


@pytest.mark.parametrize("seed", range(20))
def test_steps_that_take_now_more_and_now_less_are_done_in_time(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pace, step, now = Pace(PLANNED, PER_EPOCH, 420.0), 0, 0.0
    while step < pace.total:
        step, now = step + 1, now + 2 * rng.uniform(0.7, 1.3)
        pace.change(step, pace.fitting(step, now))
    assert 0.9 * 420 < now <= 420, "whoever watches the end would have cut the last epoch off"


def test_without_an_end_the_steps_are_those_that_were_planned() -> None:
    pace = Pace(PLANNED, PER_EPOCH)
    assert [pace.fitting(step, 1e9 * step) for step in (10, 20, 400)] == [PLANNED] * 3
