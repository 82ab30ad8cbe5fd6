"""A trial of a change on a machine that does other things too."""

from __future__ import annotations

import numpy as np
import pytest

from vizsla.profiling.change import Change
from vizsla.profiling.probe import Block, Trial, compared

STEPS, PICTURES = 30, 16


def trial(rng: np.random.Generator, gain: float, between: float, pairs: int = 4) -> Trial:
    """Steps of 50 ms; other processes slow whole blocks by ``between`` (a standard deviation of the logarithm)."""

    def block(mean: float) -> Block:
        steps = mean * np.exp(rng.normal(0, between)) * np.exp(rng.normal(0, 0.05, STEPS))
        return Block(steps.tolist(), [PICTURES] * STEPS)

    without, with_it = ([block(0.05 / g) for _ in range(pairs)] for g in (1.0, gain))
    return compared(Change("num_workers", 2), without, with_it)


@pytest.mark.parametrize("between", [0.0, 0.05, 0.3])
def test_what_changes_nothing_is_told_to_gain_in_few_of_a_thousand_trials(between: float) -> None:
    rng = np.random.default_rng(0)
    trials = [trial(rng, 1.0, between) for _ in range(1000)]
    assert sum(t.gains for t in trials) <= 35  # one side of 95 %
    assert 0.93 <= np.mean([t.low <= 1 <= t.high for t in trials]) <= 0.97


@pytest.mark.parametrize("pairs", [3, 4])
def test_a_gain_is_seen_through_the_noise_of_the_machine(pairs: int) -> None:
    rng = np.random.default_rng(1)
    trials = [trial(rng, 1.5, 0.05, pairs) for _ in range(200)]
    assert np.mean([t.gains for t in trials]) > 0.95
    assert np.median([t.gain for t in trials]) == pytest.approx(1.5, rel=0.02)
    assert all(t.low < t.gain < t.high for t in trials)
    assert trials[0].after / trials[0].before == pytest.approx(1.5, rel=0.15)
    assert trials[0].steps == 2 * pairs * STEPS
