"""What running as a job costs. What it survives is in soak.py.

    python -m benchmarks.jobs [--quick] [overhead training watching long list metrics]

Every comparison is interleaved in one run; medians are printed with their spread. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

import vizsla
from vizsla.jobs import attempt as attempts
from vizsla.jobs import tracking
from vizsla.jobs.controller import follow, summaries
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.executors.local import LocalExecutor
from vizsla.jobs.here import running_here
from vizsla.jobs.metrics import flush_all, read_metrics
from vizsla.jobs.spec import (
    AlgorithmSpecification,
    MetricDefinition,
    ResourceConfig,
    TrainingJobSpec,
    script_hyper_parameters,
)
from vizsla.settings import usable_cores


def spread(values: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):.3f} s (of {len(values)}: {min(values):.3f} to {max(values):.3f})"


def script_job(home: Path, text: str, *, cpus: int = 1, scraped: str | None = None) -> TrainingJobSpec:
    """A job that runs this text; ``scraped`` is the regular expression of a metric in its log."""
    folder = Path(tempfile.mkdtemp(dir=home.parent))
    (folder / "train.py").write_text(textwrap.dedent(text))
    return TrainingJobSpec(
        algorithm_specification=AlgorithmSpecification(
            metric_definitions=[MetricDefinition(name="scraped", regex=scraped)] if scraped else None
        ),
        hyper_parameters=script_hyper_parameters("train.py", folder, {}),
        resource_config=ResourceConfig(instance_type=f"local-{cpus}cpu"),
    )


def recorded(home: Path) -> None:
    """Wait until MLflow knows of every job: its import must not run beside what is measured next."""
    while any(tracking.due(home)):
        time.sleep(0.2)


def overhead(home: Path, quick: bool) -> None:
    """A script alone and as a job, tracking on and off; and the job that ``fit`` keeps in its own process."""
    text = "print('hello')"
    times: dict[str, list[float]] = {"alone": [], "as a job": [], "as a job, tracking on": [], "within a process": []}
    for _ in range(4 if quick else 20):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-u", "-c", text], stdout=subprocess.DEVNULL, check=True)
        times["alone"].append(time.perf_counter() - began)
        for address, label in (("off", "as a job"), ("", "as a job, tracking on")):
            os.environ["VIZSLA_TRACKING"] = address
            spec, executor = script_job(home, text), LocalExecutor(home)
            began = time.perf_counter()
            state = follow(executor, executor.submit(spec, "overhead"))
            times[label].append(time.perf_counter() - began)
            assert state.ended_well, state
        began = time.perf_counter()
        with running_here("train", "here", {}, home=home):
            pass
        times["within a process"].append(time.perf_counter() - began)
    os.environ["VIZSLA_TRACKING"] = "off"
    alone = statistics.median(times["alone"])
    for label, values in times.items():
        more = "" if label == "alone" else f", overhead {statistics.median(values) - alone * (label[0] == 'a'):.3f} s"
        print(f"  {label:<24} {spread(values)}{more}")
    print("  (limit: 2 s)")


def training(home: Path, quick: bool) -> None:
    """The built-in training: ``vizsla fit`` (a job in its own process) and ``vizsla train`` (a process of its own)."""
    data, draw = home.parent / "photos", np.random.default_rng(0)
    for i in range(60):
        path = data / ("red", "green")[i % 2] / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    values = {"backbone": "test_resnet", "random_init": True, "epochs": 5}
    commands = {
        "fit": ["fit", str(data), "--backbone", "test_resnet", "--random-init", "--epochs", "5"],
        "train": ["train", str(data), "--hp", json.dumps(values)],
    }
    environment = os.environ | {"VIZSLA_HOME": str(home), "VIZSLA_CACHE": str(home.parent / "cache")}
    times: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(4 if quick else 11):
        for name, words in commands.items():
            began = time.perf_counter()
            command = [sys.executable, "-m", "vizsla", *words]
            subprocess.run(command, env=environment, capture_output=True, check=True)
            if turn:  # the first fills the cache
                times[name].append(time.perf_counter() - began)
    for name, taken in times.items():
        print(f"  vizsla {name:<6} {spread(taken)}")
    more = statistics.median(times["train"]) - statistics.median(times["fit"])
    print(f"  overhead of the process of its own {more:.3f} s (limit: 2 s)")


def watching(home: Path, quick: bool) -> None:
    """Processor time that everything beside a job takes while it runs and prints 100 lines a second, tracking on."""
    os.environ["VIZSLA_TRACKING"] = ""
    seconds = 5 if quick else 300
    executor = LocalExecutor(home)
    handle = executor.submit(
        script_job(
            home,
            f"""
            import time, vizsla
            for i in range({seconds * 100}):
                print("step", i, "loss", 1 / (i + 1), flush=True)
                vizsla.log_metric("loss", 1 / (i + 1), step=i)
                time.sleep(0.01)
            """,
        ),
        "watched",
    )
    used, began, looked = time.process_time(), time.perf_counter(), 0.0
    beside: dict[str, float] = {}

    def look(event: object) -> None:
        nonlocal looked
        if time.perf_counter() - looked < 1:
            return
        looked = time.perf_counter()
        found = attempts.running(JobDirectory(handle.path), 1)
        pids = {"supervisor": found.supervisor if found else 0}
        for name, pid in pids.items():
            if os.path.exists(f"/proc/{pid}/stat"):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                beside[name] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    follow(executor, handle, look)
    os.environ["VIZSLA_TRACKING"] = "off"
    wall = time.perf_counter() - began
    beside["controller"] = time.process_time() - used
    parts = ", ".join(f"{name} {value:.2f} s" for name, value in sorted(beside.items()))
    print(f"  {parts} of processor time in {wall:.1f} s")
    print(f"  {100 * sum(beside.values()) / wall / usable_cores():.2f} % of {usable_cores()} cores (limit: 1 %)")


TRAINING = """
    import os, sys, time, torch, torchvision, vizsla
    torch.manual_seed(0)
    pictures, labels = torch.rand(64, 3, 64, 64), torch.arange(64) % 10
    model = torchvision.models.resnet18(num_classes=10)
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    for step in range({steps} + 5):
        if step == 5:
            began, before = time.perf_counter(), time.process_time()
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(pictures), labels)
        loss.backward()
        optimizer.step()
        print(f"step {{step}} Training Loss: {{loss.item():.4f}}", flush=True)
        vizsla.log_metric("loss", loss.item(), step=step)
    print("took", time.perf_counter() - began, time.process_time() - before)
