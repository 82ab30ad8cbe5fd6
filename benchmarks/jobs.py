"""What running as a job costs, and what it survives.

    python benchmarks/jobs.py [--quick] [overhead training watching list metrics log soak]

Every comparison is interleaved in one run; medians are printed with their spread. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
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

from vizsla.jobs import attempt as attempts
from vizsla.jobs.controller import follow, summaries
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.executors.base import Handle
from vizsla.jobs.executors.local import LocalExecutor
from vizsla.jobs.here import running_here
from vizsla.jobs.metrics import MetricWriter, read_metrics
from vizsla.jobs.spec import ResourceConfig, TrainingJobSpec, script_hyper_parameters


def spread(values: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):.3f} s (of {len(values)}: {min(values):.3f} to {max(values):.3f})"


def script_job(home: Path, text: str, name: str | None = None) -> TrainingJobSpec:
    """A job that runs this text."""
    folder = Path(tempfile.mkdtemp(dir=home.parent))
    (folder / "train.py").write_text(textwrap.dedent(text))
    return TrainingJobSpec(
        training_job_name=name,
        hyper_parameters=script_hyper_parameters("train.py", folder, {}),
        resource_config=ResourceConfig(instance_type="local-1cpu"),
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
    """A loop of 10,000 steps a second (a matrix product each), with and without a metric a step.

    Processor time is compared, which other work on the machine does not touch: that of the loop's own thread, and
    that of the whole process, with the thread that formats and writes (all of it could at most be in the loop's way).
    """
    path = home.parent / "metrics.jsonl"
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

    def loop(append: Callable[[int], None]) -> tuple[float, float]:
        """Processor seconds of the loop, and of the process with what the loop left to be written."""
        thread, process = time.thread_time(), time.process_time()
        for step in range(steps):
            matrix @ matrix
            append(step)
        writer.flush()
        return time.thread_time() - thread, time.process_time() - process

    writer = MetricWriter(path)
    loops, processes, seconds = [], [], []
    for turn in range(5 if quick else 25):
        times = {}
        for on in (True, False) if turn % 2 else (False, True):
            times[on] = loop((lambda step: writer.append("loss", 0.123456, step)) if on else (lambda step: None))
        loops.append(100 * (times[True][0] / times[False][0] - 1))
        processes.append(100 * (times[True][1] / times[False][1] - 1))
        seconds.append(times[True][0])
    writer.close()
    written = sum(1 for _ in read_metrics(path))
    print(f"  {steps / statistics.median(seconds):,.0f} metrics a second; {written:,} lines written")
    for label, ratios in (("the loop", loops), ("the whole process", processes)):
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(
            f"  {label} takes {middle:.2f} % more (half of {len(ratios)} pairs: {low:.2f} to {high:.2f} %; limit: 1 %)"
        )


def long_log(home: Path, quick: bool) -> None:
    """A log of 2 GB."""
    blocks = 200 if quick else 2000
    text = f"""
        import sys
        block = ("y" * 99 + "\\n") * 10_000
        for i in range({blocks}): sys.stdout.write(block)
    """
    executor = LocalExecutor(home)
    began = time.perf_counter()
    handle = executor.submit(script_job(home, text), "log")
    assert follow(executor, handle).ended_well
    kept = (handle.path / "logs.txt").stat().st_size
    seconds = time.perf_counter() - began
    print(f"  {blocks * 1_000_000 / 1e9:.1f} GB written in {seconds:.1f} s, {kept / 1e6:.0f} MB kept")


EPOCHS = """
    import json, os, pathlib, time, vizsla
    job = pathlib.Path(os.environ["VIZSLA_JOB_DIR"])
    ledger = os.open(LEDGER, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    last = job / "checkpoints" / "last.json"
    epoch = json.loads(last.read_text())["epoch"] if last.exists() else 0
    while True:
        epoch += 1
        vizsla.log_metric("loss", 1 / epoch, step=epoch)
        time.sleep(0.02)
        part = last.with_suffix(".tmp")
        part.write_text(json.dumps({"epoch": epoch}))
        part.replace(last)
        os.write(ledger, f"{epoch}\\n".encode())  # from here on, the epoch is finished
"""

CONTROLLER = """
    import sys
    from pathlib import Path
    from vizsla.jobs.controller import follow
    from vizsla.jobs.executors.base import Handle
    from vizsla.jobs.executors.local import LocalExecutor
    executor = LocalExecutor(Path(sys.argv[1]).parent)
    handle = executor.resume(Handle(Path(sys.argv[1]).name, Path(sys.argv[1])))
    print("has it", flush=True)
    follow(executor, handle)
"""


def soak(home: Path, quick: bool) -> None:
    """Kills job, supervisor or controller at random moments; after each kill every file must tell the truth."""
    kills = 10 if quick else 200
    ledger, moments = home.parent / "ledger", random.Random(1)
    executor = LocalExecutor(home)
    handle = executor.submit(script_job(home, EPOCHS.replace("LEDGER", repr(str(ledger))), "soak"), "soak")
    executor.close()
    counts = {"job": 0, "supervisor": 0, "controller": 0}
    while sum(counts.values()) < kills:
        controller = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(CONTROLLER), str(handle.path)], stdout=subprocess.PIPE, text=True
        )
        assert controller.stdout is not None
        assert controller.stdout.readline() == "has it\n"
        time.sleep(moments.uniform(0, 0.6))
        victim = moments.choice(list(counts))
        found = attempts.running(JobDirectory(handle.path), JobDirectory(handle.path).state.attempts)
        pids = {
            "controller": controller.pid,
            "job": found.group if found else controller.pid,
            "supervisor": found.supervisor if found else controller.pid,
        }
        os.kill(pids[victim], signal.SIGKILL)
        counts[victim] += 1
        if victim == "controller" or not found:
            controller.wait()
        else:
            controller.wait(30)  # it sees the end and writes it down
        controller.stdout.close()
        check(handle, ledger)
    attempts.request_stop(JobDirectory(handle.path), JobDirectory(handle.path).state, 0, None)
    time.sleep(1)
    state = attempts.settle(JobDirectory(handle.path))
    finished = len(ledger.read_text().split())
    print(f"  {sum(counts.values())} kills ({counts}), {state.attempts} attempts, {finished:,} finished epochs")
    print("  every finished epoch is in the metrics and the checkpoint; every file was readable after every kill")


def check(handle: Handle, ledger: Path) -> None:
    """No finished epoch is lost and no file is unreadable."""
    for path in handle.path.rglob("*.json"):
        json.loads(path.read_bytes())
    finished = {int(line) for line in (ledger.read_text() if ledger.exists() else "").split()}
    values = {metric.step for metric in read_metrics(handle.path / "metrics.jsonl")}
    assert finished <= values, sorted(finished - values)
    if finished:
        assert json.loads((handle.path / "checkpoints" / "last.json").read_text())["epoch"] >= max(finished)
    assert JobDirectory.open(handle.path).state.status in ("Pending", "InProgress", "Failed")


PARTS = {
    "overhead": overhead,
    "training": training,
    "watching": watching,
    "list": listing,
    "metrics": metrics,
    "log": long_log,
    "soak": soak,
}


def main() -> None:
    """Run the chosen parts."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    parser.add_argument("parts", nargs="*", default=list(PARTS), help=" ".join(PARTS))
    arguments = parser.parse_args()
    os.environ["VIZSLA_TRACKING"] = "off"
    for part in arguments.parts:
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder) / "runs"
            home.mkdir()
            print(f"{part}: {(PARTS[part].__doc__ or '').splitlines()[0]}", flush=True)
            PARTS[part](home, arguments.quick)


if __name__ == "__main__":
    main()
