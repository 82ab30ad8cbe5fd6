"""The Ray executor beside the local one, on a cluster of raylets on this machine: what a job costs more, pictures a
second, how full slots are kept and what the controller needs for it, and the memory that a plan of many pictures takes.

Run it in a network namespace of its own, in which every node is 127.0.0.1:

    unshare -n sh -c 'ip link set lo up; exec python -m benchmarks.ray PHOTOS WEIGHTS [PART...]'
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.serving import build_model
from benchmarks.serving_load import free_port, running
from vizsla.batch.inputs import open_inputs
from vizsla.batch.run import opened_journal
from vizsla.cluster import NAMESPACE
from vizsla.data.listing import Listing
from vizsla.data.scan import scan
from vizsla.data.sources import SourceOptions, list_source
from vizsla.images import Limits
from vizsla.jobs.conformance.scripts import Scripts, run_to_end
from vizsla.jobs.events import StatusEvent
from vizsla.jobs.executors import open_executor
from vizsla.models.engine import OnnxEngine
from vizsla.models.export import ExportedBackbone, ensure_exported
from vizsla.models.weights import BackboneSpec
from vizsla.training.cache import FeatureSpace
from vizsla.training.feature_companion import FeatureCompanion
from vizsla.version import PACKAGE
from vizsla.workflow.cluster_look import ClusterLook
from vizsla.workflow.cluster_transform import ClusterRun

JOBS = 12
SLOTS, TRIALS, TRIAL_SECONDS = (
    int(os.environ.get(name, value))
    for name, value in (
        ("VIZSLA_BENCHMARK_SLOTS", 200),
        ("VIZSLA_BENCHMARK_TRIALS", 2000),
        ("VIZSLA_BENCHMARK_SECONDS", 60),
    )
)
CLIENTS, LOAD_SECONDS = 32, 12.0


def start_cluster(*cpus: int) -> Any:
    """A head without room, and a node for each number of CPUs."""
    import ray
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["PYTHONPATH"] = os.pathsep.join([str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")])
    os.environ |= {"VIZSLA_TRACKING": "off", "VIZSLA_PROFILER": "off"}
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "include_dashboard": False, "object_store_memory": 200 << 20},
    )
    for count in cpus:
        cluster.add_node(num_cpus=count, object_store_memory=100 << 20)
    ray.init(address=cluster.address, namespace=NAMESPACE, log_to_driver=False, logging_level="ERROR")
    os.environ["RAY_ADDRESS"] = cluster.address
    return cluster


def overhead(folder: Path) -> dict[str, float]:
    """Seconds from the submission of an empty script to its end, for each executor in turn."""
    seconds: dict[str, list[float]] = {"local": [], "ray": []}
    executors = {name: open_executor(name, folder / name) for name in seconds}
    scripts = Scripts(folder)
    for turn in range(JOBS + 1):
        for name, executor in executors.items():
            began = time.monotonic()
            state, _ = run_to_end(executor, executor.submit(scripts("print(1)"), "empty"))
            assert state.status == "Completed", state.reason
            if turn:  # the first brings the keeper and a worker up
                seconds[name].append(time.monotonic() - began)
    local, ray = (float(np.median(values)) for values in seconds.values())
    return {"local_s": local, "ray_s": ray, "more_s": ray - local}


def extraction(photos: Path, weights: Path, folder: Path) -> dict[str, float]:
    """Pictures a second of the look with features: two threads here, and two nodes of one core."""
    backbone: ExportedBackbone = ensure_exported(BackboneSpec.resolve(None, weights=weights), folder / "backbone")
    listing: Listing = list_source(str(photos), SourceOptions())
    paths, engine = list(listing.paths), OnnxEngine(backbone.path)
    common: dict[str, Any] = {"limits": Limits.from_settings(), "threads": 2, "with_quality": False}

    began = time.monotonic()
    local = FeatureCompanion(FeatureSpace(folder / "here", backbone, engine), engine, backbone.preprocessing)
    scan(listing.root, paths, cache=folder / "here", companion=local, **common)
    local.flush()
    here = time.monotonic() - began

    look, moments = ClusterLook("ray", backbone, backbone.path, folder / "there"), []
    began = time.monotonic()

    def note(done: int, total: int) -> None:
        moments.append((time.monotonic() - began, done))

    scan(listing.root, paths, cache=folder / "there", companion=look, elsewhere=look, on_progress=note, **common)
    there = time.monotonic() - began
    first = next(at for at in moments if at[1])
    last = next(at for at in reversed(moments) if at[1] < len(paths))
    steady = (last[1] - first[1]) / (last[0] - first[0])
    assert look.computed == len(paths)
    return {
        "pictures": len(paths),
        "here_per_s": len(paths) / here,
        "cluster_per_s": len(paths) / there,
        "cluster_start_s": first[0],
        "cluster_steady_per_s": steady,
        "ratio": here / there,
        "ratio_steady": steady * here / len(paths),
    }


def trials(folder: Path) -> dict[str, float]:
    """Short trials that sleep, as many at once as there are slots: how full these are, and the controller's share of a
    core."""
    executor, scripts = open_executor("ray", folder / "trials"), Scripts(folder)
    text = f"import time; print('up', flush=True); time.sleep({TRIAL_SECONDS})"
    spec = scripts(text)
    running: dict[str, Any] = {}
    since, submitted, done, busy = None, 0, 0, 0.0
    began, cpu = time.monotonic(), time.process_time()
    ends: list[float] = []
    while done < TRIALS:
        while submitted < TRIALS and len(running) < SLOTS:
            handle = executor.submit(spec, f"t{submitted}")
            running[handle.name], submitted = handle, submitted + 1
        poll = executor.poll(list(running.values()), since)
        since = poll.since
        for event in poll.events:
            if isinstance(event, StatusEvent) and event.state.has_ended:
                assert event.state.ended_well, event.state.reason
                del running[event.job]
                done, busy = done + 1, busy + TRIAL_SECONDS
                ends.append(time.monotonic() - began)
        time.sleep(0.1)
    wall = time.monotonic() - began
    full = [end for end in ends if end <= ends[TRIALS - SLOTS]]  # while there are more to come
    return {
        "slots": SLOTS,
        "trials": TRIALS,
        "wall_s": wall,
        "occupancy": busy / (SLOTS * wall),
        "occupancy_steady": (len(full) - SLOTS) * TRIAL_SECONDS / (SLOTS * (full[-1] - full[SLOTS - 1])),
        "controller_cores": (time.process_time() - cpu) / wall,
    }


def serving(photos: Path, weights: Path, folder: Path) -> dict[str, float]:
    """Answers a second to 32 clients: the plain server and one replica of Ray Serve, each with one thread for answers,
    in turn; and processor time an answer, of the machine."""
    model = build_model(folder / "served", "mobilenetv2_100", weights)
    pictures = [path.read_bytes() for path in sorted(photos.rglob("*.jpg"))[:64]]
    rates: dict[str, list[float]] = {"plain": [], "ray": []}
    costs: dict[str, list[float]] = {"plain": [], "ray": []}
    os.environ["VIZSLA_THREADS"] = "1"
    for _ in range(3):
        for name in rates:
            port = free_port()
            command = [sys.executable, "-m", "vizsla", "serve", str(model), "--port", str(port), "--no-log-requests"]
            command += ["--executor", "ray", "--replicas", "1"] if name == "ray" else []
            with running(name, command, port, "/invocations", pictures[0], as_json=False) as target:
                closed_loop(target.port, pictures, 3.0)
                before = busy_seconds()
                rate = closed_loop(target.port, pictures, LOAD_SECONDS)
                rates[name].append(rate)
                costs[name].append(1000 * (busy_seconds() - before) / (rate * LOAD_SECONDS))
    plain, ray = (float(np.median(rates[name])) for name in ("plain", "ray"))
    return {"plain_per_s": plain, "ray_per_s": ray, "ratio": ray / plain} | {
        f"{name}_cpu_ms": float(np.median(values)) for name, values in costs.items()
    }


def closed_loop(port: int, pictures: list[bytes], seconds: float) -> float:
    """Answers a second to clients that each send their next picture when the last is answered."""
    over, count = time.monotonic() + seconds, [0] * CLIENTS

    def ask(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while time.monotonic() < over:
            picture = pictures[(number + CLIENTS * count[number]) % len(pictures)]
            connection.request("POST", "/invocations", picture, {"Content-Type": "image/jpeg"})
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            answer.read()
            count[number] += 1

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(ask, range(CLIENTS)))
    return sum(count) / seconds


def busy_seconds() -> float:
    """Processor time of the machine so far."""
    times = psutil.cpu_times()
    return float(times.user + times.system)


def planning(folder: Path) -> dict[str, float]:
    """Memory that the driver of a transform alone takes for a folder of pictures, until all are handed out; what it
    shares with Ray's store is not counted. The files are empty: nobody reads them."""
    import ray

    result: dict[str, float] = {}
    for count in (100_000, 1_000_000):
        root = folder / f"pictures-{count}"
        for number in range(1000):
            (root / f"class-{number:04}").mkdir(parents=True)
            for picture in range(count // 1000):
                os.mknod(root / f"class-{number:04}" / f"picture-{picture:09}.jpg")
        with opened_journal(folder / f"journal-{count}.jsonl") as journal:
            nobody: Any = None  # neither model nor answers are needed to plan
            run = ClusterRun(ray, nobody, None, nobody, journal, b"", lambda summary: None)
            before, most, references = own_memory(), 0, []
            began = time.monotonic()
            for reference in run._blocks(open_inputs(str(root))):
                references.append(reference)
                if len(references) % 50 == 0:
                    most = max(most, own_memory() - before)
            result |= {f"driver_mb_{count}": most / 1e6, f"seconds_{count}": time.monotonic() - began}
        shutil.rmtree(root)
    return result


def own_memory() -> int:
    """Bytes of this process that lie in no file and in no shared memory."""
    status = Path("/proc/self/status").read_text()
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon"))


def main(arguments: list[str]) -> None:
    """Run the parts that are named; all by default."""
    photos, weights, *parts = arguments
    folder = Path(tempfile.mkdtemp(prefix="vizsla-ray-"))
    cluster = start_cluster(1, 1)
    try:
        results: dict[str, Any] = {}
        for part in parts or ["overhead", "extraction", "planning", "serving", "trials"]:
            if part == "overhead":
                results[part] = overhead(folder)
            elif part == "extraction":
                results[part] = extraction(Path(photos), Path(weights), folder)
            elif part == "planning":
                results[part] = planning(folder)
            elif part == "serving":
                results[part] = serving(Path(photos), Path(weights), folder)
            elif part == "trials":
                cluster.add_node(num_cpus=SLOTS, object_store_memory=100 << 20)
                results[part] = trials(folder)
            print(json.dumps({part: {name: round(value, 3) for name, value in results[part].items()}}), flush=True)
    finally:
        import ray

        ray.shutdown()
        cluster.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1:])
