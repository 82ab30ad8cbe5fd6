"""How well the debugger's rules tell faulty trainings from healthy ones, and what they miss.

    python -m benchmarks.debugger faults [--set dev|held] [--only NAME] [--show]
    python -m benchmarks.debugger overhead [--model resnet18|mobilenetv2_100] [--pairs 60] [--batch 2]

The thresholds of the rules were chosen on the runs of ``dev`` (flowers, SGD with momentum, networks of width 16), and
two of them (of shuffled_labels and loss_not_decreasing) once more after those of ``second`` (dogs, Adam and plain SGD,
other networks and seeds). Those of ``held`` (other photos of flowers, AdamW and SGD, other networks and seeds) were
held apart: they ran when all was fixed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.debugger_runs import (
    Photos,
    Run,
    convolutional,
    faults,
    healthy,
    load_photos,
    perceptron,
    train,
    with_weights,
)
from benchmarks.measure import SHARED, table
from vizsla.debugging import Hook, ReductionConfig, SaveConfig
from vizsla.debugging.evaluation import evaluate
from vizsla.debugging.finding import RuleFinding
from vizsla.debugging.store import END

SGD = torch.optim.SGD
_SECONDS = 90.0
"""After which no more than five pairs are measured of a kind."""
SETS = ("dev", "second", "held")


@dataclass(frozen=True)
class Judged:
    """What the rules said of a run. Information is no alarm."""

    run: Run
    findings: tuple[RuleFinding, ...]

    @property
    def spoke(self) -> frozenset[str]:
        """The rules that raised an alarm."""
        return frozenset(f.rule for f in self.findings if f.severity != "info")

    @property
    def found(self) -> bool:
        """Whether one of those spoke that should."""
        return bool(self.spoke & self.run.expected)

    @property
    def false(self) -> frozenset[str]:
        """Rules that spoke and should not."""
        return self.spoke - self.run.expected - self.run.true_too


def runs_of(which: str) -> tuple[Photos, list[Run]]:
    """The pictures and the runs of a set."""
    skipped = 0
    weights = SHARED / "weights" / "mobilenetv2_100.tf_in1k"
    if which == "dev":
        sgd = partial(SGD, lr=0.02, momentum=0.9)
        base = Run("", convolutional, sgd)
        plain = Run("", partial(convolutional, norm=False), partial(torch.optim.Adam, lr=1e-3))
        deep = partial(perceptron, 64, 10)
        pretrained = with_weights(weights, partial(SGD, lr=0.01, momentum=0.9), 0)
        folder = SHARED / "data" / "flowers"
    elif which == "held":
        base = Run("", partial(convolutional, 20), partial(torch.optim.AdamW, lr=3e-3), seed=21, epochs=6, batch=20)
        plain = Run("", partial(convolutional, 32, norm=False), partial(SGD, lr=0.03, momentum=0.9), seed=22, epochs=6)
        deep = partial(perceptron, 56, 12)
        pretrained = with_weights(weights, partial(SGD, lr=0.005, momentum=0.9), 23)
        folder, skipped = SHARED / "data" / "flowers", 80
    else:
        base = Run("", partial(convolutional, 24), partial(torch.optim.Adam, lr=2e-3), seed=11, epochs=6)
        plain = Run("", partial(perceptron, 96, 3), partial(SGD, lr=0.05), seed=12, epochs=6, batch=20)
        deep = partial(perceptron, 48, 14)
        pretrained = with_weights(weights, partial(torch.optim.Adam, lr=1e-3), 13)
        folder = SHARED / "data" / "dogs"
    photos = load_photos(folder, skip=skipped)
    return photos, [*faults(base, plain, lambda act: deep(act=act)), *healthy(base, plain), *pretrained]


def judge(run: Run, photos: Photos, kept: Path | None) -> Judged:
    """Train, unless a store is kept of it, and ask the rules at their default settings."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "debug") if kept is None else kept / run.name.replace("/", "per")
        if not (folder / END).exists():
            train(run, photos, folder)
        evaluation = evaluate(folder)
        assert not evaluation.broken, evaluation.broken
        return Judged(run, tuple(evaluation.findings))


def report(which: str, results: Sequence[Judged]) -> None:
    """Tables: a line a run, a line a rule, and the whole."""
    faulty = [r for r in results if r.run.expected]
    well = [r for r in results if not r.run.expected]
    rows = [
        (r.run.name, ", ".join(sorted(r.run.expected)) or "nothing", ", ".join(sorted(r.spoke)) or "-", _mark(r))
        for r in results
    ]
    table((f"run ({which})", "expected", "spoke", ""), rows)
    hits: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for r in results:
        for rule in r.spoke:
            hits[rule][0 if rule not in r.false else 1] += 1
        for rule in r.run.expected:
            hits[rule][2] += 1
            hits[rule][3] += rule in r.spoke
    lines = [
        (rule, f"{right}/{right + wrong}" if right + wrong else "-", f"{caught}/{wanted}" if wanted else "-")
        for rule, (right, wrong, wanted, caught) in sorted(hits.items())
    ]
    table(("rule", "precision (right alarms / alarms)", "recall (spoke / runs that name it)"), lines)
    alarms = [r for r in well if r.spoke]
    print(
        f"{which}: {sum(r.found for r in faulty)} of {len(faulty)} faults found; alarms on {len(alarms)} of "
        f"{len(well)} healthy runs; {sum(len(r.false) for r in results)} alarms that name another fault, of "
        f"{sum(len(r.spoke) for r in results)}"
    )


