"""Compute the stored search problems again: every point of each grid is a head that ``train_heads`` really trained.

    python -m benchmarks.search_problems.remake FLOWERS DOGS WEIGHTS [--only NAME]

FLOWERS and DOGS are folders of photos with train, valid and test, WEIGHTS a backbone's folder in the hub's layout.
Each problem becomes ``NAME.json``: the levels of every parameter and the objective of every combination. The test
split is not read. About ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vizsla.data import open_dataset
from vizsla.models.engine import OnnxEngine
from vizsla.models.export import ensure_exported
from vizsla.models.weights import BackboneSpec
from vizsla.settings import settings
from vizsla.training.cache import FeatureSpace
from vizsla.training.config import StepConfig
from vizsla.training.features import extract
from vizsla.training.head_data import HeadData
from vizsla.training.heads import train_heads

HERE = Path(__file__).parent
TOGETHER = 400
"""Configurations trained as one product: bounds the memory."""


def logarithmic(low: float, high: float, count: int) -> list[float]:
    """``count`` values from low to high, evenly spaced in the logarithm."""
    return [float(f"{v:.6g}") for v in np.geomspace(low, high, count)]


def linear(low: float, high: float, count: int) -> list[float]:
    """``count`` values from low to high, evenly spaced."""
    return [float(f"{v:.6g}") for v in np.linspace(low, high, count)]


Thin = Callable[[np.ndarray[Any, Any], np.ndarray[Any, Any]], np.ndarray[Any, Any]]


def everything(rows: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """All training pictures."""
    return rows


def few(rows: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Ten training pictures a class."""
    return np.concatenate([rows[labels[rows] == c][:10] for c in np.unique(labels[rows])])


