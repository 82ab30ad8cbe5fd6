"""A bias analysis: every metric of every group, with its interval and the rows that it rests on."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vizsla.errors import DataError
from vizsla.evaluation.bias.analysis_config import AnalysisConfig
from vizsla.evaluation.bias.columns import (
    Column,
    GoodOutcome,
    check_domains,
    find_column,
    groups_of,
    table_columns,
)
from vizsla.evaluation.bias.division import Doubles
from vizsla.evaluation.bias.posttraining import FLIPTEST, POSTTRAINING, PredictionCounts, flips
from vizsla.evaluation.bias.pretraining import PRETRAINING, LabelCounts

SMALL = 30
"""Groups of fewer rows are too small to judge."""
RESAMPLES = 1000
_MOST_LABELS = 1000

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Metric:
    """One metric of one group. ``value`` may be infinite; None where it cannot be had, and ``error`` says why.

    ``low`` and ``high`` are the ends of its 95 % interval, by bootstrap over the rows.
    """

    name: str
    description: str
    value: float | None
    low: float | None = None
    high: float | None = None
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Clarify's entry, with ``interval`` beside; JSON has no infinity, so that one is null with the reason."""
        entry: dict[str, Any] = {"name": self.name, "description": self.description, "value": _finite(self.value)}
        if self.error is not None:
            entry["error"] = self.error
        elif self.value is not None and not math.isfinite(self.value):
            entry["error"] = f"infinite ({'+' if self.value > 0 else '-'}): a group has none of what is divided by"
        if self.low is not None or self.high is not None:
            entry["interval"] = [_finite(self.low), _finite(self.high)]
        return entry


@dataclass(frozen=True)
class GroupBias:
    """One group of a facet against all other rows. ``confusion`` is int64 (2, 2, 2): others and facet, by whether the
    label and the prediction are positive; None without predictions."""

    facet: str
    value: str
    n: int
    others: int
    pretraining: tuple[Metric, ...]
    posttraining: tuple[Metric, ...]
    confusion: npt.NDArray[np.int64] | None

    @property
    def small(self) -> bool:
        """Whether either side is too small to judge."""
        return min(self.n, self.others) < SMALL


@dataclass(frozen=True)
class BiasAnalysis:
    """All groups. ``matrix`` counts the rows by label and prediction, (labels, labels), where there are predictions."""

    label: str
    positive: str
    rows: int
    labels: tuple[str, ...]
    label_counts: tuple[int, ...]
    groups: tuple[GroupBias, ...]
    matrix: npt.NDArray[np.int64] | None
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Clarify's ``analysis.json``. Beside it, for each group, its rows, and whether it is too small to judge."""
        document: dict[str, Any] = {"version": "1.0"}
        for name in ("pretraining", "posttraining"):
            facets: dict[str, list[dict[str, Any]]] = {}
            for group in self.groups:
                metrics: tuple[Metric, ...] = getattr(group, name)
                if metrics:
                    facets.setdefault(group.facet, []).append(
                        {
                            "value_or_threshold": group.value,
                            "metrics": [metric.to_dict() for metric in metrics],
                            "rows": {"facet": group.n, "others": group.others},
                            "too_small_to_judge": group.small,
                        }
                    )
            if facets:
                key = f"{name.removesuffix('training')}_training_bias_metrics"
                document[key] = {"label": self.label, "label_value_or_threshold": self.positive, "facets": facets}
        return document


