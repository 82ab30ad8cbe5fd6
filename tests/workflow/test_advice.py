"""A result stands beside the constant answer, and what is said about unequal classes was measured."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from vizsla.evaluation import evaluate
from vizsla.training.config import LbfgsConfig
from vizsla.training.head_data import HeadData
from vizsla.training.heads import train_heads
from vizsla.training.table import FeatureTable
from vizsla.workflow.advice import advice
from vizsla.workflow.fit import fit
from vizsla.workflow.request import FitRequest

D = 20


def words(counts: tuple[int, ...], *, distance: float, balance: str = "none") -> str:
    """What is said of a head for clouds of points that are so far apart, measured on as many others."""
    rng = np.random.default_rng(0)
    centres = distance * rng.normal(size=(len(counts), D))
    labels = np.tile(np.repeat(np.arange(len(counts)), counts), 3).astype(np.int32)
    features = FeatureTable.of((centres[labels] + rng.normal(size=(len(labels), D))).astype(np.float32))
    train, valid, test = np.split(np.arange(len(labels)), 3)
    data = HeadData(features, labels, train, valid, len(counts))
    (trained,) = train_heads(data, [LbfgsConfig(balance=balance)])  # type: ignore[arg-type]
    names = [f"class {i}" for i in range(len(counts))]
    evaluation = evaluate(trained.head.probabilities(features.take(test)), labels[test], names, majority=0)
    return "\n".join(advice(data, trained, evaluation, np.bincount(labels[train])))


def test_nothing_is_said_where_all_is_well() -> None:
    assert words((60, 60, 60), distance=1.0) == ""


def test_no_better_than_the_constant_answer_is_said_with_both_numbers() -> None:
    said = words((150, 8), distance=0.02)
    assert "this model is no better than no model: always answering 'class 0' is right on 94.9" in said
    assert said.startswith("On ")
    assert "it is right on 0 where that is wrong" in said


def test_weights_are_advised_where_they_were_measured_to_help() -> None:
    said = words((200, 12, 12), distance=0.35)
    assert "The classes are unequal (200 to 12 training pictures). With balance='weights'" in said
    assert "More photos would help most of 'class " in said
    assert "balance=" not in words((200, 12, 12), distance=0.35, balance="weights")
    assert "balance=" not in words((200, 40), distance=3.0)  # all are right already


def test_real_unequal_photos_end_above_the_constant_answer(
    flowers: Path, mobilenet_weights: Path, tmp_path: Path
) -> None:
    data = tmp_path / "few-roses"
    shutil.copytree(flowers / "valid" / "daisy", data / "daisy")
    (data / "rose").mkdir()
    for path in sorted((flowers / "valid" / "rose").iterdir())[:8]:
        shutil.copy(path, data / "rose")
    result = fit(FitRequest(data, weights=mobilenet_weights))
    metrics = result.to_dict()["metrics"]
    assert metrics["constant"]["label"] == "daisy"
    assert metrics["accuracy"] >= metrics["constant"]["accuracy"]
    assert metrics["balanced_accuracy_interval"][0] < metrics["balanced_accuracy"] <= 1
    assert any("always answering 'daisy' is right on" in warning for warning in result.warnings)
    table = (result.job / "output" / "confusion.csv").read_text().splitlines()
    assert table[0] == "truth,predicted,pictures"
    assert sum(int(line.rsplit(",", 1)[1]) for line in table[1:]) == metrics["n"]
    assert "Always answering &#39;daisy&#39;, the class that training saw most" in result.report.read_text()


@pytest.mark.slow
def test_a_hundred_times_more_of_one_class(flowers: Path, mobilenet_weights: Path, tmp_path: Path) -> None:
    data = tmp_path / "roses"
    shutil.copytree(flowers / "train" / "daisy", data / "daisy")
    (data / "rose").mkdir()
    for path in sorted((flowers / "train" / "rose").iterdir())[:20]:
        shutil.copy(path, data / "rose")
    metrics = fit(FitRequest(data, weights=mobilenet_weights)).to_dict()["metrics"]
    assert metrics["accuracy"] >= 0.96 > metrics["constant"]["accuracy"]
