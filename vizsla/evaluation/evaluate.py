"""Class probabilities and true labels to the numbers that say how good a model is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import PlainSerializer, PlainValidator

from vizsla.evaluation.constant import ConstantAnswer, constant_answer
from vizsla.evaluation.intervals import bootstrap, class_mean_interval, wilson
from vizsla.notebook import Shown
from vizsla.optional import data_frame

CALIBRATION_BINS = 15
"""Bins of equal width over the confidence, as Guo et al. 2017 use for ECE."""

UNEQUAL = 1.5
"""Largest class over smallest, in the split, from which on balanced accuracy stands beside accuracy."""

MATRIX_CLASSES = 100
"""Most classes of which the confusion matrix is part of the JSON object."""

_TINY = 1e-12

_Confusion = Annotated[
    npt.NDArray[np.int64],
    PlainValidator(lambda written: _matrix(written["classes"], written["cells"])),
    PlainSerializer(lambda matrix: {"classes": len(matrix), "cells": _cells(matrix)}),
]
"""Written down as the cells that are not 0, for it grows with the square of the classes."""
_Bins = Annotated[
    npt.NDArray[np.float64],
    PlainValidator(lambda written: np.asarray(written, np.float64)),
    PlainSerializer(lambda bins: bins.tolist()),
]


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval.

    Examples
    --------
    >>> Estimate(0.9, 0.868, 0.925)
    Estimate(0.900 [0.868, 0.925])
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def __repr__(self) -> str:
        return f"Estimate({self})"


@dataclass(frozen=True)
class ClassScore:
    """How one class fares. ``precision`` is None when nothing was predicted to be it, ``recall`` when the split
    has no picture of it."""

    name: str
    support: int
    predicted: int
    precision: Estimate | None
    recall: Estimate | None
    f1: float | None


@dataclass(frozen=True)
class Evaluation(Shown):
    """A model on one split. In a notebook it shows its numbers with their intervals, the confusion and the classes.

    ``confusion`` is int64 of shape (classes, classes), rows the truth, columns the prediction. ``reliability``
    is float64 of shape (bins, 3): pictures, mean confidence and accuracy in each bin of confidence. ``top_k``
    is the k of ``top5``: 5, or the number of classes where there are fewer. ``balanced_accuracy`` is the mean recall
    of the classes that the split has; ``constant`` is the answer that needs no model.
    """

    n: int
    accuracy: Estimate
    balanced_accuracy: Estimate
    constant: ConstantAnswer
    top5: Estimate
    top_k: int
    macro_f1: Estimate
    loss: Estimate
    ece: Estimate
    classes: tuple[ClassScore, ...]
    confusion: _Confusion
    reliability: _Bins

    def __repr__(self) -> str:
        return f"Evaluation(accuracy {self.accuracy}, macro F1 {self.macro_f1}, on {self.n:,} pictures)"

    def dataframe(self) -> Any:
        """A ``pandas.DataFrame`` of the classes: precision and recall with the ends of their intervals, and F1.

        Raises
        ------
        MissingExtraError
            Without pandas.
        """
        rows = [
            {"class": s.name, "support": s.support, "predicted": s.predicted, "f1": s.f1}
            | _columns("precision", s.precision)
            | _columns("recall", s.recall)
            for s in self.classes
        ]
        ends = [f"{name}{end}" for name in ("precision", "recall") for end in ("", "_low", "_high")]
        return data_frame(rows, ["class", "support", "predicted", *ends, "f1"])

    @property
    def unequal(self) -> bool:
        """Whether the split's classes differ so much in size that accuracy speaks for the large ones."""
        support = self.confusion.sum(axis=1)
        return bool(support.max() >= UNEQUAL * max(1, support[support > 0].min()))

    def mistakes(self) -> list[tuple[int, int, int]]:
        """(truth, prediction, pictures) of each pair of classes that was confused, the most frequent first."""
        off = self.confusion * (1 - np.eye(len(self.classes), dtype=np.int64))
        pairs = [(int(i), int(j), int(off[i, j])) for i, j in zip(*np.nonzero(off), strict=True)]
        return sorted(pairs, key=lambda pair: -pair[2])

    def to_dict(self) -> dict[str, Any]:
        """The headline numbers and the classes, as plain JSON values.

        The confusion matrix of more than :data:`MATRIX_CLASSES` classes is None: it grows with their square.
        ``mistakes`` holds every pair that occurs.
        """
        result: dict[str, Any] = {"n": self.n}
        for name in ("accuracy", "balanced_accuracy", "top5", "macro_f1", "loss", "ece"):
            estimate: Estimate = getattr(self, name)
            result[name] = round(estimate.value, 6)
            result[f"{name}_interval"] = _interval(estimate)
        result["classes"] = [
            {
                "name": score.name,
                "support": score.support,
                "precision": score.precision and round(score.precision.value, 6),
                "precision_interval": _interval(score.precision),
                "recall": score.recall and round(score.recall.value, 6),
                "recall_interval": _interval(score.recall),
                "f1": score.f1 if score.f1 is None else round(score.f1, 6),
            }
            for score in self.classes
        ]
        result["constant"] = self.constant.to_dict()
        result["mistakes"] = [
            {"truth": self.classes[i].name, "predicted": self.classes[j].name, "pictures": count}
            for i, j, count in self.mistakes()
        ]
        result["confusion"] = self.confusion.tolist() if len(self.classes) <= MATRIX_CLASSES else None
        return result


