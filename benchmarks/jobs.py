"""What running as a job costs. What it survives is in soak.py.

    python benchmarks/jobs.py [--quick] [overhead training watching long list metrics]

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


def overhead(home: Path, quick: bool) -> None:
    """A script alone and as a job, tracking on and off; and the job that ``fit`` keeps in its own process."""
    text = "print('hello')"
    times: dict[str, list[float]] = {"alone": [], "as a job": [], "as a job, tracking on": [], "within a process": []}
    for _ in range(4 if quick else 20):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-u", "-c", text], stdout=subprocess.DEVNULL, check=True)
        times["alone"].append(time.perf_counter() - began)
        for tracking, label in (("off", "as a job"), ("", "as a job, tracking on")):
            os.environ["VIZSLA_TRACKING"] = tracking
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
    """Processor time that controller and supervisor take while a job runs and prints 100 lines a second."""
    seconds = 5 if quick else 30
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
    used, began, looked, supervisor = time.process_time(), time.perf_counter(), 0.0, 0.0

    def look(event: object) -> None:
        nonlocal supervisor, looked
        if time.perf_counter() - looked < 1:
            return
        looked = time.perf_counter()
        found = attempts.running(JobDirectory(handle.path), 1)
        if found is not None and os.path.exists(f"/proc/{found.supervisor}/stat"):
            fields = Path(f"/proc/{found.supervisor}/stat").read_text().rpartition(")")[2].split()
            supervisor = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    follow(executor, handle, look)
    wall = time.perf_counter() - began
    controller = time.process_time() - used
    print(f"  controller {controller:.2f} s, supervisor {supervisor:.2f} s of processor time in {wall:.1f} s")
    print(f"  {100 * (controller + supervisor) / wall:.2f} % of one core (limit: 1 % of a 5-minute run)")


TRAINING = """
    import sys, time, torch, torchvision, vizsla
    torch.manual_seed(0)
    pictures, labels = torch.rand(64, 3, 64, 64), torch.arange(64) % 10
    model = torchvision.models.resnet18(num_classes=10)
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    for step in range(int(sys.argv[1])):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(pictures), labels)
        loss.backward()
        optimizer.step()
        print(f"step {step} Training Loss: {loss.item():.4f}", flush=True)
        vizsla.log_metric("loss", loss.item(), step=step)
"""


def long_run(home: Path, quick: bool) -> None:
    """A training script of 5 minutes, as a job (log, metrics, recorded on MLflow) and alone; short ones twice."""
    os.environ["VIZSLA_TRACKING"] = ""  # as a user has it; the recorder is no child: it shows by the clock alone
    wanted = 20 if quick else 300
    text = textwrap.dedent(TRAINING)

    def alone(steps: int) -> None:
        command = [sys.executable, "-u", "-c", text, str(steps)]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)

    def as_a_job(steps: int) -> None:
        executor = LocalExecutor(home)
        spec = script_job(
            home,
            text.replace("sys.argv[1]", str(steps)),
            cpus=usable_cores(),
            scraped=r"Training Loss: ([0-9.]+)",
        )
        assert follow(executor, executor.submit(spec, "long")).ended_well

    def costs(run: Callable[[int], None], steps: int) -> tuple[float, float]:
        """Seconds by the clock, and of processor time in this process and all below it."""
        clock, before = time.perf_counter(), os.times()
        run(steps)
        after = os.times()
        return time.perf_counter() - clock, sum(after[:4]) - sum(before[:4])

    steps = 40
    begin, more = costs(alone, 1)[0], costs(alone, 1 + steps)[0]
    steps = max(1, round(steps * (wanted - begin) / (more - begin)))
    taken: dict[str, list[tuple[float, float]]] = {"alone": [], "as a job": []}
    for label, run in (("as a job", as_a_job), ("alone", alone)) * (2 if quick else 1):
        taken[label].append(costs(run, steps))
        print(
            f"  {label:<10} {steps} steps: {taken[label][-1][0]:.1f} s, processor {taken[label][-1][1]:.1f} s",
            flush=True,
        )
    for what, which in (("by the clock", 0), ("of processor time", 1)):
        job, bare = (statistics.mean(c[which] for c in taken[label]) for label in ("as a job", "alone"))
        print(f"  {100 * (job / bare - 1):+.2f} % {what} (limit: 1 %)")


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

    def loop(append: Callable[[int], None]) -> tuple[float, float, float]:
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
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder) / "runs"
            home.mkdir()
            print(f"{name}: {(parts[name].__doc__ or '').splitlines()[0]}", flush=True)
            parts[name](home, arguments.quick)


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
