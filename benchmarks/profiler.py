"""What the profiler costs, finds and promises.

``python -m benchmarks.profiler sampler|timers|planted|advice|report``; timings mean something on an idle machine only.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.measure import FLOWERS, table
from benchmarks.profiler_runs import LOADER, RUNS, Run, run
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.events import Handle
from vizsla.jobs.executors.local import LocalExecutor
from vizsla.jobs.findings import read_profile_findings
from vizsla.jobs.spec import Channel, TrainingJobSpec, script_hyper_parameters
from vizsla.profiling.layout import minute_file, output_of
from vizsla.profiling.profile import JobProfile
from vizsla.profiling.start import end_sampler, new_clock, start_sampler
from vizsla.profiling.timeline import SEGMENT, Phase
from vizsla.workflow.profile import profile_job
from vizsla.workflow.profile_advice import advise_job

_HOME = Path(tempfile.gettempdir()) / "vizsla-benchmark-profiler"


def _job(name: str) -> JobDirectory:
    shutil.rmtree(_HOME / name, ignore_errors=True)
    return JobDirectory.create("train", name, {}, _HOME, name)


def sampler(seconds: float = 60.0) -> None:
    """CPU, lateness and memory of the sampler's process."""
    rows = []
    for interval in (0.5, 0.1):
        job = _job(f"sampler-{interval}".replace(".", "-"))
        pid = start_sampler(job.path, interval, new_clock(), os.getpid())
        assert pid is not None
        time.sleep(5)
        process = psutil.Process(pid)
        before, began = sum(process.cpu_times()[:2]), time.monotonic()
        time.sleep(seconds)
        used = (sum(process.cpu_times()[:2]) - before) / (time.monotonic() - began)
        memory = process.memory_info().rss / 2**20
        end_sampler(pid)
        late = JobProfile(job.path).sampler["lateness_ms"]
        rows.append(
            (f"{1000 * interval:.0f} ms", f"{100 * used:.2f} %", late["p50"], late["p99"], late["max"], f"{memory:.0f}")
        )
    table(("interval", "of one core", "late, median (ms)", "p99", "max", "MiB"), rows)


def timers(rounds: int = 60, steps: int = 40) -> None:
    """What the phase timers add to a step: on and off in turns, of a network of as many modules as resnet18 has, each
    of which computes next to nothing; beside it a step of resnet18 on 8 pictures of 224 pixels, on all cores."""
    import timm
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    from vizsla.profiling import startup

    net = timm.create_model("resnet18", num_classes=5)
    modules = sum(1 for _ in net.modules())
    large = _step_seconds(net)
    torch.set_num_threads(1)
    layers: list[Any] = [torch.nn.Conv2d(3, 3, 1) for _ in range(modules - 4)]
    model = torch.nn.Sequential(*layers, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 5))
    optimizer, loss_of = torch.optim.SGD(model.parameters(), 0.01), torch.nn.CrossEntropyLoss()
    data = TensorDataset(torch.randn(4 * steps, 3, 4, 4), torch.arange(4 * steps) % 5)

    def loop() -> float:
        cpu = time.thread_time()
        for x, y in DataLoader(data, 4):
            optimizer.zero_grad()
            loss = loss_of(model(x), y)
            loss.backward()
            optimizer.step()
            loss.item()
        return (time.thread_time() - cpu) / steps

    job = _job("timers")
    os.environ["VIZSLA_JOB_DIR"] = str(job.path)
    loop()
    results: dict[bool, list[float]] = {True: [], False: []}
    for number in range(2 * rounds):
        watched = number % 4 in (1, 2)
        if watched:
            startup.begin_within(job.path, new_clock())
        results[watched].append(loop())
        startup.end_within()
    off = statistics.median(results[False])
    added = [on - off for off, on in zip(results[False], results[True], strict=True)]
    rng = np.random.default_rng(0)
    low, middle, high = np.quantile(np.median(rng.choice(added, (2000, rounds)), axis=1), [0.025, 0.5, 0.975])
    table(
        ("modules", "a step of them (ms)", "added (us)", "95 %", "a step of resnet18 (ms)", "share of it"),
        [
            (
                modules,
                f"{1000 * off:.2f}",
                f"{1e6 * middle:.0f}",
                f"{1e6 * low:.0f} to {1e6 * high:.0f}",
                f"{1000 * large:.0f}",
                f"{100 * middle / large:.3f} % ({100 * low / large:.3f} to {100 * high / large:.3f})",
            )
        ],
    )


def _step_seconds(net: Any, batch: int = 8) -> float:
    import torch

    optimizer = torch.optim.SGD(net.parameters(), 0.01)
    x, y = torch.randn(batch, 3, 224, 224), torch.arange(batch) % 5
    taken = []
    for _ in range(8):
        began = time.perf_counter()
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def _spec(text: str, folder: Path) -> TrainingJobSpec:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.py").write_text(text)
    return TrainingJobSpec(
        hyper_parameters=script_hyper_parameters("train.py", folder, {}),
        input_data_config=[Channel.of_path("training", FLOWERS)],
    )


def _run(one: Run) -> JobDirectory:
    executor = LocalExecutor(_HOME / "runs")
    handle: Handle = executor.submit(_spec(one.text, _HOME / "code" / one.name.replace(" ", "-")), one.name)
    try:
        while not executor.state(handle).has_ended:
            executor.poll([handle])
            time.sleep(0.2)
    finally:
        executor.stop(handle, grace=1.0)
    job = JobDirectory.open(handle.path)
    if job.state.status != "Completed":
        raise SystemExit(f"{one.name}: {job.state.reason}\n{job.logs.read_text()[-2000:]}")
    executor.close()
    return job