def unequal(rows: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Class k keeps a share of 0.7**k of its training pictures."""
    kept = []
    for k, c in enumerate(np.unique(labels[rows])):
        own = rows[labels[rows] == c]
        kept.append(own[: max(3, round(len(own) * 0.7**k))])
    return np.concatenate(kept)


@dataclass(frozen=True)
class Problem:
    """A space as SageMaker's documents write it, the grid it is tabled on, and what is measured."""

    data: str
    objective: str
    direction: str
    scaling: dict[str, str]
    levels: dict[str, list[Any]]
    static: dict[str, Any] = field(default_factory=dict)
    thin: Thin = everything


PROBLEMS: dict[str, Problem] = {
    "flowers-sgd": Problem(
        "flowers",
        "valid_accuracy",
        "maximize",
        {"lr": "Logarithmic", "momentum": "Linear", "batch_size": "Categorical"},
        {"lr": logarithmic(0.001, 0.1, 25), "momentum": linear(0.5, 0.9, 7), "batch_size": [32, 64, 128, 256, 512]},
        {"optimizer": "sgd", "epochs": 5, "patience": None},
    ),
    "flowers-adamw": Problem(
        "flowers",
        "valid_loss",
        "minimize",
        {"lr": "Logarithmic", "weight_decay": "Logarithmic", "batch_size": "Categorical"},
        {"lr": logarithmic(1e-4, 0.1, 25), "weight_decay": logarithmic(1e-4, 10, 11), "batch_size": [32, 64, 128, 256]},
        {"optimizer": "adamw", "epochs": 5, "patience": None},
    ),
    "dogs-optimizer": Problem(
        "dogs",
        "valid_loss",
        "minimize",
        {"lr": "Logarithmic", "batch_size": "Categorical", "optimizer": "Categorical", "epochs": "Integer"},
        {
            "lr": logarithmic(1e-4, 0.1, 25),
            "batch_size": [32, 64, 128, 256, 512],
            "optimizer": ["adam", "sgd"],
            "epochs": [2, 3, 4],
        },
        {"patience": None},
    ),
    "flowers-few": Problem(
        "flowers",
        "valid_loss",
        "minimize",
        {
            "lr": "Logarithmic",
            "weight_decay": "Logarithmic",
            "label_smoothing": "Linear",
            "epochs": "Categorical",
        },
        {
            "lr": logarithmic(1e-4, 0.1, 19),
            "weight_decay": logarithmic(1e-3, 10, 9),
            "label_smoothing": linear(0, 0.3, 7),
            "epochs": [5, 10, 20],
        },
        {"optimizer": "adamw", "batch_size": 16, "patience": None},
        few,
    ),
    "dogs-unequal": Problem(
        "dogs",
        "valid_accuracy",
        "maximize",
        {"lr": "Logarithmic", "momentum": "Linear", "weight_decay": "Logarithmic", "balance": "Categorical"},
        {
            "lr": logarithmic(0.0001, 0.1, 19),
            "momentum": linear(0.5, 0.95, 6),
            "weight_decay": logarithmic(1e-4, 0.3, 6),
            "balance": ["none", "weights", "sampling"],
        },
        {"optimizer": "sgd", "batch_size": 64, "epochs": 5, "patience": None},
        unequal,
    ),
}


def head_data(folder: Path, weights: Path, thin: Thin) -> HeadData:
    """Cached features of a folder, its training rows thinned out."""
    dataset = open_dataset(folder)
    backbone = ensure_exported(BackboneSpec.resolve(None, weights), settings().cache)
    engine = OnnxEngine(backbone.path)
    space = FeatureSpace(settings().cache, backbone, engine)
    found = extract(dataset, space, backbone.preprocessing, engine, threads=settings().threads)
    train, valid = (dataset.rows(split) for split in ("train", "valid"))
    train, valid = train[found.usable[train]], valid[found.usable[valid]]
    return HeadData(found.table, dataset.labels, thin(train, dataset.labels), valid, len(dataset.classes))


def solve(problem: Problem, data: HeadData) -> list[float]:
    """The objective at the last epoch of every combination, the last parameter's levels changing fastest."""
    names = list(problem.levels)
    combinations = [dict(zip(names, c, strict=True)) for c in itertools.product(*problem.levels.values())]
    # A shorter training is the beginning of a longer one: only the longest is run.
    longest = max(problem.levels.get("epochs", [problem.static.get("epochs", 1)]))
    keyed: dict[tuple[Any, ...], StepConfig] = {}
    for c in combinations:
        config = StepConfig(**(problem.static | c | {"epochs": longest}))
        keyed.setdefault(_key(c), config)
    keys, configs = list(keyed), list(keyed.values())
    order = sorted(range(len(configs)), key=lambda i: (configs[i].batch_size, configs[i].balance == "sampling"))
    values: dict[tuple[Any, ...], list[float]] = {}
    for start in range(0, len(order), TOGETHER):
        part = order[start : start + TOGETHER]
        for i, trained in zip(part, train_heads(data, [configs[i] for i in part]), strict=True):
            curve = [getattr(m, problem.objective) for m in trained.history]
            values[keys[i]] = curve + [float("nan")] * (longest - len(curve))
    result = []
    for c in combinations:
        epochs = c.get("epochs", problem.static.get("epochs", 1))
        value = values[_key(c)][epochs - 1]
        result.append(value if np.isfinite(value) else None)
    return [None if v is None else float(f"{v:.6g}") for v in result]  # type: ignore[misc]


def _key(combination: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(value for name, value in combination.items() if name != "epochs")


def main() -> None:
    """Compute and store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("flowers", type=Path)
    parser.add_argument("dogs", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--only")
    arguments = parser.parse_args()
    for name, problem in PROBLEMS.items():
        if arguments.only not in (None, name):
            continue
        began = time.monotonic()
        folder = arguments.flowers if problem.data == "flowers" else arguments.dogs
        values = solve(problem, head_data(folder, arguments.weights, problem.thin))
        content = {
            "name": name,
            "objective": problem.objective,
            "direction": problem.direction,
            "static": problem.static,
            "scaling": problem.scaling,
            "levels": problem.levels,
            "values": values,
        }
        (HERE / f"{name}.json").write_text(json.dumps(content) + "\n")
        print(f"{name}: {len(values):,} points in {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
