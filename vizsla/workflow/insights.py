"""Puts together what an evaluation says beyond its headline."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from vizsla.data import SPLITS
from vizsla.data.checks.classes import effective_classes
from vizsla.errors import MissingExtraError
from vizsla.evaluation.clusters import clusters
from vizsla.evaluation.comparison import Comparison
from vizsla.evaluation.insights import Balance, Insights
from vizsla.evaluation.looks import COLOURS
from vizsla.evaluation.novelty import Novelty, novelty
from vizsla.evaluation.predictions import Predictions
from vizsla.evaluation.slices import Candidate, candidates, weak_slices
from vizsla.evaluation.suspects import suspects
from vizsla.evaluation.what_if import calibration, learning_curve, what_ifs
from vizsla.images.formats import FORMATS
from vizsla.models.heads import Head
from vizsla.optional import require
from vizsla.workflow.sight import Sight
from vizsla.workflow.training_set import TrainingSet

_PICTURES_A_CLUSTER, _MOST_CLUSTERS = 60, 12
_FEW = 60
"""Pictures below which nothing is said of slices."""

Rows = npt.NDArray[np.int64]


def describe(sight: Sight, pictures: Rows, seed: int) -> tuple[list[Candidate], dict[str, Sequence[object]]]:
    """Slices to look at, and columns for ``predictions.csv``, of some pictures of a sight."""
    looks, records = sight.looks[pictures], sight.records[pictures]
    width, height = (records[name].astype(np.float64) for name in ("width", "height"))
    count = int(np.clip(len(pictures) // _PICTURES_A_CLUSTER, 2, _MOST_CLUSTERS))
    groups = clusters(sight.features[pictures], count, seed).tolist()
    colour = [COLOURS[code] for code in looks["colour"].tolist()]
    camera = [str(name) for name in looks["camera"].tolist()]
    numbers = {
        "brightness": (looks["brightness"], "dark: brightness below {} of 255", "bright: brightness above {} of 255"),
        "contrast": (looks["contrast"], "flat: contrast below {}", "harsh: contrast above {}"),
        "sharpness": (looks["sharpness"], "blurred: sharpness below {}", "grainy: sharpness above {}"),
        "colourfulness": (looks["colourfulness"], "pale: colourfulness below {}", "vivid: colourfulness above {}"),
        "size": (np.sqrt(width * height), "small: below {} pixels a side", "large: above {} pixels a side"),
        "aspect": (width / np.maximum(height, 1), "tall: width / height below {}", "wide: width / height above {}"),
    }
    names = {
        "dominant colour": colour,
        "camera": camera,
        "file format": [FORMATS[code] for code in records["format"].tolist()],
        "group that looks alike": [str(group + 1) for group in groups],
    }
    columns: dict[str, Sequence[object]] = {
        name: [f"{value:.4g}" for value in values.tolist()] for name, (values, _, _) in numbers.items()
    }
    columns |= {
        "colour": colour,
        "camera": [name or "unknown" for name in camera],
        "cluster": [group + 1 for group in groups],
    }
    return candidates({k: (v[0].astype(np.float64), v[1], v[2]) for k, v in numbers.items()}, names), columns


def insights(
    sight: Sight,
    pictures: Rows,
    measured: Predictions,
    training: TrainingSet | None,
    head: Head,
    *,
    comparison: Comparison | None,
    is_seen: npt.NDArray[np.bool_],
    trained_by: Mapping[str, Any],
    seed: int,
) -> tuple[Insights, list[str]]:
    """Everything, and notes on what cannot be said.

    Parameters
    ----------
    pictures:
        The rows of the sight that are measured.
    is_seen:
        Which of them were in the training, bool (n,): what is said of other training, of labels and of what is unlike
        rests on the others.
    trained_by:
        The hyperparameters of the model's own training. Where it countered unequal classes nothing is tried against
        them.
    """
    notes: list[str] = []
    new = np.flatnonzero(~is_seen)
    looked_at, columns = describe(sight, pictures, seed)
    measured = replace(measured, columns=columns)
    if len(pictures) < _FEW:
        looked_at = []
        notes.append(f"With fewer than {_FEW} pictures nothing is said of slices.")
    with ThreadPoolExecutor() as threads, _one_thread_a_product():
        slices = threads.submit(weak_slices, looked_at, measured.right, measured.labels, seed=seed)
        more: dict[str, Any] = {}
        if training is not None:
            unlike = threads.submit(_novelty, sight.features[pictures], new, training)
            if len(new):
                features, labels = sight.features[pictures[new]], measured.labels[new]
                more, words = _by_training(features, labels, training, head, trained_by, seed)
                notes += words
            more["novelty"] = unlike.result()
        found = slices.result()
    counts = [("measured", np.bincount(measured.labels, minlength=len(measured.classes)))]
    if training is not None:
        for split in SPLITS[:2]:
            own = training.labels[training.rows(split)]
            counts.insert(-1, (split, np.bincount(own, minlength=training.classes)))
    result = Insights(
        measured,
        tuple(found),
        len(looked_at),
        tuple(new[suspects(measured.probabilities[new], measured.labels[new])].tolist()),
        tuple(_balance(split, values) for split, values in counts),
        comparison=comparison,
        **more,
    )
    return result, notes


def _by_training(
    features: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int32],
    training: TrainingSet,
    head: Head,
    trained_by: Mapping[str, Any],
    seed: int,
) -> tuple[dict[str, Any], list[str]]:
    """What heads say that are trained anew: parts of :class:`Insights`, and notes. Of features that come of a backbone
    which was itself trained on these pictures they would say nothing of fewer or more pictures."""
    data = training.data
    found: dict[str, Any] = {"calibration": calibration(data, head, features, labels)}
    if trained_by.get("depth", "head") != "head":
        return found, [
            "Nothing is said of more pictures or of other training: the backbone was trained on these pictures, too, "
            "and what it would be with others only its whole training tells."
        ]
    decay = trained_by.get("weight_decay") if trained_by.get("optimizer") == "lbfgs" else None
    try:
        found["curve"] = learning_curve(data, features, labels, seed, decay)
        if trained_by.get("balance", "none") == "none":
            found["what_ifs"] = tuple(what_ifs(data, head, features, labels, seed, decay))
    except MissingExtraError as error:
        return found, [f"What more pictures or other training would give was not tried: {error.what}"]
    return found, []


def _novelty(features: npt.NDArray[np.float32], new: Rows, training: TrainingSet) -> Novelty | None:
    data = training.data
    if not len(data.valid) or not len(new):
        return None
    train, valid = (training.sight.features[rows] for rows in (data.train, data.valid))
    found = novelty(features[new], train, valid)
    return replace(found, rows=new[found.rows])


def _one_thread_a_product() -> contextlib.AbstractContextManager[object]:
    """Several products at once are what keeps the cores busy: threads within each would wait for each other."""
    try:
        threadpoolctl = require("threadpoolctl", extra="train", feature="Training heads")
    except MissingExtraError:
        return contextlib.nullcontext()
    limits: contextlib.AbstractContextManager[object] = threadpoolctl.threadpool_limits(1, "blas")
    return limits


def _balance(split: str, counts: Rows) -> Balance:
    ratio = float(counts.max() / counts.min()) if counts.min() else None
    return Balance(split, tuple(counts.tolist()), ratio, float(effective_classes(counts)))
