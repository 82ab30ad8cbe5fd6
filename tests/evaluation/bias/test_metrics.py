"""The metrics against their definitions, row by row, and against textbook distances."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.spatial.distance
import scipy.stats
from sklearn.metrics import confusion_matrix, precision_score, recall_score

from vizsla.evaluation.bias.analysis import analyse
from vizsla.evaluation.bias.analysis_config import parse_analysis_config

CONFIG = {
    "label": "label",
    "predicted_label": "predicted",
    "label_values_or_threshold": ["yes"],
    "facet": [{"name_or_index": "facet", "value_or_threshold": ["d"]}],
    "methods": {"pre_training_bias": {"methods": "all"}, "post_training_bias": {"methods": "all"}},
}


def table(seed: int, n: int = 400, labels: tuple[str, ...] = ("yes", "no", "maybe")) -> dict[str, list[str]]:
    rng = np.random.default_rng(seed)
    return {
        "label": rng.choice(labels, n).tolist(),
        "predicted": rng.choice(labels, n).tolist(),
        "facet": rng.choice(["a", "d"], n, p=[0.7, 0.3]).tolist(),
    }


def values(cells: dict[str, list[str]], **options: object) -> dict[str, float | None]:
    (group,) = analyse(cells, parse_analysis_config(CONFIG), **options).groups  # type: ignore[arg-type]
    return {metric.name: metric.value for metric in (*group.pretraining, *group.posttraining)}


@pytest.mark.parametrize("seed", range(5))
def test_distances_are_the_textbooks(seed: int) -> None:
    cells = table(seed)
    label, facet = np.array(cells["label"]), np.array(cells["facet"])
    a, d = ([(label[facet == f] == v).mean() for v in ("yes", "no", "maybe")] for f in "ad")
    found = values(cells)
    assert found["KL"] == pytest.approx(scipy.stats.entropy(a, d), abs=1e-12)
    assert found["JS"] == pytest.approx(scipy.spatial.distance.jensenshannon(a, d) ** 2, abs=1e-12)
    assert found["LP"] == pytest.approx(np.linalg.norm(np.subtract(a, d)), abs=1e-12)
    assert found["TVD"] == pytest.approx(np.abs(np.subtract(a, d)).sum() / 2, abs=1e-12)
    assert found["KS"] == pytest.approx(np.abs(np.subtract(a, d)).max(), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_rates_are_scikit_learns(seed: int) -> None:
    cells = table(seed)
    y, p = (np.array(cells[name]) == "yes" for name in ("label", "predicted"))
    d = np.array(cells["facet"]) == "d"
    found = values(cells)
    assert found["RD"] == pytest.approx(recall_score(y[~d], p[~d]) - recall_score(y[d], p[d]), abs=1e-12)
    assert found["DAR"] == pytest.approx(precision_score(y[~d], p[~d]) - precision_score(y[d], p[d]), abs=1e-12)
    assert found["SD"] == pytest.approx(recall_score(~y[d], ~p[d]) - recall_score(~y[~d], ~p[~d]), abs=1e-12)
    (_, fp, fn, _), (_, fp_d, fn_d, _) = (confusion_matrix(y[g], p[g]).ravel() for g in (~d, d))
    assert found["TE"] == pytest.approx(fn_d / fp_d - fn / fp, abs=1e-12)
    benefit = p.astype(float) - y + 1
    assert found["GE"] == pytest.approx(((benefit / benefit.mean()) ** 2 - 1).mean() / 2, abs=1e-12)


def test_a_label_that_one_group_lacks_counts_unless_clarifys_way_is_asked_for() -> None:
    cells = {
        "label": ["yes"] * 40 + ["no"] * 40 + ["rare"] * 20 + ["yes"] * 50 + ["no"] * 50,
        "predicted": ["yes", "no"] * 100,
        "facet": ["a"] * 100 + ["d"] * 100,
    }
    textbook, clarify = values(cells), values(cells, like_clarify=True)
    assert textbook["KL"] == math.inf
    assert textbook["TVD"] == pytest.approx(0.2)
    assert clarify["KL"] == pytest.approx(2 * 0.4 * math.log(0.4 / 0.5))
    assert clarify["TVD"] == pytest.approx(0.1)
    (group,) = analyse(cells, parse_analysis_config(CONFIG)).to_dict()["pre_training_bias_metrics"]["facets"]["facet"]
    (kl,) = [metric for metric in group["metrics"] if metric["name"] == "KL"]
    assert kl["value"] is None
    assert "infinite" in kl["error"]


def test_intervals_cover_the_truth() -> None:
    """Tables from one law: its own difference lies within the interval in about 95 of 100."""
    covered = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        facet = rng.random(300) < 0.4
        good = rng.random(300) < np.where(facet, 0.3, 0.5)
        cells = {
            "label": np.where(good, "yes", "no").tolist(),
            "predicted": np.where(good, "yes", "no").tolist(),
            "facet": np.where(facet, "d", "a").tolist(),
        }
        (group,) = analyse(cells, parse_analysis_config(CONFIG), seed=seed).groups
        (dpl,) = [metric for metric in group.pretraining if metric.name == "DPL"]
        assert dpl.low is not None
        assert dpl.high is not None
        covered += dpl.low <= 0.2 <= dpl.high
    assert 88 <= covered <= 100
