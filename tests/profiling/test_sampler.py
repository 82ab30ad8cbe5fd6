"""The sampler: a real process, its files, and what it does about trouble."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from vizsla.errors import UsageError
from vizsla.jobs.directory import JobDirectory
from vizsla.profiling.compaction import compact_all, compact_hour
from vizsla.profiling.config import ProfilerConfig
from vizsla.profiling.counters import Counters
from vizsla.profiling.layout import output_of
from vizsla.profiling.profile import JobProfile
from vizsla.profiling.sampler import Lines
from vizsla.profiling.samples import Samples
from vizsla.profiling.start import end_sampler, new_clock, start_sampler

pd = pytest.importorskip("pandas")


def wait_for_samples(job: JobDirectory, n: int) -> None:
    end = time.monotonic() + 20
    while len(JobProfile(job.path).samples) < n and time.monotonic() < end:
        time.sleep(0.05)


def test_the_samples_are_those_that_sagemaker_writes(job: JobDirectory) -> None:
    pid = start_sampler(job.path, 0.1, new_clock(), os.getpid())
    wait_for_samples(job, 60)
    end_sampler(pid)
    profile = JobProfile(job.path)
    (folder,) = {path.parent for path in (profile.folder / "system" / "incremental").glob("*/*.algo-1.json")}
    assert len(folder.name) == 10
    frame = profile.system_metrics()
    columns = ["timestamp", "timestamp_us", "value", "system_metric", "dimension", "nodeID", "type"]
    assert list(frame.columns) == columns
    assert frame["system_metric"][0] == "MemoryUsedPercent", "rates need two reads"
    kinds = {tuple(row) for row in frame[["system_metric", "dimension", "type"]].to_numpy().tolist()}
    expected = {
        ("MemoryUsedPercent", "", "memory"),
        ("IOPS", "", "i/o"),
        ("ReadThroughputInBytesPerSecond", "", "i/o"),
        ("WriteThroughputInBytesPerSecond", "", "i/o"),
        ("ReceiveBytesPerSecond", "Platform", "network"),
        ("TransmitBytesPerSecond", "Platform", "network"),
    }
    for core in sorted(os.sched_getaffinity(0)):
        expected |= {(f"cpu{core}", "CPUUtilization", "cpu"), (f"cpu{core}", "I/OWaitPercentage", "cpu")}
    missing = profile.sampler["missing"]
    assert expected - kinds == set() or "i/o" in missing
    assert frame["timestamp"].str.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d:\d{6}").all()
    assert (frame["timestamp_us"].diff().dropna() >= 0).all()
    assert frame[frame["dimension"] == "CPUUtilization"]["value"].between(0, 100).all()
    assert profile.sampler["interval_ms"] == 100
    assert profile.sampler["lateness_ms"]["p50"] >= 0


def test_why_there_are_no_gpus_is_said(job: JobDirectory) -> None:
    counters = Counters()
    if counters.gpus.why is None:
        pytest.skip("its own GPU: which root alone can take away")
    assert (
        counters.missing["gpu"] in ("no NVIDIA driver", "no GPU")
        or "NVML" in counters.missing["gpu"]
        or ("vizsla[gpu]" in counters.missing["gpu"])
    )


def test_a_counter_that_may_not_be_read_is_told_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "/proc/diskstats")

    monkeypatch.setattr(psutil, "disk_io_counters", refused)
    counters = Counters()
    counters.read()
    time.sleep(0.1)
    kinds = {row[0] for _, rows in counters.read() for row in rows}
    assert {"memory", "cpu"} <= kinds
    assert "Permission denied: '/proc/diskstats'" in counters.missing["i/o"]


def test_it_ends_with_whoever_started_it_and_a_removed_job_does_not_come_back(job: JobDirectory) -> None:
    code = (
        "import os, sys; from pathlib import Path; from vizsla.profiling.start import *\n"
        "print(start_sampler(Path(sys.argv[1]), 0.1, new_clock(), os.getpid()), flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(job.path)], stdin=-1, stdout=-1, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    wait_for_samples(job, 10)
    parent.kill()
    parent.communicate()
    end = time.monotonic() + 10
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" and time.monotonic() < end:
        time.sleep(0.05)
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie"
    own = start_sampler(job.path, 0.1, new_clock(), os.getpid())
    wait_for_samples(job, 20)
    shutil.rmtree(job.path)
    time.sleep(0.4)
    assert not job.path.exists()
    end_sampler(own)


def test_a_sampler_that_is_killed_leaves_lines_that_can_be_read(job: JobDirectory) -> None:
    pid = start_sampler(job.path, 0.1, new_clock(), os.getpid())
    assert pid is not None
    wait_for_samples(job, 20)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    path = max((output_of(job.path) / "system" / "incremental").glob("*/*.json"))
    with open(path, "ab") as file:
        file.write(b'{"Type":"cpu","Name":"cp')  # as a kill may leave it
    profile = JobProfile(job.path)
    assert len(profile.samples) >= 20
    assert profile.samples.damaged == 1


def test_parquet_has_what_the_lines_had_and_a_resumed_job_adds_to_it(tmp_path: Path) -> None:
    lines = Lines(tmp_path / "incremental")
    for i in range(3000):
        lines.write([(1.8e9 + i / 10, [("cpu", f"cpu{c}", "CPUUtilization", (i * c) % 97 + 0.5) for c in range(3)])])
    before = Samples.read(tmp_path)
    (hour,) = [path.name for path in (tmp_path / "incremental").iterdir()]
    compact_hour(tmp_path, hour)
    after = Samples.read(tmp_path)
    for name in ("cpu0", "cpu2"):
        for a, b in zip(before.of("cpu", name), after.of("cpu", name), strict=True):
            assert np.array_equal(a, b)
    assert len(after) == 9000
    lines.write([(1.8e9 + 300, [("cpu", "cpu0", "CPUUtilization", 1.0)])])
    lines.close()
    assert len(Samples.read(tmp_path)) == 9001
    compact_hour(tmp_path, hour)
    shutil.rmtree(tmp_path / "incremental")
    assert len(Samples.read(tmp_path)) == 9001


def test_a_day_at_100_ms_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vizsla.profiling import compaction

    monkeypatch.setattr(compaction, "KEPT_BYTES", 1 << 20)
    lines = Lines(tmp_path / "system" / "incremental")
    rng = np.random.default_rng(0)
    for i, (a, b) in enumerate(100 * rng.random((36_000, 2))):
        rows = [("cpu", "cpu0", "CPUUtilization", a), ("memory", "MemoryUsedPercent", "", b)]
        lines.write([(1.8e9 + i / 10, rows)])
    lines.close()
    compact_all(tmp_path)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".parquet"}, "the lines of a long profile go"
    assert sum(path.stat().st_size for path in files) * 24 < 24 << 20, "even of noise, two series of a day"
    assert len(Samples.read(tmp_path / "system")) == 72_000


def test_a_clock_that_was_set_back_between_two_attempts_sorts(tmp_path: Path) -> None:
    lines = Lines(tmp_path / "incremental")
    for moment in (1.8e9 + 7200, 1.8e9 + 7201, 1.8e9, 1.8e9 + 1):
        lines.write([(moment, [("memory", "MemoryUsedPercent", "", moment % 7)])])
    lines.close()
    us, _ = Samples.read(tmp_path).of("memory")
    assert np.all(np.diff(us) > 0)
    frame = pd.DataFrame(Samples.read(tmp_path).columns())
    assert (frame["timestamp_us"] >= 0).all()


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"ProfilingIntervalInMilliseconds": 50}, "every 50 ms"),
        ({"ProfilingIntervalInMilliseconds": 120_000}, "100 to 60,000"),
        ({"ProfilingParameters": {"DetailedProfilingConfig": "[1]"}}, "StartStep"),
        ({"ProfilingParameters": {"DetailedProfilingConfig": '{"NumSteps": 0}'}}, "NumSteps from 1 to 100"),
        ({"ProfilingParameters": {"Advise": "perhaps"}}, "go on with those that gain"),
    ],
)
def test_what_a_document_cannot_mean_is_refused(document: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError) as refused:
        ProfilerConfig.of(document)
    assert words in str(refused.value)
    assert "ProfilerConfig." in str(refused.value)


def test_the_steps_as_version_2_of_the_sdk_writes_them() -> None:
    """Its text is no JSON: a comma stands before the brace."""
    parameters = {"DetailedProfilingConfig": '{"StartStep": 0, "NumSteps": 10, }'}
    config = ProfilerConfig.of({"ProfilingParameters": parameters})
    assert (config.detail_step, config.detail_steps) == (0, 10)


def test_what_a_document_says_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ProfilerConfig.of(None) == ProfilerConfig(0.5)
    assert ProfilerConfig.of({"DisableProfiler": True}).disabled
    detail = {"ProfilingParameters": {"DetailedProfilingConfig": json.dumps({"StartStep": "7", "NumSteps": "2"})}}
    assert (ProfilerConfig.of(detail).detail_step, ProfilerConfig.of(detail).detail_steps) == (7, 2)
    monkeypatch.setenv("VIZSLA_PROFILER", "off")
    assert ProfilerConfig.of({}).disabled
