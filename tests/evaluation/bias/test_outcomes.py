"""Which rows have the good outcome, where labels are numbers."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from vizsla.errors import DataError
from vizsla.evaluation.bias.analysis import BiasAnalysis, analyse
from vizsla.evaluation.bias.analysis_config import parse_analysis_config


def _analysed(label: list[Any], predicted: list[Any], wanted: list[Any] | None) -> BiasAnalysis:
    n = len(label)
    cells = {"label": label, "predicted": predicted, "site": ["a", "b"] * (n // 2)}
    config: dict[str, Any] = {
        "label": "label",
        "predicted_label": "predicted",
        "facet": [{"name_or_index": "site", "value_or_threshold": ["a"]}],
        "methods": {"pre_training_bias": {"methods": "all"}, "post_training_bias": {"methods": "all"}},
    }
    return analyse(cells, parse_analysis_config(config | ({"label_values_or_threshold": wanted} if wanted else {})))


def _value(analysis: BiasAnalysis, name: str) -> float | None:
    (group,) = analysis.groups
    return next(m.value for m in (*group.pretraining, *group.posttraining) if m.name == name)


def test_one_class_of_many_ids_is_a_class_and_no_threshold() -> None:
    """120 breeds by their numbers: the good outcome is breed 17, not every breed above it."""
    rng = np.random.default_rng(0)
    ids = rng.permutation(np.tile(np.arange(120), 10))
    guesses = np.where(ids == 60, 61, ids)  # one class that is never said leaves a gap in what is
    by_number = _analysed(ids.tolist(), guesses.tolist(), [17])
    by_name = _analysed([f"n{i}" for i in ids], [f"n{i}" for i in guesses], ["n17"])
    for name in ("DPL", "DPPL", "DI", "AD", "KL"):
        assert _value(by_number, name) == pytest.approx(_value(by_name, name))
    assert "The 120 labels count classes from 0 on: class 17 is the good outcome" in by_number.notes[-1]
    assert by_number.matrix is not None
    assert by_number.matrix.shape == (120, 120)


def test_a_quantity_that_counts_no_classes_has_a_threshold_still() -> None:
    ages = np.random.default_rng(0).integers(17, 90, 400)
    analysis = _analysed(ages.tolist(), ages.tolist(), [40])
    assert _value(analysis, "AD") == 0
    facet = np.array(["a", "b"] * 200) == "a"
    assert _value(analysis, "DPL") == pytest.approx(float((ages[~facet] > 40).mean() - (ages[facet] > 40).mean()))


def test_predictions_that_lack_an_outcome_are_read_as_the_labels_are() -> None:
    analysis = _analysed(["no", "yes"] * 30, ["yes"] * 60, None)
    assert _value(analysis, "DPPL") == 0
    with pytest.raises(DataError, match="holds no numbers"):
        _analysed(np.random.default_rng(0).normal(size=60).tolist(), ["yes"] * 60, [0.5])


def test_continuous_labels_cost_no_memory_by_their_number() -> None:
    rng = np.random.default_rng(0)
    labels = rng.normal(size=20_000).tolist()
    tracemalloc.start()
    analysis = _analysed(labels, labels, [0.5])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60e6, "one of the resamples' cells for each label took gigabytes"
    assert _value(analysis, "KL") is not None


def test_a_hole_of_a_table_is_no_value() -> None:
    with pytest.raises(DataError, match="empty in 1 rows, first in row 2"):
        _analysed([1.0, float("nan"), 0.0, 1.0], [1.0, 1.0, 0.0, 1.0], [1])
