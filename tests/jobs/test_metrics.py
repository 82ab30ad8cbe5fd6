"""Values over time: written whole by whoever writes them, read back as they were given."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vizsla.errors import UsageError
from vizsla.jobs import inside, metrics
from vizsla.jobs.inside import log_metric
from vizsla.jobs.metrics import MetricWriter, read_metrics
from vizsla.jobs.recorder import thin


@pytest.fixture
def in_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process belongs to the job in ``tmp_path``."""
    monkeypatch.setattr(inside, "_writer", None)
    monkeypatch.setenv("VIZSLA_JOB_DIR", str(tmp_path))


def test_a_line_cut_off_by_a_kill_is_passed_over_and_never_joined(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    writer = MetricWriter(path)
    writer.append("loss", float("nan"), step=1)
    writer.close()
    with open(path, "a") as file:
        file.write('{"time": 1, "name": "lo')
    again = MetricWriter(path)
    again.append("loss", 2.0, step=2, epoch=0.5)
    again.close()
    found = list(read_metrics(path))
    assert [(m.name, m.step, m.epoch) for m in found] == [("loss", 1, None), ("loss", 2, 0.5)]
    assert found[0].value != found[0].value


def _write(path: Path, name: str) -> None:
    writer = MetricWriter(path)
    for step in range(2000):
        writer.append(name, step, step)
    writer.close()


def test_several_processes_write_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_write, args=(path, f"w{i}")) for i in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert all(json.loads(line) for line in path.read_text().splitlines())
    for i in range(3):
        assert [m.step for m in read_metrics(path) if m.name == f"w{i}"] == list(range(2000))


def _log_many(name: str) -> None:
    for step in range(200):
        log_metric(name, float(step), step=step)


_NAMES = st.sampled_from(["loss", "null", ":null", "a},{b", "two\nlines", 'quote "', "\ud800", "Größe"]) | st.text()
_STEPS = st.none() | st.integers() | st.integers(0, 9).map(np.int64)


@pytest.mark.parametrize("encoder", ["orjson", "none"])  # a job's supervisor has the standard library alone
@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(_NAMES, st.floats(), _STEPS, st.none() | st.floats(0, 100)), min_size=1, max_size=8))
def test_every_value_comes_back_whatever_it_is(
    tmp_path_factory: pytest.TempPathFactory,
    encoder: str,
    values: list[tuple[str, float, int | None, float | None]],
) -> None:
    path = tmp_path_factory.mktemp("metrics") / "metrics.jsonl"
    writer = MetricWriter(path)
    began = time.time()
    with patch.object(metrics, "_ENCODE", metrics._ENCODE if encoder == "orjson" else None):
        for value in values:
            writer.append(*value)
        writer.close()
    found = list(read_metrics(path))
    assert [repr((m.name, m.value, m.step, m.epoch)) for m in found] == [
        repr((name, value, None if step is None else int(step), epoch)) for name, value, step, epoch in values
    ]
    assert all(began <= metric.time <= time.time() for metric in found)


def test_what_is_no_number_is_refused_by_name(tmp_path: Path) -> None:
    writer = MetricWriter(tmp_path / "metrics.jsonl")
    for arguments, words in (
        (("loss", "high"), "The value of metric 'loss' is not a number: 'high'"),
        (("loss", 1.0, "third"), "The step of metric 'loss' is not a number: 'third'"),
        (("loss", 1.0, 3, "last"), "The epoch of metric 'loss' is not a number: 'last'"),
    ):
        with pytest.raises(UsageError, match=words) as caught:
            writer.append(*arguments)  # type: ignore[arg-type]
        assert "an array or tensor of one element" in str(caught.value)


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.usefixtures("in_a_job")
def test_children_lose_and_double_no_value(tmp_path: Path, method: str) -> None:
    for turn in range(10 if method == "fork" else 1):
        _log_many(f"before {turn}")  # its last values wait for the thread when the child is forked
        child = multiprocessing.get_context(method).Process(target=_log_many, args=(f"child {turn}",))
        child.start()
        _log_many(f"after {turn}")
        child.join()
        assert child.exitcode == 0
    assert inside._writer is not None
    inside._writer.close()
    values: dict[str, list[float]] = {}
    for metric in read_metrics(tmp_path / "metrics.jsonl"):
        values.setdefault(metric.name, []).append(metric.value)
    assert len(values) == (30 if method == "fork" else 3)
    assert all(found == [float(step) for step in range(200)] for found in values.values())


def test_log_metric_outside_a_job() -> None:
    assert log_metric("loss", 1.0) is False


@pytest.mark.usefixtures("in_a_job")
def test_log_metric_in_a_job(tmp_path: Path) -> None:
    assert log_metric("loss", 1, step=3) is True
    assert [(m.value, m.step) for m in read_metrics(tmp_path / "metrics.jsonl")] == [(1.0, 3)]
    with pytest.raises(UsageError, match="metric 'loss' is not a number: 'high'"):
        log_metric("loss", "high")  # type: ignore[arg-type]


