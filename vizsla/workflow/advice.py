"""What a person can do about a result that is no better than no model, or about classes of unequal size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from vizsla.evaluation import Evaluation
from vizsla.evaluation.intervals import wilson
from vizsla.parameters import spelled
from vizsla.reports.render import percent
from vizsla.training.config import LbfgsConfig
from vizsla.training.head_data import HeadData, chunks
from vizsla.training.heads import train_heads
from vizsla.training.trained import TrainedHead

RATIO = 3.0
"""Largest training class over smallest from which on weights are tried."""
_WEAK = 0.8
"""Recall below which more photos of a small class are asked for."""
_NAMED = 3


def advice(data: HeadData, trained: TrainedHead, evaluation: Evaluation, counts: npt.NDArray[np.int64]) -> list[str]:
    """Sentences, none where all is well.

    What ``balance`` would change is measured: a second head is trained with it, and both are held against the
    validation split.

    Parameters
    ----------
    counts:
        Training pictures of each class, int64 (classes,).
    """
    sentences = []
    constant = evaluation.constant
    if not constant.beaten:
        verdict = "this model is no better than no model"
        if evaluation.accuracy.value > constant.accuracy:
            verdict = "it is not sure that this model is better than no model"
        sentences.append(
            f"On {evaluation.n:,} test pictures {verdict}: always answering {constant.label!r} is right on "
            f"{percent(constant.accuracy)} of them, the model on {percent(evaluation.accuracy.value)} (it is right on "
            f"{constant.better:,} where that is wrong, and wrong on {constant.worse:,} where it is right)."
        )
    if counts.max() >= RATIO * max(1, counts.min()):
        sentences += _unequal(data, trained, evaluation, counts)
    return sentences


def comparison(before: npt.NDArray[np.float32], after: npt.NDArray[np.float32], labels: npt.NDArray[np.int32]) -> str:
    """What training the backbone changed on the test pictures, from probabilities (n, classes) before and after."""
    was, now = before.argmax(axis=1) == labels, after.argmax(axis=1) == labels
    better, worse = int((now & ~was).sum()), int((was & ~now).sum())
    low, high = wilson(better, better + worse)
    verdict = "better beyond chance" if low > 0.5 else "worse beyond chance" if high < 0.5 else "within chance"
    return (
        f"Frozen, the same backbone is right on {percent(float(was.mean()))} of the test pictures; trained, on "
        f"{percent(float(now.mean()))}: right on {better:,} that were wrong, wrong on {worse:,} that were right "
        f"({verdict})."
    )


def _unequal(data: HeadData, trained: TrainedHead, evaluation: Evaluation, counts: npt.NDArray[np.int64]) -> list[str]:
    sentences = []
    config = trained.config
    if isinstance(config, LbfgsConfig) and config.balance == "none" and len(data.valid):
        (weighted,) = train_heads(data, [replace(config, balance="weights")])
        before, after = _accuracies(data, trained), _accuracies(data, weighted)
        if after[1] > before[1]:
            overall = f"still {percent(after[0])}"
            if percent(after[0]) != percent(before[0]):
                overall = f"{percent(after[0])} instead of {percent(before[0])}"
            sentences.append(
                f"The classes are unequal ({counts.max():,} to {counts.min():,} training pictures). With "
                f"{spelled('balance', 'weights')}, of the validation pictures of each class {percent(after[1])} "
                f"instead of {percent(before[1])} would be right on average, and of all pictures {overall}."
            )
    small = np.flatnonzero(counts * RATIO <= counts.max())
    weak = [
        (score.recall.value, counts[i], score)
        for i, score in ((int(i), evaluation.classes[int(i)]) for i in small)
        if score.recall is not None and score.recall.value < _WEAK
    ]
    if weak:
        named = ", ".join(
            f"{score.name!r} ({count:,} training pictures, {round(recall * score.support):,} of {score.support:,} "
            "test pictures right)"
            for recall, count, score in sorted(weak, key=lambda entry: entry[:2])[:_NAMED]
        )
        more = f" and {len(weak) - _NAMED} more classes" if len(weak) > _NAMED else ""
        sentences.append(f"More photos would help most of {named}{more}.")
    return sentences


def _accuracies(data: HeadData, trained: TrainedHead) -> tuple[float, float]:
    """Accuracy, and the mean over the classes, on the validation split."""
    predicted = np.concatenate(
        [trained.head.logits(data.table.take(rows)).argmax(axis=1) for rows in chunks(data.valid)]
    )
    labels = data.labels[data.valid]
    right = np.bincount(labels[predicted == labels], minlength=data.classes)
    support = np.bincount(labels, minlength=data.classes)
    return float((predicted == labels).mean()), float((right[support > 0] / support[support > 0]).mean())