def analyse(
    cells: Mapping[str, Sequence[object]], config: AnalysisConfig, *, like_clarify: bool = False, seed: int = 0
) -> BiasAnalysis:
    """Compute what a configuration asks for.

    Parameters
    ----------
    cells:
        The table by columns.
    like_clarify:
        Distances of distributions as Clarify computes them: labels that one group does not have are left out
        (:class:`~vizsla.evaluation.bias.pretraining.LabelCounts`).

    Raises
    ------
    DataError
        When the table cannot be meant so: columns, facets, or ids of labels and predictions that do not match.
    """
    names = list(cells)
    label_name = find_column(names, config.label, "label")
    facets = [(facet, find_column(names, facet.name_or_index, "facet")) for facet in config.facet]
    predicted_name = None
    if config.posttraining and config.predicted_label is not None:
        predicted_name = find_column(names, config.predicted_label, "predicted_label")
    group_name = None if config.group_variable is None else find_column(names, config.group_variable, "group_variable")
    used = [label_name, *(name for _, name in facets), *filter(None, (predicted_name, group_name))]
    columns = table_columns(cells, used)
    label = columns[label_name]
    outcome = GoodOutcome.of(label, config.label_values_or_threshold)
    positive = outcome.rows(label)
    if not positive.any() or positive.all():
        raise DataError(
            f"{'No' if not positive.any() else 'Every'} row has the good outcome {_words(config)}.",
            where="label_values_or_threshold",
            allowed=", ".join(label.values[:20]),
        )
    predicted = None
    if predicted_name is not None:
        column = columns[predicted_name]
        if not outcome.is_threshold:
            check_domains(label, column)
        predicted = outcome.rows(column, config.probability_threshold)
    strata = None if group_name is None else np.unique(columns[group_name].texts, return_inverse=True)[1]
    excluded = {find_column(names, name, "excluded_columns") for name in config.excluded_columns or []}
    features, why = _features(cells, excluded | set(used))
    # Of a quantity hardly any two rows are alike: its distribution is that of the two outcomes.
    codes = positive.astype(np.int64) if outcome.is_threshold else np.unique(label.texts, return_inverse=True)[1]
    work = _Work(config, codes, positive, predicted, strata, features, why, like_clarify, seed)
    groups = [
        work.group(name, group.words, group.rows) for facet, name in facets for group in groups_of(facet, columns[name])
    ]
    counts = Counter(label.texts.tolist())
    return BiasAnalysis(
        label=label_name,
        positive=_words(config) or label.values[-1],
        rows=len(positive),
        labels=tuple(label.values),
        label_counts=tuple(int(counts[value]) for value in label.values),
        groups=tuple(groups),
        matrix=None if predicted_name is None or outcome.is_threshold else _matrix(label, columns[predicted_name]),
        notes=tuple(_notes(groups, config, label, outcome)),
    )


@dataclass(frozen=True)
class _Work:
    """What all groups share."""

    config: AnalysisConfig
    labels: npt.NDArray[np.int64]
    positive: Bools
    predicted: Bools | None
    strata: npt.NDArray[np.int64] | None
    features: npt.NDArray[np.float64] | None
    why_no_features: str
    like_clarify: bool
    seed: int

    def group(self, facet: str, value: str, rows: Bools) -> GroupBias:
        """All metrics of one group."""
        before = self._pretraining(rows)
        after, confusion = self._posttraining(rows)
        n = int(rows.sum())
        return GroupBias(facet, value, n, len(rows) - n, tuple(before), tuple(after), confusion)

    def _pretraining(self, rows: Bools) -> list[Metric]:
        shape = (2, int(self.labels.max()) + 1, 2) + (() if self.strata is None else (int(self.strata.max()) + 1,))
        axes = [rows.astype(np.int64), self.labels, self.positive.astype(np.int64)]
        axes += [] if self.strata is None else [self.strata]

        def counts(cells: Doubles) -> LabelCounts:
            inside = cells if self.strata is None else cells.sum(axis=-1)
            strata = None if self.strata is None else cells.sum(axis=-3)
            return LabelCounts(inside.sum(axis=-2), inside.sum(axis=-1), strata, self.like_clarify)

        cells = _count(axes, shape)
        whole, drawn = counts(cells), counts(self._resampled(cells))
        metrics = []
        for name in self.config.pretraining:
            description, function = PRETRAINING[name]
            if name == "CDDL" and self.strata is None:
                metrics.append(Metric(name, description, None, error="Group variable is empty or not provided"))
            else:
                metrics.append(_metric(name, description, function(whole), function(drawn)))
        return metrics

    def _posttraining(self, rows: Bools) -> tuple[list[Metric], npt.NDArray[np.int64] | None]:
        if self.predicted is None:
            return [], None
        shape = (2, 2, 2) + (() if self.strata is None else (int(self.strata.max()) + 1,))
        axes = [rows.astype(np.int64), self.positive.astype(np.int64), self.predicted.astype(np.int64)]
        axes += [] if self.strata is None else [self.strata]

        def counts(cells: Doubles) -> PredictionCounts:
            if self.strata is None:
                return PredictionCounts(cells)
            return PredictionCounts(cells.sum(axis=-1), cells.sum(axis=-3))

        cells = _count(axes, shape)
        whole, drawn = counts(cells), counts(self._resampled(cells))
        metrics = []
        for name in self.config.posttraining:
            if name == FLIPTEST[0]:
                metrics.append(self._fliptest(rows))
                continue
            description, function = POSTTRAINING[name]
            if name == "CDDPL" and self.strata is None:
                metrics.append(Metric(name, description, None, error="Group variable is empty or not provided"))
            else:
                metrics.append(_metric(name, description, function(whole), function(drawn)))
        return metrics, whole.cells.astype(np.int64)

    def _fliptest(self, rows: Bools) -> Metric:
        assert self.predicted is not None
        if self.features is None:
            return Metric(*FLIPTEST, None, error=self.why_no_features)
        found = flips(self.features, rows, self.predicted)
        rng = np.random.default_rng(self.seed)
        shares = [int((found == value).sum()) / len(found) for value in (-1, 0, 1)]
        drawn = rng.multinomial(len(found), shares, RESAMPLES)
        return _metric(*FLIPTEST, np.asarray(found.mean()), (drawn[:, 2] - drawn[:, 0]) / len(found))

    def _resampled(self, cells: Doubles) -> Doubles:
        """Counts of as many rows drawn from the table with replacement, (resamples, ...)."""
        n = int(cells.sum())
        drawn = np.random.default_rng(self.seed).multinomial(n, (cells / n).ravel(), RESAMPLES)
        return drawn.reshape(RESAMPLES, *cells.shape).astype(np.float64)