def _columns(name: str, estimate: Estimate | None) -> dict[str, float]:
    return (
        {} if estimate is None else {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    )


def _interval(estimate: Estimate | None) -> list[float] | None:
    return None if estimate is None else [round(estimate.low, 6), round(estimate.high, 6)]


def evaluate(
    probabilities: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int32],
    classes: Sequence[str],
    *,
    seed: int = 0,
    majority: int | None = None,
) -> Evaluation:
    """Compare probabilities (n, classes) with labels (n,), n >= 1.

    Accuracy, top-5, precision and recall have Wilson intervals, balanced accuracy and macro-F1 those of a mean over
    classes, loss and ECE bootstrap intervals (:mod:`vizsla.evaluation.intervals` says how each is made).
    ``majority`` is the class that the constant answer names, by default the one that most ``labels`` have.
    Macro-F1 is the mean over the classes that the split has; loss is the cross-entropy in nats; ECE is the
    expected calibration error of Guo et al. 2017.
    """
    n, c = probabilities.shape
    predicted = probabilities.argmax(axis=1)
    right = predicted == labels
    k = min(5, c)
    own = probabilities[np.arange(n), labels]
    # Rank by counting who is ahead; equal probabilities count for the earlier class, as argmax does.
    ahead = (probabilities > own[:, None]).sum(axis=1)
    ahead += ((probabilities == own[:, None]) & (np.arange(c)[None] < labels[:, None])).sum(axis=1)
    losses = -np.log(np.maximum(own.astype(np.float64), _TINY))
    confidence = probabilities.max(axis=1).astype(np.float64)
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)

    def statistics(rows: npt.NDArray[np.int64]) -> tuple[float, float]:
        return (float(losses[rows].mean()), _ece(_reliability(bins[rows], confidence[rows], right[rows])))

    loss, ece = statistics(np.arange(n))
    low, high = np.maximum(bootstrap(statistics, n, seed), 0)
    hits, top = int(right.sum()), int((ahead < k).sum())
    confusion = np.bincount(labels.astype(np.int64) * c + predicted, minlength=c * c).reshape(c, c)
    macro_f1 = _macro_f1(confusion)
    support, diagonal = confusion.sum(axis=1), np.diagonal(confusion)
    balanced = float((diagonal[support > 0] / support[support > 0]).mean())
    constant = int(support.argmax()) if majority is None else majority
    return Evaluation(
        n=n,
        accuracy=Estimate(hits / n, *wilson(hits, n)),
        balanced_accuracy=Estimate(balanced, *class_mean_interval(balanced, diagonal, support)),
        constant=constant_answer(predicted, labels, constant, classes[constant]),
        top5=Estimate(top / n, *wilson(top, n)),
        top_k=k,
        macro_f1=Estimate(macro_f1, *class_mean_interval(macro_f1, diagonal, support)),
        loss=Estimate(loss, float(low[0]), float(high[0])),
        ece=Estimate(ece, float(low[1]), min(1.0, float(high[1]))),
        classes=tuple(_class_score(name, i, confusion) for i, name in enumerate(classes)),
        confusion=confusion,
        reliability=_reliability(bins, confidence, right),
    )


def calibration_error(probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.int32]) -> float:
    """The expected calibration error (Guo et al. 2017) of probabilities (n, classes)."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    return _ece(_reliability(bins, confidence, probabilities.argmax(axis=1) == labels))


def _cells(matrix: npt.NDArray[np.int64]) -> list[list[int]]:
    rows, columns = np.nonzero(matrix)
    return [[int(i), int(j), int(matrix[i, j])] for i, j in zip(rows, columns, strict=True)]


def _matrix(classes: int, cells: Sequence[Sequence[int]]) -> npt.NDArray[np.int64]:
    matrix = np.zeros((classes, classes), np.int64)
    for i, j, count in cells:
        matrix[i, j] = count
    return matrix


def _class_score(name: str, i: int, confusion: npt.NDArray[np.int64]) -> ClassScore:
    hits, support, predicted = int(confusion[i, i]), int(confusion[i].sum()), int(confusion[:, i].sum())
    return ClassScore(
        name=name,
        support=support,
        predicted=predicted,
        precision=Estimate(hits / predicted, *wilson(hits, predicted)) if predicted else None,
        recall=Estimate(hits / support, *wilson(hits, support)) if support else None,
        f1=2 * hits / (support + predicted) if support else None,
    )


def _macro_f1(confusion: npt.NDArray[np.int64]) -> float:
    support = confusion.sum(axis=1)
    f1 = 2 * np.diagonal(confusion) / np.maximum(support + confusion.sum(axis=0), 1)
    return float(f1[support > 0].mean())


def _reliability(
    bins: npt.NDArray[np.int64], confidence: npt.NDArray[np.float64], right: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    counts = np.bincount(bins, minlength=CALIBRATION_BINS)
    most = np.maximum(counts, 1)
    return np.column_stack(
        [
            counts,
            np.bincount(bins, weights=confidence, minlength=CALIBRATION_BINS) / most,
            np.bincount(bins, weights=right, minlength=CALIBRATION_BINS) / most,
        ]
    )


def _ece(reliability: npt.NDArray[np.float64]) -> float:
    counts, confidence, accuracy = reliability.T
    return float((counts * np.abs(confidence - accuracy)).sum() / counts.sum())
