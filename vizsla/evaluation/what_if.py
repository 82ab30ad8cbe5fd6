"""What other data or another training would give: heads trained anew on the features that are there, in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vizsla.evaluation.comparison import Comparison, compare
from vizsla.evaluation.evaluate import calibration_error
from vizsla.models.heads import Head, softmax
from vizsla.training.config import LbfgsConfig
from vizsla.training.head_data import HeadData
from vizsla.training.heads import train_heads
from vizsla.training.temperature import best_temperature, losses

_SHARES = (0.125, 0.25, 0.5, 1.0)
_DRAWS = 2
_RESAMPLES = 200
_LEAST_A_CLASS = 2
_WORSE, _MOST_TIMES, _LEAST_MEASURED = 1.25, 10, 10
"""A class is in need whose error is so many times the mean; so many times its pictures are too many to ask for; so many
pictures of it must be measured."""
RATIO = 1.5
"""Largest training class over smallest from which on what would help against that is tried."""

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Need:
    """A class (a position) with more mistakes than the mean, its training pictures, and how many more its own curve
    asks for until its recall is the mean one; None where the number of pictures would not do it."""

    label: int
    pictures: int
    recall: float
    more: int | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return vars(self) | {"recall": round(self.recall, 6)}


@dataclass(frozen=True)
class LearningCurve:
    """Accuracy (mean over draws) with each number of training pictures; ``twice`` is what the fitted curve says of
    twice as many, with the middle 95 % of what it says in resamples of the measured pictures. ``needs`` are the classes
    with most mistakes."""

    pictures: tuple[int, ...]
    accuracy: tuple[float, ...]
    twice: float
    low: float
    high: float
    needs: tuple[Need, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "pictures": list(self.pictures),
            "accuracy": [round(value, 6) for value in self.accuracy],
            "with_twice_the_pictures": round(self.twice, 6),
            "interval": [round(self.low, 6), round(self.high, 6)],
            "classes_in_need": [need.to_dict() for need in self.needs],
        }


@dataclass(frozen=True)
class WhatIf:
    """One thing that could be done, measured: accuracy and mean recall of the classes, beside the model as it is."""

    words: str
    accuracy: float
    balanced_accuracy: float
    comparison: Comparison

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "what": self.words,
            "accuracy": round(self.accuracy, 6),
            "balanced_accuracy": round(self.balanced_accuracy, 6),
            "better_on": self.comparison.better,
            "worse_on": self.comparison.worse,
            "p": self.comparison.p,
        }


@dataclass(frozen=True)
class Calibration:
    """The temperature that the validation pictures ask for, and loss (nats) and calibration error of the measured ones
    without and with it."""

    temperature: float
    loss: float
    loss_with: float
    ece: float
    ece_with: float

    def to_dict(self) -> dict[str, float]:
        """Plain JSON values."""
        return {name: round(value, 6) for name, value in vars(self).items()}


def calibration(data: HeadData, head: Head, features: Floats, labels: Labels) -> Calibration | None:
    """Fit a temperature on the validation pictures and measure it on ``features`` (n, d); None without any of them."""
    if not len(data.valid):
        return None
    temperature = best_temperature(head.logits(data.table.take(data.valid)), data.labels[data.valid])
    logits = head.logits(features)
    values = [
        (float(losses(logits, labels, t).mean()), calibration_error(softmax(logits / np.float32(t)), labels))
        for t in (1.0, temperature)
    ]
    (loss, ece), (loss_with, ece_with) = values
    return Calibration(temperature, loss, loss_with, ece, ece_with)


def learning_curve(
    data: HeadData, features: Floats, labels: Labels, seed: int, decay: float | None = None
) -> LearningCurve | None:
    """Train on parts of the training pictures and measure on ``features`` (n, d) of other ones, with their labels.

    The error is taken to fall as a power of the number of pictures (Hestness et al. 2017, arXiv:1712.00409). None where
    there are too few pictures of a class to take parts of. ``decay`` is the strength that all pictures ask for; None
    looks for it.
    """
    rng = np.random.default_rng(seed)
    if np.bincount(data.labels[data.train], minlength=data.classes).min() * _SHARES[0] < _LEAST_A_CLASS:
        return None
    counts, right = list[int](), list[npt.NDArray[np.float64]]()
    for share in reversed(_SHARES):
        hits = np.zeros(len(labels))
        draws = 1 if share == 1 else _DRAWS
        for _ in range(draws):
            rows = _part(data, share, rng)
            part = HeadData(data.table, data.labels, rows, data.valid, data.classes)
            # The decay was chosen on all pictures: of fewer ones the penalty weighs as much more as they are fewer.
            config = LbfgsConfig(seed=seed, weight_decay=None if decay is None else min(1.0, decay / share))
            (trained,) = train_heads(part, [config])
            decay = trained.config.weight_decay if share == 1 else decay
            hits += (trained.head.logits(features).argmax(axis=1) == labels) / draws
        counts.insert(0, len(rows))
        right.insert(0, hits)
    errors = 1 - np.stack(right)
    twice = _extrapolated(counts, errors.mean(axis=1))
    draws_of_pictures = rng.integers(0, len(labels), (_RESAMPLES, len(labels)))
    drawn = [_extrapolated(counts, errors[:, rows].mean(axis=1)) for rows in draws_of_pictures]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return LearningCurve(
        tuple(counts),
        tuple(float(1 - e) for e in errors.mean(axis=1)),
        1 - twice,
        1 - float(high),
        1 - float(low),
        tuple(_needs(data, counts, errors, labels)),
    )


def _needs(data: HeadData, counts: Sequence[int], errors: npt.NDArray[np.float64], labels: Labels) -> list[Need]:
    """From the errors of each picture (n,) with each number of training pictures."""
    needs, target = [], float(errors[-1].mean())
    own_counts = np.bincount(data.labels[data.train], minlength=data.classes)
    for label in np.unique(labels).tolist():
        own = errors[:, labels == label].mean(axis=1)
        if own[-1] <= _WORSE * target or (labels == label).sum() < _LEAST_MEASURED:
            continue
        slope = _slope(counts, own)
        factor = (own[-1] / max(target, 1e-3)) ** (1 / -slope) if slope < -0.05 else np.inf
        n = int(own_counts[label])
        more = round(n * (factor - 1)) if factor <= _MOST_TIMES else None
        needs.append(Need(label, n, float(1 - own[-1]), more))
    return sorted(needs, key=lambda need: need.recall)


def _part(data: HeadData, share: float, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """The same share of every class."""
    rows = [rng.permutation(data.train[data.labels[data.train] == label]) for label in range(data.classes)]
    return np.sort(np.concatenate([own[: max(_LEAST_A_CLASS, round(share * len(own)))] for own in rows]))


def _extrapolated(counts: Sequence[int], errors: npt.NDArray[np.float64]) -> float:
    """The error at twice the last count, by a straight line of the logarithms that never rises."""
    return float(errors[-1] * 2 ** min(0.0, _slope(counts, errors)))


def _slope(counts: Sequence[int], errors: npt.NDArray[np.float64]) -> float:
    """That of the straight line through the logarithms."""
    return float(np.polyfit(np.log(counts), np.log(np.maximum(errors, 1e-4)), 1)[0])


def what_ifs(
    data: HeadData, head: Head, features: Floats, labels: Labels, seed: int, decay: float | None = None
) -> list[WhatIf]:
    """What weights, sampling and logit adjustment would change, each held against the model on the same pictures.
    Nothing is tried where the classes are about equal.

    Logit adjustment takes the logarithm of the classes' shares in training from the logits (Menon et al. 2021,
    arXiv:2007.07314); weights and balanced sampling have the same optimum, and are tried as one.
    """
    counts = np.bincount(data.labels[data.train], minlength=data.classes)
    if counts.max() < RATIO * max(1, counts.min()):
        return []
    logits = head.logits(features)
    right = logits.argmax(axis=1) == labels
    (weighted,) = train_heads(data, [LbfgsConfig(seed=seed, balance="weights", weight_decay=decay)])
    tried = {
        "class weights or balanced sampling (train again)": weighted.head.logits(features),
        "logit adjustment (the same model)": logits - np.log(np.maximum(counts, 1) / counts.sum()).astype(np.float32),
    }
    return [_what_if(words, changed, right, labels) for words, changed in tried.items()]


def _what_if(words: str, logits: Floats, right: npt.NDArray[np.bool_], labels: Labels) -> WhatIf:
    changed = logits.argmax(axis=1) == labels
    support = np.bincount(labels)
    recall = np.bincount(labels, weights=changed)[support > 0] / support[support > 0]
    return WhatIf(words, float(changed.mean()), float(recall.mean()), compare(right, changed, words))