def overhead(name: str, pairs: int, batch: int) -> None:
    """Blocks of steps with a hook and without one, in turn, in one process: noise of 224 pixels, SGD, one thread. What
    the loop's own thread takes is disturbed less by what else runs on the machine than the clock. What a hook adds to a
    step does not grow with the batch: a share shown on a small batch is an upper limit of that on a larger one.

    A step that records tensors every 100 steps is measured as one of a block of 10 and reckoned to 100.
    """
    import timm

    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = timm.create_model(name, num_classes=10)
    optimizer, loss_of = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9), nn.CrossEntropyLoss()
    x, y = torch.randn(batch, 3, 224, 224), torch.arange(batch) % 10

    def steps(count: int) -> tuple[float, float]:
        """Seconds a step, by the clock and of this thread."""
        began, own = time.perf_counter(), time.thread_time()
        for _ in range(count):
            optimizer.zero_grad()
            loss = loss_of(net(x), y)
            loss.backward()
            optimizer.step()
            loss.item()
        return (time.perf_counter() - began) / count, (time.thread_time() - own) / count

    raw = ReductionConfig(save_raw_tensor=True)
    tensors = {"include_collections": ["weights", "gradients"], "reduction_config": raw}
    never = SaveConfig(save_interval=10**9, start_step=1)
    kinds: dict[str, tuple[int, int, float, dict[str, Any]]] = {
        "losses every step": (2, 2, 1.0, {"save_config": never}),
        "statistics every 10 steps": (10, 10, 1.0, {"save_config": SaveConfig(save_interval=10)}),
        "tensors every 100 steps": (10, 10, 0.1, {"save_config": SaveConfig(save_interval=10**9), **tensors}),
    }
    with tempfile.TemporaryDirectory() as folder:  # what is imported once is no overhead of a step
        hook = Hook(folder)
        hook.register_module(net)
        steps(2)
        hook.close()
    rows = []
    for kind, (off_steps, on_steps, share, options) in kinds.items():
        ratios, own = list[float](), list[float]()
        end = time.monotonic() + _SECONDS
        while len(ratios) < pairs and (len(ratios) < 5 or time.monotonic() < end):
            off_first = len(ratios) % 2 == 0
            off = steps(off_steps) if off_first else (0.0, 0.0)
            with tempfile.TemporaryDirectory() as folder:
                hook = Hook(folder, **options)
                hook.register_module(net)
                on = steps(on_steps)
                hook.close()
                assert list(Path(folder).rglob("*.parquet"))
            off = off if off_first else steps(off_steps)
            ratios.append(100 * share * (on[0] / off[0] - 1))
            own.append(100 * share * (on[1] / off[1] - 1))
        rows.append((kind, *shown(ratios), *shown(own), len(ratios)))
        print(*rows[-1], sep="  ", file=sys.stderr, flush=True)
    header = (f"{name}, {batch} pictures of 224 px", "by the clock", "95 %", "of the loop's thread", "95 %", "pairs")
    table(header, rows)
    peer = os.environ.get("VIZSLA_SMDEBUG_PYTHON") or str(Path.home() / ".cache/vizsla/smdebug-venv/bin/python")
    if Path(peer).exists():
        script = Path(__file__).with_name("debugger_smdebug.py")
        said = subprocess.run([peer, script, name, "5", str(batch)], capture_output=True, text=True, check=True)
        rows = []
        for kind, ratios in json.loads(said.stdout.splitlines()[-1]).items():
            rows.append((f"smdebug: {kind}", *shown(ratios), "", "", len(ratios)))
        table(header, rows)
    else:
        print(f"smdebug is not measured beside it: there is no {peer} (VIZSLA_SMDEBUG_PYTHON names another)")


def shown(values: Sequence[float], draws: int = 2000) -> tuple[str, str]:
    """The median, and the bootstrap's 95 % interval of it."""
    rng = np.random.default_rng(0)
    medians = np.median(rng.choice(np.array(values), (draws, len(values))), axis=1)
    low, high = np.quantile(medians, [0.025, 0.975])
    return f"{statistics.median(values):.2f} %", f"{low:.2f} to {high:.2f} %"


def _mark(judged: Judged) -> str:
    if not judged.run.expected:
        return "FALSE ALARM" if judged.spoke else "ok"
    return ("found" if judged.found else "MISSED") + (f" (false: {', '.join(judged.false)})" if judged.false else "")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["faults", "overhead"])
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--set", choices=SETS, default="dev")
    parser.add_argument("--only", default="")
    parser.add_argument("--show", action="store_true", help="print the findings")
    parser.add_argument("--keep", type=Path, help="keep what was recorded there, and do not train again what is there")
    arguments = parser.parse_args()
    if arguments.what == "overhead":
        overhead(arguments.model, arguments.pairs, arguments.batch)
        return
    torch.set_num_threads(1)
    photos, runs = runs_of(arguments.set)
    results = []
    for run in runs:
        if arguments.only not in run.name:
            continue
        began = time.perf_counter()
        judged = judge(run, photos, arguments.keep and arguments.keep / arguments.set)
        results.append(judged)
        print(f"{time.perf_counter() - began:5.1f} s  {run.name}: {_mark(judged)}", flush=True)
        for finding in judged.findings if arguments.show else ():
            print("        ", finding.severity, finding.note)
    report(arguments.set, results)


if __name__ == "__main__":
    main()
