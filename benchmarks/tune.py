"""What tuning costs: against one pass over the pictures, against the usual loop, per script trial.

    python -m benchmarks.tune FLOWERS WEIGHTS [--quick] [--only cold,many,alone,script]

FLOWERS is a folder of photos with train, valid and test; WEIGHTS a mobilenetv2_100 in the hub's layout (resnet18 runs
with random weights: its speed is the same). Backbones are exported before anything is timed. The usual loop is timed
over a part of the pictures (all with --full) and multiplied: it costs the same for every picture and epoch.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
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
from vizsla.tuning.head_space import head_config
from vizsla.tuning.heads_runner import HeadsRunner, best_value
from vizsla.tuning.limits import SearchLimits
from vizsla.tuning.objective import own_objective
from vizsla.tuning.request import SearchRequest
from vizsla.tuning.search import search
from vizsla.tuning.space import Space
from vizsla.tuning.strategies import strategy
from vizsla.tuning.study import Study

TRIALS, EPOCHS, BATCH = 20, 5, 64
SPACE = {"lr": "0.001..0.1:log", "batch_size": "32,64,128,256,512", "momentum": "0.5..0.9", "optimizer": "sgd"}


@contextmanager
def fresh_cache(exported: Path | None = None) -> Iterator[Path]:
    """An empty cache that knows the exported backbones of another."""
    before = os.environ.get("VIZSLA_CACHE")
    with tempfile.TemporaryDirectory() as folder:
        if exported is not None:
            for part in ("backbones",):
                if (exported / part).is_dir():
                    subprocess.run(["cp", "-r", str(exported / part), folder], check=True)
        os.environ["VIZSLA_CACHE"] = folder
        try:
            yield Path(folder)
        finally:
            if before is None:
                del os.environ["VIZSLA_CACHE"]
            else:
                os.environ["VIZSLA_CACHE"] = before


def bare_pass(flowers: Path, weights: BackboneSpec) -> float:
    """Seconds for the features of every picture, nothing else."""
    dataset = open_dataset(flowers)
    backbone = ensure_exported(weights, settings().cache)
    engine = OnnxEngine(backbone.path)
    space = FeatureSpace(settings().cache, backbone, engine)
    began = time.monotonic()
    extract(dataset, space, backbone.preprocessing, engine, threads=settings().threads)
    return time.monotonic() - began


_COLD = """
import json, sys, time
from pathlib import Path
began = time.monotonic()
from vizsla.training.config import StepConfig
from vizsla.tuning.limits import SearchLimits
from vizsla.tuning.request import SearchRequest
from vizsla.tuning.space import Space
from vizsla.workflow.fit import fit
from vizsla.workflow.request import FitRequest
data, weights, space, trials, epochs = json.loads(sys.argv[1])
search = SearchRequest(space=Space.of(space), limits=SearchLimits(trials=trials))
request = FitRequest(data, None, weights and Path(weights), weights is None, StepConfig(epochs=epochs), tune=search)
result = fit(request)
print(json.dumps({"all": time.monotonic() - began} | result.seconds))
"""


def cold_tune(flowers: Path, weights: Path | None) -> dict[str, float]:
    """Seconds of ``TRIALS`` x ``EPOCHS`` from a process that has just started, by stage and in all."""
    import json

    asked = json.dumps([str(flowers), weights and str(weights), SPACE, TRIALS, EPOCHS])
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(
            [sys.executable, "-c", _COLD, asked],
            env=os.environ | {"VIZSLA_HOME": home, "VIZSLA_TRACKING": "off"},
            capture_output=True,
            text=True,
            check=True,
        )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def usual_epoch(flowers: Path, name: str, pictures: int | None) -> tuple[float, int]:
    """Seconds and pictures of one epoch of the usual loop: decode, augment, frozen backbone, head."""
    import timm
    import torch
    from torchvision import datasets, transforms

    augment = transforms.Compose(
        [transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
    )
    dataset: Any = datasets.ImageFolder(flowers / "train", augment)
    if pictures is not None and pictures < len(dataset):
        order = np.random.default_rng(0).permutation(len(dataset))[:pictures]
        dataset = torch.utils.data.Subset(dataset, order.tolist())
    loader = torch.utils.data.DataLoader(dataset, batch_size=BATCH, shuffle=True, num_workers=0)
    backbone = timm.create_model(name, num_classes=0).eval().requires_grad_(False)
    head = torch.nn.Linear(backbone.num_features, 5)
    optimizer = torch.optim.SGD(head.parameters(), lr=0.01, momentum=0.9)
    loss_of = torch.nn.CrossEntropyLoss()
    with torch.no_grad():
        backbone(torch.zeros(BATCH, 3, 224, 224))
    began = time.monotonic()
    for images, labels in loader:
        optimizer.zero_grad()
        with torch.no_grad():
            features = backbone(images)
        loss_of(head(features), labels).backward()
        optimizer.step()
    return time.monotonic() - began, len(dataset)


def cold(flowers: Path, weights: Path, sample: int | None, names: list[str], repeats: int) -> None:
    """20 x 5 from nothing, against one bare pass and against the usual loop."""
    dataset = open_dataset(flowers)
    each = len(dataset.rows("train")) + len(dataset.rows("valid"))
    for name in names:
        local = weights if name.startswith("mobilenet") else None
        asked = BackboneSpec.resolve(None if local else name, local, random_init=local is None)
        with fresh_cache() as exported:
            ensure_exported(asked, settings().cache)
            ratios, passes, tunes = [], [], []
            for _ in range(repeats):
                with fresh_cache(exported):
                    passes.append(bare_pass(flowers, asked))
                with fresh_cache(exported):
                    found = cold_tune(flowers, local)
                # Looking at the data (check) is not tuning: it is its own stage, and its result is kept.
                tunes.append(found["all"] - found.get("dataset", 0.0) - found.get("scan", 0.0))
                ratios.append(tunes[-1] / passes[-1])
                stages = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in found.items())
                print(f"  {name}: bare pass {passes[-1]:.1f} s, tune {tunes[-1]:.1f} s ({stages})", flush=True)
        print(
            f"{name}: {TRIALS} trials x {EPOCHS} epochs cold = {statistics.median(ratios):.2f} x one bare feature pass "
            f"(reach: <= 1.25), {statistics.median(tunes):.1f} s"
        )
        seconds, count = usual_epoch(flowers, name, sample)
        usual = seconds / count * each * TRIALS * EPOCHS
        print(
            f"{name}: the usual loop, {count / seconds:.1f} images/s: {usual:,.0f} s, "
            f"{usual / statistics.median(tunes):,.0f} x longer",
            flush=True,
        )


def head_data(flowers: Path, weights: Path) -> HeadData:
    """Training and validation rows with their features."""
    from benchmarks.search_problems.remake import everything
    from benchmarks.search_problems.remake import head_data as load

    return load(flowers, weights, everything)


def many(data: HeadData) -> None:
    """256 configurations x 3 seeds on warm features."""
    space = Space.of(SPACE)
    times = []
    for how in ("default", "random"):
        with tempfile.TemporaryDirectory() as folder:
            began = time.monotonic()
            asked = SearchRequest(space=space, limits=SearchLimits(trials=256), seeds=3, strategy=how)
            study = Study.open(
                f"{folder}/s.db", "many", space, asked.objective, strategy(how), total=256, epochs=EPOCHS
            )
            runner = HeadsRunner(data, StepConfig(epochs=EPOCHS), asked.objective, static=space.static, seeds=3)
            search(study, runner, asked.limits)
            times.append(time.monotonic() - began)
        print(f"256 configurations x 3 seeds x {EPOCHS} epochs, {how}: {times[-1]:.1f} s (reach: <= 60 s)", flush=True)


def alone(data: HeadData) -> None:
    """The batched result against each configuration alone."""
    space, objective = Space.of(SPACE), own_objective(None)
    with tempfile.TemporaryDirectory() as folder:
        study = Study.open(f"{folder}/s.db", "a", space, objective, strategy("random"), total=24, early_stopping="off")
        base = StepConfig(epochs=EPOCHS, patience=None)
        search(study, HeadsRunner(data, base, objective, static=space.static), SearchLimits(trials=24))
        worst = 0.0
        for trial in study.trials():
            (single,) = train_heads(data, [head_config(head_config(base, space.static), trial.params)])
            worst = max(worst, abs(best_value(single, objective.metric) - (trial.value or 0.0)))
    configs = [replace(head_config(head_config(base, space.static), t.params), seed=1) for t in study.trials()]
    rows = data.valid
    differences = []
    for config, together in zip(configs, train_heads(data, configs), strict=True):
        (single,) = train_heads(data, [config])
        taken = data.table.take(rows)
        differences.append(np.abs(together.head.probabilities(taken) - single.head.probabilities(taken)).max())
    print(
        f"batched against alone, 24 configurations: objective {worst:.1e}, probabilities {max(differences):.1e} "
        "(reach: 1e-5)",
        flush=True,
    )


_SCRIPT = """import argparse
p = argparse.ArgumentParser()
p.add_argument("--lr", type=float)
print("loss:", p.parse_args().lr)
"""


def script(trials: int) -> None:
    """What the controller adds to each trial of a script."""
    from vizsla.workflow.observer import Silent
    from vizsla.workflow.script_search import ScriptSearch, objective_of, tune_script

    os.environ["VIZSLA_TRACKING"] = "off"  # recording runs in a process of its own
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.py"
        path.write_text(_SCRIPT)
        before = os.environ.get("VIZSLA_HOME")
        os.environ["VIZSLA_HOME"] = f"{folder}/runs"
        plain = []
        for _ in range(5):
            began = time.monotonic()
            subprocess.run([sys.executable, str(path), "--lr", "0.1"], check=True, capture_output=True)
            plain.append(time.monotonic() - began)
        asked = SearchRequest(
            space=Space.of({"lr": "0.001..0.1:log"}),
            objective=objective_of("loss", "minimize", ["loss"]),
            strategy="tpe",
            limits=SearchLimits(trials=trials, max_parallel=1),
            finalists=0,
        )
        request = ScriptSearch.of(str(path), None, [], [], ["loss=loss: ([0-9.e-]+)"], None, None, search=asked)
        found = tune_script(request, Silent()).result
        if before is None:
            del os.environ["VIZSLA_HOME"]
        else:
            os.environ["VIZSLA_HOME"] = before
    overhead = found.seconds / trials - statistics.median(plain)
    print(
        f"script trials one at a time: {found.seconds / trials:.3f} s each, the bare script "
        f"{statistics.median(plain):.3f} s: {overhead:.3f} s overhead (reach: <= 0.3 s)",
        flush=True,
    )


def main() -> None:
    """Run the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("flowers", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--quick", action="store_true", help="only mobilenetv2_100, 320 pictures of the usual loop")
    parser.add_argument("--full", action="store_true", help="the usual loop over all training pictures")
    parser.add_argument("--repeats", type=int, default=3, help="of the cold search")
    parser.add_argument("--only", default="script,alone,many,cold")
    arguments = parser.parse_args()
    parts = arguments.only.split(",")
    data: HeadData | None = None
    if {"alone", "many"} & set(parts):
        data = head_data(arguments.flowers, arguments.weights)
    sample = None if arguments.full else 320 if arguments.quick else 960
    names = ["mobilenetv2_100"] if arguments.quick else ["mobilenetv2_100", "resnet18"]
    jobs: dict[str, Callable[[], None]] = {
        "script": lambda: script(20),
        "alone": lambda: alone(data) if data else None,
        "many": lambda: many(data) if data else None,
        "cold": lambda: cold(arguments.flowers, arguments.weights, sample, names, arguments.repeats),
    }
    for part in parts:
        jobs[part]()


if __name__ == "__main__":
    main()