def _count(axes: Sequence[npt.NDArray[np.int64]], shape: tuple[int, ...]) -> Doubles:
    flat = np.ravel_multi_index(tuple(axes), shape)
    return np.bincount(flat, minlength=math.prod(shape)).reshape(shape).astype(np.float64)


def _metric(name: str, description: str, value: Doubles, drawn: Doubles) -> Metric:
    with np.errstate(invalid="ignore"):
        low, high = np.nanquantile(drawn, [0.025, 0.975], method="nearest")
    return Metric(name, description, float(value), float(low), float(high))


def _features(cells: Mapping[str, Sequence[object]], others: set[str]) -> tuple[npt.NDArray[np.float64] | None, str]:
    """The columns by which rows are near each other, float64 (n, columns), or None and why there are none."""
    names = [name for name in cells if name not in others]
    if not names:
        return None, "The table has no column besides label, prediction and group: rows cannot be near each other"
    try:
        return np.array([[float(str(cell)) for cell in cells[name]] for name in names]).T, ""
    except ValueError:
        return None, "The nearest rows need columns of numbers (others go into excluded_columns)"


def _matrix(label: Column, predicted: Column) -> npt.NDArray[np.int64] | None:
    is_probability = predicted.is_quantity and not predicted.is_whole
    if is_probability or not set(predicted.values) & set(label.values) or len(label.values) > _MOST_LABELS:
        return None
    at = {value: i for i, value in enumerate(label.values)}
    matrix = np.zeros((len(at), len(at)), np.int64)
    for truth, guess in zip(label.texts.tolist(), predicted.texts.tolist(), strict=True):
        if guess in at:
            matrix[at[truth], at[guess]] += 1
    return matrix


def _words(config: AnalysisConfig) -> str:
    wanted = config.label_values_or_threshold
    given = wanted if isinstance(wanted, list) else [] if wanted is None else [wanted]
    return ",".join(map(str, given))


def _notes(groups: Sequence[GroupBias], config: AnalysisConfig, label: Column, outcome: GoodOutcome) -> list[str]:
    notes = []
    if label.is_quantity and label.is_ids and len(outcome.values) == 1:
        notes.append(
            f"The {len(label.values)} labels count classes from {label.values[0]} on: class {outcome.values[0]} is the "
            "good outcome, and not what lies above it."
        )
    if small := [group for group in groups if group.small]:
        shown = ", ".join(f"{g.facet} = {g.value} ({min(g.n, g.others):,} rows)" for g in small[:5])
        more = f" and {len(small) - 5} more" if len(small) > 5 else ""
        notes.append(f"Too small to judge, with fewer than {SMALL} rows: {shown}{more}.")
    if config.elsewhere:
        notes.append(f"Not computed on a table: {', '.join(config.elsewhere)}; `vizsla explain` explains pictures.")
    return notes


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
