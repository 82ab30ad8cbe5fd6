"""Who wins, and when nobody can say."""

from __future__ import annotations

import numpy as np
import pytest

from vizsla.tuning.finalists import Finalist, judge
from vizsla.tuning.objective import Objective
from vizsla.tuning.trials import TrialRecord

LOSS, ACCURACY = Objective("valid_loss", "minimize"), Objective("valid_accuracy", "maximize")


def finalist(number: int, values: tuple[float, ...], cost: float, scores: np.ndarray | None = None) -> Finalist:
    return Finalist(TrialRecord(number, f"t{number}", {}, "Completed", values[0], cost=cost), values, scores)


def test_a_clear_winner_wins_though_it_costs_more() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(-0.5, 0.2, 400)
    verdict = judge(
        [
            finalist(1, (0.5, 0.51, 0.49), 10, scores),
            finalist(2, (0.3, 0.31, 0.29), 99, scores + 0.2 + rng.normal(0, 0.1, 400)),
        ],
        LOSS,
        "steps",
    )
    assert verdict.winner.trial.number == 2
    assert verdict.tied == (2,)
    assert "better than every other finalist by more than the noise" in verdict.words


def test_ties_within_the_noise_are_said_and_the_cheapest_wins() -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(-0.3, 0.2, 400)
    verdict = judge(
        [
            finalist(4, (0.300, 0.303, 0.298), 500, base),
            finalist(7, (0.301, 0.300, 0.304), 50, base + rng.normal(-0.001, 0.1, 400)),
            finalist(9, (0.6, 0.61, 0.6), 5, base - 0.3),
        ],
        LOSS,
        "optimizer steps",
    )
    assert verdict.tied == (4, 7)
    assert verdict.winner.trial.number == 7
    assert "Trials 4 and 7 are tied: their differences are within the noise. Trial 7 wins" in verdict.words
    assert "(50 optimizer steps)" in verdict.words
    assert "3 finalists were trained with 3 seeds each" in verdict.words


def test_accuracy_is_better_when_larger() -> None:
    right = np.repeat([1.0, 0.0], [380, 20])
    worse = np.repeat([1.0, 0.0], [300, 100])
    verdict = judge([finalist(1, (0.75,), 1, worse), finalist(2, (0.95,), 2, right)], ACCURACY, "steps")
    assert verdict.winner.trial.number == 2
    assert verdict.tied == (2,)


def test_without_pictures_the_seeds_decide() -> None:
    apart = judge([finalist(1, (0.50, 0.51, 0.49), 1), finalist(2, (0.30, 0.31, 0.29), 2)], LOSS, "seconds")
    assert apart.tied == (2,)
    close = judge([finalist(1, (0.50, 0.40, 0.45), 1), finalist(2, (0.44, 0.48, 0.42), 2)], LOSS, "seconds")
    assert close.tied == (2, 1)
    assert close.winner.trial.number == 1


@pytest.mark.parametrize("objective", [LOSS, ACCURACY])
def test_the_share_of_false_winners_is_small(objective: Objective) -> None:
    """Two configurations that are equally good are called tied about 95 times in 100."""
    rng = np.random.default_rng(1)
    told_apart = 0
    for _ in range(300):
        # Every seed is measured on the same pictures, and moves all of them a little.
        a, b = (rng.normal(0, 1, (1, 200)) + rng.normal(0, 0.01, (3, 1)) for _ in range(2))
        sign = -1 if objective is LOSS else 1
        pair = [
            finalist(i, tuple(float(sign * v) for v in s.mean(axis=1)), 1, s.mean(axis=0)) for i, s in enumerate((a, b))
        ]
        told_apart += len(judge(pair, objective, "steps").tied) == 1
    assert 0.02 < told_apart / 300 < 0.08


@pytest.mark.parametrize("objective", [LOSS, ACCURACY])
def test_a_real_difference_is_found(objective: Objective) -> None:
    """A difference of four standard errors is told apart nearly always."""
    rng = np.random.default_rng(2)
    sign, found = -1 if objective is LOSS else 1, 0
    for _ in range(200):
        pair = []
        for i in range(2):
            scores = rng.normal(0.4 * i, 1, 200)
            values = tuple(float(sign * (scores.mean() + rng.normal(0, 0.01))) for _ in range(3))
            pair.append(finalist(i, values, i, scores))
        verdict = judge(pair, objective, "steps")
        found += verdict.tied == (1,)
    assert found / 200 > 0.9


def test_equal_costs_go_to_the_better_mean() -> None:
    close = judge([finalist(1, (0.50, 0.40, 0.45), 9), finalist(2, (0.44, 0.48, 0.42), 9)], LOSS, "seconds")
    assert close.tied == (2, 1)
    assert close.winner.trial.number == 2


def test_seeds_that_change_nothing_leave_it_undecided() -> None:
    same = judge([finalist(1, (0.5,) * 3, 1), finalist(2, (0.4,) * 3, 9)], LOSS, "seconds")
    assert same.winner.trial.number == 2
    assert "undecided: the script does not react to the hyperparameter `seed`" in same.words
    one = judge([finalist(1, (0.5,), 1), finalist(2, (0.4,), 9)], LOSS, "seconds")
    assert one.winner.trial.number == 2
    assert "undecided: each finalist was trained with one seed" in one.words
