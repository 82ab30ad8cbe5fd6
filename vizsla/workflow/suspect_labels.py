"""Labels that are suspect, by heads that were trained without them: features, folds, cleanlab."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from vizsla.data.checks import label_errors
from vizsla.data.dataset import SPLITS, Dataset
from vizsla.findings import Finding
from vizsla.models.engine import OnnxEngine
from vizsla.models.export import ensure_exported
from vizsla.models.weights import BackboneSpec
from vizsla.settings import settings
from vizsla.training.cache import FeatureSpace
from vizsla.training.config import StepConfig
from vizsla.training.features import extract
from vizsla.training.folds import fold_of
from vizsla.training.head_data import HeadData
from vizsla.training.heads import train_heads
from vizsla.training.table import FeatureTable
from vizsla.workflow.gate import DataCheck
from vizsla.workflow.observer import Observer

FOLDS = 5


def suspect_labels(
    checked: DataCheck, weights: BackboneSpec, observer: Observer, seed: int
) -> tuple[Finding | None, list[str]]:
    """The finding, and notes about classes that are too small to judge.

    Raises
    ------
    VizslaError
        When the backbone cannot be had.
    """
    gated, place = checked.gated, settings()
    rows = np.flatnonzero(gated.usable)
    dataset = replace(gated.facts.dataset, copies=gated.copies).take(rows)
    backbone = ensure_exported(weights, place.cache)
    engine = OnnxEngine(backbone.path)
    extraction = extract(
        dataset,
        FeatureSpace(place.cache, backbone, engine),
        backbone.preprocessing,
        engine,
        threads=place.threads,
        on_progress=observer.progress,
    )
    seen = np.flatnonzero(extraction.usable)
    large, notes = _large_classes(dataset, seen)
    if len(large) < 2:
        return None, notes
    seen = seen[np.isin(dataset.labels[seen], large)]
    probabilities = out_of_fold(
        extraction.table,
        np.searchsorted(large, dataset.labels).astype(np.int32),
        dataset.splits,
        seen,
        len(large),
        seed,
        dataset.groups,
    )
    return label_errors.find(gated.facts, rows[seen], probabilities, large), notes


def _large_classes(dataset: Dataset, seen: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], list[str]]:
    """The classes that every fold has pictures of, and a note on the others."""
    rows = seen[dataset.splits[seen] != SPLITS.index("test")]
    sets = rows if dataset.groups is None else dataset.groups[rows]
    apart = np.unique(np.column_stack([dataset.labels[rows], sets]), axis=0)[:, 0]
    counts = np.bincount(apart, minlength=len(dataset.classes))
    small = [f"{dataset.classes[i]!r} ({counts[i]})" for i in np.flatnonzero(counts < FOLDS)]
    note = (
        f"Label errors were not looked for in classes with fewer than {FOLDS} different pictures in train and valid: "
        + ", ".join(small[:12])
        + (f" and {len(small) - 12} more." if len(small) > 12 else ".")
    )
    return np.flatnonzero(counts >= FOLDS), [note] if small else []


def out_of_fold(
    table: FeatureTable,
    labels: npt.NDArray[np.int32],
    splits: npt.NDArray[np.int8],
    rows: npt.NDArray[np.int64],
    classes: int,
    seed: int,
    groups: npt.NDArray[np.int32] | None = None,
) -> npt.NDArray[np.float32]:
    """Probabilities (len(rows), classes) for ``rows``, each from heads that have not seen its label.

    Train and valid pictures are judged by the head of the other folds; test pictures, which no head is trained
    on, by the mean of all. Every class needs pictures of at least two ``groups`` (int32 (n,); by default each picture
    is one): copies and pictures of one group lie in one fold, so that none vouches for the label of another.
    """
    test = SPLITS.index("test")
    fold_rows = rows[splits[rows] != test]
    fold = fold_of(fold_rows, labels, groups, FOLDS, seed)
    probabilities = np.zeros((len(rows), classes), np.float32)
    held = splits[rows] != test
    at_folds, at_test = np.flatnonzero(held), np.flatnonzero(~held)
    for k in range(FOLDS):
        data = HeadData(table, labels, fold_rows[fold != k], fold_rows[fold == k], classes)
        (trained,) = train_heads(data, [StepConfig(seed=seed, epochs=15, patience=None)])
        mine = at_folds[fold == k]
        probabilities[mine] = trained.head.probabilities(table.take(rows[mine]))
        if len(at_test):
            probabilities[at_test] += trained.head.probabilities(table.take(rows[at_test])) / FOLDS
    return probabilities
