"""How good the default head is, and what it costs, on problems of every shape.

    python -m benchmarks.heads problems [--count 40]   against the constant answer, scikit-learn and the steps of before
    python -m benchmarks.heads cost                    flowers, and 133 classes of 6,680 pictures

The problems are made of the features of flowers and dogs (mobilenetv2_100): 2 to 30 classes (the breeds and flowers,
divided by k-means where there are not enough), 4 to 1,000 pictures a class, ratios to 1:500, label noise of 0 to 20 %.
scikit-learn's LogisticRegression gets the same standardised features, the same strengths and the same way to choose.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.measure import FLOWERS, MOBILENET_WEIGHTS, SHARED, interleaved, ratio, spread, table
from vizsla.data import open_dataset
from vizsla.data.split import carve
from vizsla.evaluation.intervals import wilson
from vizsla.models.engine import OnnxEngine
from vizsla.models.export import ensure_exported
from vizsla.models.weights import BackboneSpec
from vizsla.settings import settings
from vizsla.training.cache import FeatureSpace
from vizsla.training.config import HeadConfig, LbfgsConfig, StepConfig
from vizsla.training.features import extract
from vizsla.training.folds import fold_of
from vizsla.training.head_data import HeadData, standardisation
from vizsla.training.heads import train_heads
from vizsla.training.optimum import ENOUGH, FOLDS, HELD_OUT, STRENGTHS
from vizsla.training.table import FeatureTable

Floats = npt.NDArray[np.float32]
DOGS = SHARED / "data" / "dogs"


def features(folder: Any) -> tuple[Floats, npt.NDArray[np.int32]]:
    """Features (n, d) and labels (n,) of every picture of a folder."""
    dataset = open_dataset(folder)
    backbone = ensure_exported(BackboneSpec.resolve(None, MOBILENET_WEIGHTS), settings().cache)
    engine = OnnxEngine(backbone.path)
    space = FeatureSpace(settings().cache, backbone, engine)
    extraction = extract(dataset, space, backbone.preprocessing, engine, threads=settings().threads)
    rows = np.flatnonzero(extraction.usable)
    return extraction.table.take(rows), dataset.labels[rows]


@dataclass
class Problem:
    """A data set, its test rows, and words for it."""

    data: HeadData
    test: npt.NDArray[np.int64]
    words: str


def problems(count: int) -> list[Problem]:
    """Problems of every shape, the same at each call."""
    from sklearn.cluster import MiniBatchKMeans

    pools = {}
    for name, folder in (("flowers", FLOWERS), ("dogs", DOGS)):
        x, labels = features(folder)
        divided = np.zeros(len(labels), np.int64)
        parts = 6 if name == "flowers" else 3
        for label in np.unique(labels):
            own = np.flatnonzero(labels == label)
            means = MiniBatchKMeans(parts, random_state=0, n_init=3).fit_predict(x[own])
            divided[own] = label * parts + means
        pools[name] = x, labels.astype(np.int64), divided
    return [_problem(pools, seed) for seed in range(count)]


def _problem(pools: dict[str, Any], seed: int) -> Problem:
    rng = np.random.default_rng(seed)
    name = ("flowers", "dogs")[seed % 2]
    x, labels, divided = pools[name]
    classes = int(np.exp(rng.uniform(np.log(2), np.log(30.5))))
    source = labels if classes <= len(np.unique(labels)) else divided
    sizes = np.bincount(source)
    chosen = rng.permutation(np.argsort(-sizes, kind="stable")[: max(classes, min(2 * classes, len(sizes)))])[:classes]
    largest = int(np.exp(rng.uniform(np.log(12), np.log(1000))))
    unequal = (1.0, 3.0, 20.0, 100.0, 500.0)[int(rng.integers(5))]
    wanted = largest * unequal ** -np.linspace(0, 1, classes)
    rows, y = [], []
    for label, (own, size) in enumerate(zip(chosen, wanted, strict=True)):
        pool = rng.permutation(np.flatnonzero(source == own))
        taken = pool[: max(4, round(size))]
        rows.append(taken)
        y.append(np.full(len(taken), label))
    at, target = np.concatenate(rows), np.concatenate(y).astype(np.int32)
    noise = (0.0, 0.0, 0.05, 0.1, 0.2)[int(rng.integers(5))]
    wrong = rng.random(len(target)) < noise
    target[wrong] = rng.integers(0, classes, int(wrong.sum()))
    counts = np.bincount(target, minlength=classes)
    splits = carve(
        [str(i) for i in range(len(target))], target, np.zeros(len(target), np.int8), ["valid", "test"], seed
    )
    train, valid, test = (np.flatnonzero(splits == s) for s in range(3))
    data = HeadData(FeatureTable.of(x[at]), target, train, valid, classes)
    present = counts[counts > 0]
    words = f"{name}, {classes} classes, {present.max()} to {present.min()} pictures, noise {noise:.0%}"
    return Problem(data, test, words)


def scikit_learn(data: HeadData) -> Any:
    """Probabilities by rows, of LogisticRegression with the best of the same strengths, chosen the same way."""
    from sklearn.linear_model import LogisticRegression

    mean, deviation = standardisation(data.table, data.train)
    x = ((data.table.take(np.arange(len(data.table))) - mean) / deviation).astype(np.float32)

    def fitted(train: npt.NDArray[np.int64], strength: float) -> Any:
        model = LogisticRegression(C=1 / (strength * len(train)), max_iter=1000, tol=1e-4)
        return model.fit(x[train], data.labels[train])

    def answers(model: Any, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        p = np.full((len(rows), data.classes), 1e-9)
        p[:, model.classes_] = model.predict_proba(x[rows])
        return p

    pairs = [(data.train, data.valid)]
    if len(data.valid) < ENOUGH:
        fold = fold_of(data.train, data.labels, None, FOLDS, 0)
        held = len(data.valid)
        for k in range(FOLDS):
            if held < HELD_OUT and 0 < (fold == k).sum() < len(fold):
                pairs.append((data.train[fold != k], data.train[fold == k]))
                held += int((fold == k).sum())
    losses: list[float] = []
    for strength in STRENGTHS:
        total = 0.0
        for train, test in pairs:
            p = answers(fitted(train, strength), test)
            total -= np.log(np.maximum(p[np.arange(len(test)), data.labels[test]], 1e-12)).sum()
        losses.append(total)
        if len(losses) > np.argmin(losses) + 2:
            break
    model = fitted(data.train, STRENGTHS[int(np.argmin(losses))])
    return lambda rows: answers(model, rows)


def below(ours: npt.NDArray[np.bool_], theirs: npt.NDArray[np.bool_]) -> bool:
    """Whether ours is right less often by more than the 95 % interval of the pictures on which they differ."""
    better, worse = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    return wilson(worse, better + worse)[0] > 0.5


def compare(count: int) -> None:
    """Print a row for each problem, and in how many the default head is below whom."""
    rows, lost = [], dict.fromkeys(("constant", "scikit-learn", "steps"), 0)
    losses: dict[str, list[float]] = {"default": [], "scikit-learn": [], "steps": []}
    for number, problem in enumerate(problems(count)):
        data, test = problem.data, problem.test
        labels = data.labels[test]
        (default,) = train_heads(data, [LbfgsConfig()])
        (steps,) = train_heads(data, [StepConfig()])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reference = scikit_learn(data)(test)
        majority = np.bincount(data.labels[data.train]).argmax()
        p = {
            "default": default.head.probabilities(data.table.take(test)),
            "scikit-learn": reference,
            "steps": steps.head.probabilities(data.table.take(test)),
        }
        right = {name: answer.argmax(axis=1) == labels for name, answer in p.items()}
        right["constant"] = labels == majority
        for name in lost:
            lost[name] += below(right["default"], right[name])
        for name, answer in p.items():
            losses[name].append(float(-np.log(np.maximum(answer[np.arange(len(test)), labels], 1e-12)).mean()))
        accuracy = {name: f"{100 * hits.mean():.1f}" for name, hits in right.items()}
        names = ("constant", "steps", "scikit-learn", "default")
        rows.append([number, problem.words, len(test), *(accuracy[n] for n in names), f"{losses['default'][-1]:.3f}"])
        print(*rows[-1], f"(scikit-learn's loss {losses['scikit-learn'][-1]:.3f})", flush=True)
    table(["", "problem", "test", "constant", "steps", "scikit-learn", "default", "its loss"], rows)
    for name, times in lost.items():
        print(f"default below {name} beyond the interval: {times} of {count}")
    for name in ("scikit-learn", "steps"):
        difference = np.subtract(losses["default"], losses[name])
        print(f"loss less {name}'s: median {np.median(difference):+.4f}, worst {difference.max():+.4f}")


def cost(rounds: int) -> None:
    """Print what training takes, beside the steps."""
    x, labels = features(FLOWERS)
    order = np.random.default_rng(0).permutation(len(labels))
    flowers = HeadData(FeatureTable.of(x), labels, order[:3077], order[3077:3455], 5)
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(133), 63)[:8351].astype(np.int32)
    rng.shuffle(y)
    clouds = (x[rng.integers(0, len(x), len(y))] + x[rng.integers(0, len(x), 133)][y]).astype(np.float32)
    breeds = HeadData(FeatureTable.of(clouds), y, np.arange(6680), np.arange(6680, 7515), 133)
    rows = []
    for name, data in (("flowers, 3,077 pictures of 5", flowers), ("6,680 pictures of 133", breeds)):

        def seconds(config: HeadConfig, data: HeadData = data) -> float:
            fresh = HeadData(data.table, data.labels, data.train, data.valid, data.classes)
            began = time.perf_counter()
            train_heads(fresh, [config])
            return time.perf_counter() - began

        times = interleaved({"default": lambda: seconds(LbfgsConfig()), "steps": lambda: seconds(StepConfig())}, rounds)
        rows.append([name, spread(times["default"], 2), spread(times["steps"], 2), ratio(*times.values())])
        print(f"{name}: {statistics.median(times['default']):.2f} s", flush=True)
    table(["head", "default, s", "steps, s", "ratio"], rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["problems", "cost"])
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    compare(options.count) if options.what == "problems" else cost(options.rounds)