"""


def long_run(home: Path, quick: bool) -> None:
    """The loop of a training script on all cores, alone and as a job with log, metrics and tracking, turn by turn.

    Pairs of half a minute, as the machine's own speed changes from minute to minute by more than is looked for. A job
    of five minutes is the same loop for longer; its start and end are in ``overhead``, the processes beside it in
    ``watching``.
    """
    os.environ["VIZSLA_TRACKING"] = ""  # as a user has it
    seconds, pairs = (5, 3) if quick else (30, 10)

    def alone(steps: int) -> tuple[float, float]:
        command = [sys.executable, "-u", "-c", textwrap.dedent(TRAINING).format(steps=steps)]
        return told(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)

    def as_a_job(steps: int) -> tuple[float, float]:
        executor = LocalExecutor(home)
        text = TRAINING.format(steps=steps)
        spec = script_job(home, text, cpus=usable_cores(), scraped=r"Training Loss: ([0-9.]+)")
        handle = executor.submit(spec, "long")
        assert follow(executor, handle).ended_well
        recorded(home)
        return told((handle.path / "logs.txt").read_text())

    def told(log: str) -> tuple[float, float]:
        _, clock, processor = log.splitlines()[-1].split()
        return float(clock), float(processor)

    steps = round(20 * seconds / alone(20)[0])
    clock, processor = [], []
    for turn in range(pairs):
        order = (alone, as_a_job) if turn % 2 else (as_a_job, alone)
        results = {run: run(steps) for run in order}
        clock.append(100 * (results[as_a_job][0] / results[alone][0] - 1))
        processor.append(100 * (results[as_a_job][1] / results[alone][1] - 1))
    os.environ["VIZSLA_TRACKING"] = "off"
    for what, values in (("by the clock", clock), ("of its own processor time", processor)):
        low, middle, high = statistics.quantiles(values, n=4)
        print(f"  {middle:+.2f} % {what} (half of {pairs} pairs: {low:+.2f} to {high:+.2f}; limit: 1 %)")


def listing(home: Path, quick: bool) -> None:
    """A thousand finished jobs, listed."""
    count, place = (200 if quick else 1000), home.parent / "many"
    for i in range(count):
        job = JobDirectory.create("train", f"flowers-{i}", {"HyperParameters": {"lr": "0.1"}}, place)
        job.set_state("InProgress")
        job.set_state("Completed")
    times = []
    for _ in range(5):
        began = time.perf_counter()
        found = list(summaries(place))
        times.append(time.perf_counter() - began)
    assert len(found) == count
    began = time.perf_counter()
    command = [sys.executable, "-m", "vizsla", "jobs", "list", "--json", "--last", "0"]
    subprocess.run(command, env=os.environ | {"VIZSLA_HOME": str(place)}, stdout=subprocess.DEVNULL, check=True)
    print(f"  {count:,} jobs: {spread(times)}; the whole command {time.perf_counter() - began:.2f} s (limit: 1 s)")


def metrics(home: Path, quick: bool) -> None:
    """A loop of 10,000 steps a second (a matrix product each), with and without a call of ``vizsla.log_metric`` a step.

    Compared are the loop by the clock (what its user waits for), which wants an idle machine, and what other work on
    the machine does not touch: processor time of the loop's own thread, and of the whole process, with the thread
    that formats and writes.
    """
    os.environ["VIZSLA_JOB_DIR"] = str(home)  # as the supervisor tells a job
    size, takes = 32, 0.0
    while takes < 1e-4:
        size += 8
        matrix = np.random.default_rng(0).random((size, size))
        begins = []
        for _ in range(50):
            began = time.thread_time()
            matrix @ matrix
            begins.append(time.thread_time() - began)
        takes = statistics.median(begins)
    steps = 5_000

    def loop(append: Callable[[int], object]) -> tuple[float, float, float]:
        """Seconds by the clock and of the loop's thread, and of the process with what the loop left to be written."""
        clock, thread, process = time.perf_counter(), time.thread_time(), time.process_time()
        for step in range(steps):
            matrix @ matrix
            append(step)
        clock, thread = time.perf_counter() - clock, time.thread_time() - thread
        flush_all()
        return clock, thread, time.process_time() - process

    pairs: list[tuple[tuple[float, float, float], tuple[float, float, float]]] = []
    for turn in range(5 if quick else 51):
        times = {}
        for on in (True, False) if turn % 2 else (False, True):
            times[on] = loop(
                (lambda step: vizsla.log_metric("loss", 1 / (step + 1), step)) if on else (lambda step: 1 / (step + 1))
            )
        pairs.append((times[True], times[False]))
    written = sum(1 for _ in read_metrics(home / "metrics.jsonl"))
    assert written == len(pairs) * steps
    del os.environ["VIZSLA_JOB_DIR"]
    rate = steps / statistics.median(on[0] for on, _ in pairs)
    print(f"  {rate:,.0f} metrics a second; {written:,} lines written")
    for which, label in enumerate(("the loop by the clock", "its thread", "the whole process")):
        low, middle, high = statistics.quantiles([100 * (on[which] / off[which] - 1) for on, off in pairs], n=4)
        print(
            f"  {label} takes {middle:.2f} % more (half of {len(pairs)} pairs: {low:.2f} to {high:.2f} %; limit: 1 %)"
        )


def run_parts(parts: dict[str, Callable[[Path, bool], None]], description: str | None) -> None:
    """The chosen parts of a benchmark, each in an empty folder."""
    parser = argparse.ArgumentParser(description=(description or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    parser.add_argument("parts", nargs="*", default=list(parts), help=" ".join(parts))
    arguments = parser.parse_args()
    os.environ["VIZSLA_TRACKING"] = "off"
    for name in arguments.parts:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # the recorder may still look
            home = Path(folder) / "runs"
            home.mkdir()
            print(f"{name}: {(parts[name].__doc__ or '').splitlines()[0]}", flush=True)
            parts[name](home, arguments.quick)
            recorded(home)


if __name__ == "__main__":
    run_parts(
        {
            "overhead": overhead,
            "training": training,
            "watching": watching,
            "long": long_run,
            "list": listing,
            "metrics": metrics,
        },
        __doc__,
    )
