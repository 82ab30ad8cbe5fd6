"""Every metric against smclarify and fairlearn on random tables.

They have an environment of their own, as smclarify is under Amazon's licence and needs packages that we do not:
``python -m venv ~/.cache/vizsla/peers-bias`` and there ``pip install smclarify fairlearn``.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vizsla.evaluation.bias.analysis import analyse
from vizsla.evaluation.bias.analysis_config import parse_analysis_config

PYTHON = Path(os.environ.get("VIZSLA_BIAS_PEERS") or Path.home() / ".cache/vizsla/peers-bias") / "bin" / "python"
CONFIG = {
    "label": "label",
    "predicted_label": "predicted",
    "label_values_or_threshold": ["v1", "v3"],
    "facet": [{"name_or_index": "facet", "value_or_threshold": ["d"]}],
    "group_variable": "group",
    "methods": {"pre_training_bias": {"methods": "all"}, "post_training_bias": {"methods": "all"}},
}


def random_table(seed: int) -> dict[str, Any]:
    """Sizes, classes and shares of all kinds, small groups and missing labels among them."""
    rng = np.random.default_rng(seed)
    n, classes = int(rng.integers(12, 200)), int(rng.integers(4, 8))
    facet = rng.random(n) < rng.choice([0.1, 0.3, 0.5])
    facet[:2] = True, False
    shares = rng.dirichlet(np.full(classes, 0.7), 2)
    label = np.array([rng.choice(classes, p=shares[int(d)]) for d in facet])
    label[:3] = 1, 0, 3
    predicted = np.where(rng.random(n) < 0.6, label, rng.integers(0, classes, n))
    predicted[:2] = 1, 0
    return {
        "facet": facet.tolist(),
        "label": [f"v{value}" for value in label],
        "guess": [f"v{value}" for value in predicted],
        "positive": np.isin(label, [1, 3]).tolist(),
        "predicted": np.isin(predicted, [1, 3]).tolist(),
        "group": [f"g{value}" for value in rng.integers(0, 3, n)],
        "features": rng.normal(size=(n, 2)).tolist(),
    }


def ours(table: dict[str, Any]) -> dict[str, float | None]:
    cells: dict[str, Any] = {
        "label": table["label"],
        "predicted": table["guess"],
        "facet": ["d" if d else "a" for d in table["facet"]],
        "group": table["group"],
        "x": [row[0] for row in table["features"]],
        "y": [row[1] for row in table["features"]],
    }
    (group,) = analyse(cells, parse_analysis_config(CONFIG), like_clarify=True).groups
    return {metric.name: metric.value for metric in (*group.pretraining, *group.posttraining)}


def compare(tables: list[dict[str, Any]]) -> None:
    if not PYTHON.exists():
        pytest.skip(f"needs smclarify and fairlearn in an environment at {PYTHON.parents[1]}")
    script = Path(__file__).with_name("peers.py")
    run = subprocess.run([PYTHON, script], input=json.dumps(tables), capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    compared = 0
    for table, theirs in zip(tables, json.loads(run.stdout), strict=True):
        found = ours(table)
        assert set(found) == set(theirs["smclarify"])
        for name, expected in [*theirs["smclarify"].items(), *theirs["fairlearn"].items()]:
            if isinstance(expected, str) and expected not in ("inf", "-inf"):
                assert "No instance of common facet" in expected, (name, expected)
                continue
            value = found[name]
            assert value is not None
            expected = float(expected)
            assert value == expected if math.isinf(expected) else abs(value - expected) <= 1e-9, (name, value, expected)
            compared += 1
    assert compared >= 20 * len(tables)


def test_thirty_random_tables() -> None:
    compare([random_table(seed) for seed in range(30)])


@pytest.mark.slow
def test_a_thousand_random_tables() -> None:
    compare([random_table(seed) for seed in range(1000)])