def planted(only: str = "") -> None:
    """Which rules speak of planted bottlenecks and of sound runs."""
    rows = []
    for one in RUNS:
        if only in one.name:
            job = _run(one)
            said = sorted(f.rule for f in read_profile_findings(job.output) if f.severity != "info")
            # Others' work on this machine is told by its own rule, and is not planted.
            right = one.rule in said if one.rule else not {*said} - {"cpu_bottleneck"}
            rows.append((one.name, one.rule or "none", ", ".join(said) or "none", "yes" if right else "NO"))
            print(rows[-1], file=sys.stderr, flush=True)
    table(("planted", "must speak", "spoke", "right"), rows)


def advice() -> None:
    """What a trial promises, and what the change then gains."""
    rows = []
    for name, price in (("waiting", "time.sleep(0.01)"), ("computing", "busy(0.004)")):
        rates = {}
        for workers in (0, 2):
            loader = LOADER.format(n=600, more=f", price=lambda: {price}", workers=workers)
            one = run(f"advice {name} {workers}", None, loader=loader, after="pass", epochs=2)
            job = _run(one)
            rates[workers] = JobProfile(job.path).images_per_second or 0.0
            if workers == 0:
                (trial,) = advise_job(job, ["num_workers=2"], note=lambda text: None)
        had = rates[2] / rates[0]
        promised = f"{trial['gain']:.2f} ({trial['low']:.2f} to {trial['high']:.2f})"
        rows.append(
            (
                name,
                f"{rates[0]:.1f}",
                f"{rates[2]:.1f}",
                promised,
                f"{had:.2f}",
                f"{100 * (trial['gain'] / had - 1):+.0f} %",
            )
        )
    table(("loader", "images/s before", "after", "promised", "had", "off by"), rows)


def report(only: str = "") -> None:
    """How long the report takes of an hour of 10 ms steps, sampled every 500 ms on 8 cores; a day at 100 ms on 2."""
    rows = []
    for name, hours, every, cores, step in (("1 h", 1, 0.5, 8, 0.01), ("24 h", 24, 0.1, 2, 0.05)):
        if only not in f"{hours}h":
            continue
        job = _job(f"report-{hours}h")
        output, begin = output_of(job.path), 1.8e9
        _write_samples(output / "system" / "incremental", begin, 3600 * hours, every, cores)
        n = int(3600 * hours / step)
        (output / "framework").mkdir(parents=True)
        raw = np.zeros(
            5 * n, np.dtype([("began", "<u8"), ("us", "<u4"), ("count", "<u2"), ("phase", "u1"), ("flags", "u1")])
        )
        assert raw.itemsize == SEGMENT.size
        at = np.arange(5 * n)
        raw["began"] = int(begin * 1e9) + (at * step / 5 * 1e9).astype(np.int64)
        raw["us"], raw["count"] = 0.9 * step / 5 * 1e6, 16
        raw["phase"] = np.array([Phase.DATA, Phase.FORWARD, Phase.BACKWARD, Phase.OPTIMIZER, Phase.LOGGING])[at % 5]
        (output / "framework" / "1-1.segments").write_bytes(raw.tobytes())
        from vizsla.profiling.compaction import compact_all

        lines = sum(p.stat().st_size for p in output.rglob("*.json"))
        began = time.perf_counter()
        result = profile_job(job)
        taken = time.perf_counter() - began
        began = time.perf_counter()
        compact_all(output)
        compaction = time.perf_counter() - began
        packed = sum(p.stat().st_size for p in output.rglob("*.parquet"))
        began = time.perf_counter()
        profile_job(job)
        again = time.perf_counter() - began
        size = result.report.stat().st_size / 1e6
        rows.append(
            (
                name,
                f"{n:,}",
                f"{taken:.1f}",
                f"{again:.1f}",
                f"{size:.2f}",
                f"{lines / 1e6:.0f}",
                f"{packed / 1e6:.0f}",
                f"{compaction:.1f}",
            )
        )
        shutil.rmtree(job.path)
    table(
        (
            "job",
            "steps",
            "report of lines (s)",
            "of Parquet (s)",
            "page (MB)",
            "lines (MB)",
            "Parquet (MB)",
            "compaction (s)",
        ),
        rows,
    )


def _write_samples(folder: Path, begin: float, seconds: float, every: float, cores: int) -> None:
    rng = np.random.default_rng(0)
    per_minute = int(60 / every)
    for minute in range(int(seconds / 60)):
        path = minute_file(folder, begin + 60 * minute)
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = []
        for tick, values in enumerate(100 * rng.random((per_minute, 2 * cores + 1))):
            moment = begin + 60 * minute + tick * every
            names = [("cpu", f"cpu{c}", d) for c in range(cores) for d in ("CPUUtilization", "I/OWaitPercentage")]
            for (kind, name, dimension), value in zip(
                [*names, ("memory", "MemoryUsedPercent", "")], values, strict=True
            ):
                lines.append(
                    f'{{"Type":"{kind}","Name":"{name}","Dimension":"{dimension}","Value":{value:.6g},'
                    f'"NodeId":"algo-1","Timestamp":{moment:.6f}}}\n'
                )
        path.write_text("".join(lines))


if __name__ == "__main__":
    chosen = {"sampler": sampler, "timers": timers, "planted": planted, "advice": advice, "report": report}[sys.argv[1]]
    chosen(*(int(word) if word.isdigit() else word for word in sys.argv[2:]))  # type: ignore[operator]
    shutil.rmtree(_HOME, ignore_errors=True)
