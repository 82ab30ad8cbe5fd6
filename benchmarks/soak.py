"""What a job survives: a log of 2 GB, and kills at random moments.

python -m benchmarks.soak [--quick] [log soak]
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

from benchmarks.jobs import run_parts, script_job
from vizsla.jobs import attempt as attempts
from vizsla.jobs.controller import follow
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.events import Handle
from vizsla.jobs.executors.local import LocalExecutor
from vizsla.jobs.metrics import read_metrics


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
    from vizsla.jobs.events import Handle
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
    handle = executor.submit(script_job(home, EPOCHS.replace("LEDGER", repr(str(ledger)))), "soak")
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
    attempts.request_stop(JobDirectory(handle.path), 0, None)
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


if __name__ == "__main__":
    run_parts({"log": long_log, "soak": soak}, __doc__)
