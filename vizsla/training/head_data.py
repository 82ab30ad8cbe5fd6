"""What heads are trained on: rows of features, their labels, and the features standardised."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from vizsla.errors import SealedError
from vizsla.training.table import FeatureTable

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

_CHUNK = 1024
_KEPT_BYTES = 32 << 20
"""Inputs up to this size are standardised once and kept: as much work as the products themselves, every epoch."""


@dataclass(frozen=True)
class HeadData:
    """Rows of ``table`` with their ``labels`` (int32 of shape (n,), by table row).

    ``groups`` (int32 (n,), by table row; None where each picture is alone) tells which pictures must not be parted
    when some are held out.

    Raises
    ------
    SealedError
        When a row belongs to the sealed test split (label -1; see :meth:`vizsla.data.Dataset.sealed`).
    """

    table: FeatureTable
    labels: npt.NDArray[np.int32]
    train: Rows
    valid: Rows
    classes: int
    groups: npt.NDArray[np.int32] | None = None

    def __post_init__(self) -> None:
        for rows, name in ((self.train, "train"), (self.valid, "valid")):
            if len(rows) and self.labels[rows].min() < 0:
                raise SealedError(
                    f"The {name} rows hold {int((self.labels[rows] < 0).sum()):,} pictures of the sealed test split.",
                    allowed="rows of the train and valid splits",
                    do="take the rows from Dataset.rows('train') and Dataset.rows('valid')",
                )

    @cached_property
    def inputs(self) -> Inputs:
        """Standardised features, by rows."""
        return Inputs(self)

    def class_weights(self, rows: Rows) -> Floats:
        """n / (classes * n_class) over ``rows``, float32 (classes,): every class weighs the same."""
        counts = np.bincount(self.labels[rows], minlength=self.classes)
        return (len(rows) / (self.classes * np.maximum(counts, 1))).astype(np.float32)

    def log_shares(self, rows: Rows, class_weights: Floats) -> Floats:
        """The bias of a head that knows the classes' (weighted) shares of ``rows`` and nothing else, (classes,)."""
        counts = np.maximum(np.bincount(self.labels[rows], minlength=self.classes), 0.5) * class_weights
        shares: Floats = np.log(counts / counts.sum()).astype(np.float32)
        return shares

    def class_means(self, rows: Rows) -> Floats:
        """The mean standardised features of each class over ``rows``, (classes, d); 0 for a class without one."""
        sums = np.zeros((self.classes, self.table.features + 1))
        for chunk in chunks(rows):
            membership = np.arange(self.classes)[:, None] == self.labels[chunk]
            sums += membership.astype(np.float32) @ self.inputs(chunk)
        means: Floats = (sums[:, :-1] / np.maximum(sums[:, -1:], 1)).astype(np.float32)
        return means


class Inputs:
    """Standardised features with a column of ones, (len(rows), d + 1) float32 for table rows."""

    def __init__(self, data: HeadData) -> None:
        self._table = data.table
        self.mean, self.deviation = standardisation(data.table, data.train)
        rows = np.concatenate([data.train, data.valid])
        self._at: Rows | None = None
        if len(rows) * (data.table.features + 1) * 4 <= _KEPT_BYTES:
            self._kept = np.concatenate([self._computed(chunk) for chunk in chunks(rows)])
            self._at = np.full(len(data.table), -1, np.int64)
            self._at[rows] = np.arange(len(rows))

    def __call__(self, rows: Rows) -> Floats:
        return self._computed(rows) if self._at is None else self._kept[self._at[rows]]

    def _computed(self, rows: Rows) -> Floats:
        x = np.ones((len(rows), self._table.features + 1), np.float32)
        np.subtract(self._table.take(rows), self.mean, out=x[:, :-1])
        x[:, :-1] /= self.deviation
        return x


def standardisation(table: FeatureTable, rows: Rows) -> tuple[Floats, Floats]:
    """Mean and standard deviation of each feature over ``rows``; a constant feature's deviation counts as 1."""
    total = np.zeros(table.features)
    squares = np.zeros(table.features)
    shift: npt.NDArray[np.float64] = table.take(rows[:1])[0].astype(np.float64)  # against cancellation
    for chunk in chunks(rows):
        values = table.take(chunk).astype(np.float64) - shift
        total += values.sum(axis=0)
        squares += (values * values).sum(axis=0)
    mean = total / len(rows)
    deviation = np.sqrt(np.maximum(squares / len(rows) - mean**2, 0))
    deviation[deviation < 1e-6 * (1 + np.abs(mean + shift))] = 1
    return (mean + shift).astype(np.float32), deviation.astype(np.float32)


def chunks(rows: Rows, size: int = _CHUNK) -> Iterator[Rows]:
    """The rows in runs of at most ``size``."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
