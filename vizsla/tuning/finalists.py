"""The last round: the best few again with several seeds, and whether their differences mean anything."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import PlainSerializer, PlainValidator

from vizsla.training.config import HeadConfig, LbfgsConfig
from vizsla.training.head_data import HeadData
from vizsla.training.heads import train_heads
from vizsla.training.trained import TrainedHead
from vizsla.tuning.head_space import head_config
from vizsla.tuning.heads_runner import best_value
from vizsla.tuning.objective import Objective
from vizsla.tuning.trials import TrialRecord, ranked

_CHUNK = 4096
_TINY = 1e-12
_NORMAL = 1.959963984540054
_STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""Student's t, 97.5 % point, for 1 to 10 degrees of freedom."""

_NotWritten = Annotated[
    npt.NDArray[np.float64] | None, PlainValidator(lambda value: None), PlainSerializer(lambda value: None)
]
"""What only the verdict is made of: a stored result has the verdict."""


@dataclass(frozen=True)
class Finalist:
    """A configuration trained with several seeds.

    ``values`` is the objective by seed; ``scores`` what each validation picture adds to it, averaged over the seeds,
    float64 of shape (pictures,), more being better (None where only the values are known).
    """

    trial: TrialRecord
    values: tuple[float, ...]
    scores: _NotWritten = None

    @property
    def mean(self) -> float:
        """The mean objective."""
        return float(np.mean(self.values))

    @property
    def spread(self) -> float:
        """The standard deviation over the seeds; 0 with one."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else 0.0


@dataclass(frozen=True)
class Verdict:
    """Who won and why. ``tied`` are the numbers of the trials that cannot be told from the best one, the best first."""

    finalists: tuple[Finalist, ...]
    winner: Finalist
    tied: tuple[int, ...]
    words: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "winner": self.winner.trial.name,
            "tied": list(self.tied),
            "words": self.words,
            "finalists": [
                {
                    "trial": f.trial.name,
                    "hyperparameters": f.trial.params,
                    "mean": f.mean,
                    "sd": f.spread,
                    "values": list(f.values),
                    "cost": f.trial.cost,
                }
                for f in self.finalists
            ],
        }


def retrain_heads(
    data: HeadData, base: HeadConfig, trials: Sequence[TrialRecord], objective: Objective, *, count: int, seeds: int
) -> tuple[list[Finalist], list[TrainedHead]]:
    """Train the ``count`` best trials again with ``seeds`` seeds from ``base.seed`` on, all as one product.

    Returns
    -------
    The finalists, and of each the head of the first seed: what ``fit`` gives with these hyperparameters.
    """
    chosen = ranked(trials, objective)[:count]
    configs = [
        replace(head_config(base, t.params), seed=base.seed + seed) for t in chosen for seed in range(max(1, seeds))
    ]
    with np.errstate(all="ignore"):
        trained = train_heads(data, configs)
    finalists, heads = [], []
    each = max(1, seeds)
    for at, trial in enumerate(chosen):
        own = trained[at * each : (at + 1) * each]
        scores = np.mean([_scores(data, head, objective) for head in own], axis=0)
        finalists.append(Finalist(trial, tuple(best_value(head, objective.metric) for head in own), scores))
        heads.append(own[0])
    return finalists, heads


def beside_default(data: HeadData, winner: TrainedHead, objective: Objective) -> str:
    """Words for what the search gained over the head that ``fit`` trains without one.

    The two are compared picture by picture on the validation split; within the 95 % interval of the mean difference
    there is nothing to choose between them.
    """
    (default,) = train_heads(data, [LbfgsConfig(seed=winner.config.seed)])
    difference = _scores(data, winner, objective) - _scores(data, default, objective)
    half = _NORMAL * float(np.std(difference)) / math.sqrt(max(1, len(difference)))
    gain = float(difference.mean())
    verdict = "The difference is within the noise"
    if abs(gain) > half:
        better, worse = "better", "worse: `vizsla fit` without a search is the one to use"
        verdict = f"The winner is {better if gain > 0 else worse}"
    values = [best_value(head, objective.metric) for head in (winner, default)]
    return (
        f"The winner's {objective.metric} is {values[0]:.4f}; the default head of fit, without a search, has "
        f"{values[1]:.4f}. {verdict}."
    )


def judge(finalists: Sequence[Finalist], objective: Objective, unit: str) -> Verdict:
    """The best finalist, or of those that it cannot be told from the cheapest.

    Two are tied when zero lies in the 95 % interval of their difference: over the same pictures and seeds where the
    scores of pictures are known, else Welch's over the seeds. Without scores, one seed, or seeds that change nothing,
    leave it undecided: then the best value stands, and the words say so.

    Parameters
    ----------
    unit:
        What ``TrialRecord.cost`` counts, for the words.
    """
    order = sorted(finalists, key=lambda f: (objective.cost(f.mean), f.trial.number))
    best = order[0]
    undecided = _undecided(order)
    if undecided is not None:
        return Verdict(tuple(order), best, tuple(f.trial.number for f in order), undecided)
    tied = [f for f in order if f is best or _indistinguishable(best, f)]
    winner = min(tied, key=lambda f: (math.inf if f.trial.cost is None else f.trial.cost, order.index(f)))
    return Verdict(tuple(order), winner, tuple(f.trial.number for f in tied), _words(order, tied, winner, unit))


def _undecided(order: Sequence[Finalist]) -> str | None:
    """Why nothing is known of the noise, in words; None where it is."""
    if len(order) < 2 or any(f.scores is not None for f in order):
        return None
    best = f"Trial {order[0].trial.number} has the best value; whether by more than the noise is undecided"
    if min(len(f.values) for f in order) < 2:
        return f"{best}: each finalist was trained with one seed."
    if all(len(set(f.values)) == 1 for f in order):
        return (
            f"{best}: the script does not react to the hyperparameter `seed`, all its values agree to the last digit."
        )
    return None


def _indistinguishable(a: Finalist, b: Finalist) -> bool:
    if a.scores is not None and b.scores is not None:
        difference = a.scores - b.scores
        variance = float(np.var(difference, ddof=1)) / len(difference) if len(difference) > 1 else math.inf
        by_seed = np.subtract(a.values, b.values)
        if len(by_seed) > 1:
            variance += float(np.var(by_seed, ddof=1)) / len(by_seed)
        return abs(float(difference.mean())) <= _NORMAL * math.sqrt(variance)
    shares = [f.spread**2 / len(f.values) for f in (a, b)]
    freedom = sum(shares) ** 2 / max(
        sum(s**2 / (len(f.values) - 1) for s, f in zip(shares, (a, b), strict=True)), _TINY**2
    )
    at = min(max(int(freedom), 1), len(_STUDENT))
    return abs(a.mean - b.mean) <= _STUDENT[at - 1] * math.sqrt(sum(shares))


def _scores(data: HeadData, trained: TrainedHead, objective: Objective) -> npt.NDArray[np.float64]:
    """What each validation picture adds to the objective, more being better."""
    parts = []
    for start in range(0, len(data.valid), _CHUNK):
        rows = data.valid[start : start + _CHUNK]
        probabilities = trained.head.probabilities(data.table.take(rows))
        labels = data.labels[rows]
        if objective.metric == "valid_accuracy":
            parts.append((probabilities.argmax(axis=1) == labels).astype(np.float64))
        else:
            own = probabilities[np.arange(len(rows)), labels].astype(np.float64)
            parts.append(np.log(np.maximum(own, _TINY)))
    return np.concatenate(parts)


def _words(order: Sequence[Finalist], tied: Sequence[Finalist], winner: Finalist, unit: str) -> str:
    seeds = len(winner.values)
    again = f"{len(order)} finalists were trained with {seeds} seeds each. " if seeds > 1 else ""
    if len(order) == 1:
        return f"Trial {winner.trial.number} is the only finalist."
    if len(tied) == 1:
        return (
            f"{again}Trial {winner.trial.number} wins: it is better than every other finalist by more than the noise."
        )
    numbers = sorted(f.trial.number for f in tied)
    listed = ", ".join(str(n) for n in numbers[:-1]) + f" and {numbers[-1]}"
    cost = "" if winner.trial.cost is None else f" ({winner.trial.cost:,.0f} {unit})"
    return (
        f"{again}Trials {listed} are tied: their differences are within the noise. Trial {winner.trial.number} wins, "
        f"the cheapest of them{cost}."
    )