THREADS = """
import threading, vizsla
go = threading.Barrier(4)
def log(at):
    go.wait()
    for step in range(1000): vizsla.log_metric(f"t{at}", 0.5, step)
threads = [threading.Thread(target=log, args=(at,)) for at in range(4)]
for t in threads: t.start()
for t in threads: t.join()
"""

HANDLER = """
import os, signal, threading, vizsla
count = 0
def handler(*_):
    global count
    count += 1
    vizsla.log_metric("handler", 0.5, count)
signal.signal(signal.SIGUSR1, handler)
def bother():
    for _ in range(2000):
        os.kill(os.getpid(), signal.SIGUSR1)
thread = threading.Thread(target=bother); thread.start()
step = 0
while thread.is_alive():
    step += 1
    vizsla.log_metric("loop", 0.5, step)
print(step, count)
"""


def run_in_a_job(text: str, folder: Path) -> str:
    environment = os.environ | {"VIZSLA_JOB_DIR": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", text], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout


def test_threads_that_begin_at_once_lose_nothing(tmp_path: Path) -> None:
    for turn in range(4):
        folder = tmp_path / str(turn)
        folder.mkdir()
        run_in_a_job(THREADS, folder)
        assert sum(1 for _ in read_metrics(folder / "metrics.jsonl")) == 4000


def test_a_signal_handler_may_log_while_the_loop_does(tmp_path: Path) -> None:
    loops, handled = map(int, run_in_a_job(HANDLER, tmp_path).split())
    names = [metric.name for metric in read_metrics(tmp_path / "metrics.jsonl")]
    assert (names.count("loop"), names.count("handler")) == (loops, handled)


def test_in_a_job_the_first_value_needs_no_import_that_a_signal_may_interrupt(tmp_path: Path) -> None:
    assert run_in_a_job("import vizsla; print('log_metric' in vars(vizsla))", tmp_path) == "True\n"


def test_a_signal_handler_may_log_while_the_first_value_opens_the_file(tmp_path: Path) -> None:
    script = """
import os, signal, vizsla
from vizsla.jobs import inside
signal.signal(signal.SIGUSR1, lambda *_: vizsla.log_metric("handler", 0.5, 1))
class Interrupted(inside.MetricWriter):
    def __init__(self, path):
        if inside.MetricWriter is Interrupted:
            inside.MetricWriter = Interrupted.__base__
            os.kill(os.getpid(), signal.SIGUSR1)
        super().__init__(path)
inside.MetricWriter = Interrupted
vizsla.log_metric("loop", 0.5, 1)
"""
    run_in_a_job(script, tmp_path)
    assert sorted(metric.name for metric in read_metrics(tmp_path / "metrics.jsonl")) == ["handler", "loop"]


def test_the_last_value_of_each_name_is_found_without_reading_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "_BLOCK_BYTES", 100)  # lines go over the border of two blocks
    writer = MetricWriter(tmp_path / "metrics.jsonl")
    names = ["loss", 'a "name":"loss",', "\\", "précision\n", "rare"]
    for step in range(40):
        for name in names[: 5 if step == 3 else 4]:
            writer.append(name, step / 3 if step % 2 else float("nan"), step, step / 7 if step % 5 else None)
    writer.close()
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"time":1.0,"name":"loss","val')  # cut off by a kill
    last = metrics.last_metrics(tmp_path / "metrics.jsonl")
    assert list(last) == names
    assert last == {metric.name: metric for metric in read_metrics(tmp_path / "metrics.jsonl")}
    assert metrics.last_metrics(tmp_path / "none") == {}


def test_what_an_exit_handler_logs_is_written(tmp_path: Path) -> None:
    run_in_a_job(
        "import atexit; atexit.register(lambda: [vizsla.log_metric('end', 0.5, i) for i in range(50)]); import vizsla\n"
        "vizsla.log_metric('loop', 1.0, 1)",
        tmp_path,
    )
    assert [m.name for m in read_metrics(tmp_path / "metrics.jsonl")].count("end") == 50


def test_mlflow_is_told_a_part_of_a_fast_stream_and_all_of_a_slow_one() -> None:
    fast = [metrics.Metric("fast", float(i), i, time=1000 + i / 10_000) for i in range(20_000)]
    slow = [metrics.Metric("slow", float(i), i, time=1000.0) for i in range(40)]
    kept = thin([*slow, *fast])
    assert [m.value for m in kept if m.name == "slow"] == [m.value for m in slow]
    found = [m for m in kept if m.name == "fast"]
    assert len(found) == 20
    assert found[-1] is fast[-1]
