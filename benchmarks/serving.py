"""``vizsla serve`` against the bare engine and against other servers, with the same models on the same machine.

    python benchmarks/serving.py [--quick] [--peers PYTHON] [--models mobilenetv2_100,resnet18]

PYTHON is the interpreter of an environment with litserve, bentoml and ray[serve] (never a dependency of Vizsla).
Load comes from wrk on loopback, sharing the cores with the server, and for the half load from a small open-loop
client. Rounds of ours, the bare loop and the peers alternate, so that a noisy machine harms all; medians are shown.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vizsla.images import Limits
from vizsla.models import artifact
from vizsla.models.engine import OnnxEngine
from vizsla.models.export import ensure_exported
from vizsla.models.head import Head
from vizsla.models.weights import WeightsRequest
from vizsla.settings import settings, usable_cores

HERE = Path(__file__).resolve().parent
SHARED = Path(os.environ.get("VIZSLA_SHARED") or HERE.parents[1] / "shared")
CLASSES = 133
CORES = usable_cores()


def build_model(folder: Path, name: str, weights: Path | None, seed: int = 0) -> Path:
    """A saved model with 133 classes; its head is drawn at random, which costs the same as a trained one."""
    request = WeightsRequest.resolve(name, weights, random_init=weights is None, seed=0)
    exported = ensure_exported(request, settings().cache)
    rng = np.random.default_rng(seed)
    head = Head(
        rng.normal(0, 0.05, (CLASSES, exported.features)).astype(np.float32),
        rng.normal(0, 0.05, CLASSES).astype(np.float32),
    )
    card = artifact.ModelCard(
        classes=[f"{i + 1:03}.Breed_{i}" for i in range(CLASSES)],
        preprocessing=artifact.PreprocessingCard(**exported.preprocessing.to_dict()),
        backbone=artifact.BackboneCard(
            name=exported.name, weights=exported.weights, sha256=exported.sha256, features=exported.features,
            engine="onnxruntime", precision="fp32",
        ),
        head_sha256=hashlib.sha256(artifact.head_bytes(head)).hexdigest(),
        provenance=artifact.Provenance(
            job="benchmark", created="-", dataset="-", dataset_sha256="0" * 64, seed=seed, versions={}
        ),
    )  # fmt: skip
    artifact.save(folder, card, exported.path, head)
    return folder


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Target:
    """A running server and how to ask it."""

    name: str
    port: int
    path: str
    json_body: bool
    process: subprocess.Popen[bytes]
    ready_seconds: float

    def processor_seconds(self) -> float:
        """Processor time of the process and its children so far."""
        import psutil

        own = psutil.Process(self.process.pid)
        times = [process.cpu_times() for process in (own, *own.children(recursive=True))]
        return float(sum(t.user + t.system for t in times))

    def rss(self) -> float:
        """Resident megabytes of the process and its children."""
        import psutil

        try:
            whole = [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]
            return sum(p.memory_info().rss for p in whole) / 1e6
        except psutil.Error:
            return float("nan")


def body_of(picture: bytes, *, as_json: bool) -> bytes:
    return json.dumps({"image": base64.b64encode(picture).decode()}).encode() if as_json else picture


def answers(port: int, path: str, picture: bytes, *, as_json: bool) -> bool:
    kind = "application/json" if as_json else "image/jpeg"
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", body_of(picture, as_json=as_json), {"Content-Type": kind}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return len(json.load(reply)) == CLASSES
    except (OSError, ValueError):
        return False


@contextlib.contextmanager
def running(name: str, command: list[str], port: int, path: str, picture: bytes, *, as_json: bool) -> Iterator[Target]:
    """Start a server, wait for its first answer, stop it with all its children."""
    start = time.perf_counter()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            while not answers(port, path, picture, as_json=as_json):
                if process.poll() is not None or time.perf_counter() - start > 90:
                    log.seek(0)
                    raise RuntimeError(f"{name} did not start: {log.read()[-1500:].decode('utf-8', 'replace')}")
                time.sleep(0.02)
            yield Target(name, port, path, as_json, process, time.perf_counter() - start)
        finally:
            stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    import psutil

    try:
        children = psutil.Process(process.pid).children(recursive=True)
    except psutil.Error:
        children = []
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(15)
    for child in [*children, process]:
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            child.kill()
    process.wait()
    time.sleep(0.3)


def ours(model: Path, picture: bytes) -> contextlib.AbstractContextManager[Target]:
    port = free_port()
    command = [sys.executable, "-m", "vizsla", "serve", str(model), "--port", str(port), "--no-log-requests"]
    return running("vizsla", command, port, "/invocations", picture, as_json=False)


def peer(python: str, spec: str, model: Path, picture: bytes) -> contextlib.AbstractContextManager[Target]:
    server, engine, workers, batch = spec.split("/")
    port = free_port()
    command = [python, str(HERE / "serving_peers.py"), server, engine, str(model), str(port), workers, batch]
    return running(spec, command, port, "/predict", picture, as_json=server != "ray")


PEERS = {
    "onnx": [f"litserve/onnx/{CORES}/1", "litserve/onnx/1/8", f"bentoml/onnx/{CORES}/1", f"ray/onnx/{CORES}/1"],
    "torch": [f"litserve/torch/{CORES}/1", f"bentoml/torch/{CORES}/1"],
}
"""Server, engine, worker processes, batch: one thread each, and all threads with batches."""


def wrk(target: Target, bodies: list[bytes], concurrency: int, seconds: float, headers: dict[str, list[str]]) -> Load:
    """Closed loop: ``concurrency`` connections, each sends its next picture when the last is answered."""
    with tempfile.TemporaryDirectory() as folder:
        for i, body in enumerate(bodies):
            (Path(folder) / f"{i}").write_bytes(body)
        kind = "application/json" if target.json_body else "image/jpeg"
        script = Path(folder) / "post.lua"
        script.write_text(
            f"local bodies, extra, n = {{}}, {{}}, {len(bodies)}\n"
            f'for i = 0, n - 1 do local f = io.open("{folder}/" .. i, "rb"); bodies[i] = f:read("*a"); f:close() end\n'
            + "".join(
                f'extra["{name}"] = {{{",".join(json.dumps(v) for v in values)}}}\n' for name, values in headers.items()
            )
            + "local k = 0\nfunction request()\n  k = k + 1\n"
            f'  local h = {{["Content-Type"] = "{kind}"}}\n'
            "  for name, values in pairs(extra) do h[name] = values[math.random(#values)] end\n"
            f'  return wrk.format("POST", "{target.path}", h, bodies[k % n])\nend\n'
            'function done(s, l, r)\n  io.write(string.format("OUT %d %d %d %d %d\\n", s.requests, s.duration, '
            "s.errors.connect + s.errors.read + s.errors.write + s.errors.status + s.errors.timeout, "
            "l:percentile(50), l:percentile(99)))\nend\n"
        )
        threads = min(concurrency, 2)
        output = subprocess.run(
            ["wrk", "-t", str(threads), "-c", str(concurrency), "-d", f"{max(1, round(seconds))}s",
             "--timeout", "60s", "-s", str(script), f"http://127.0.0.1:{target.port}"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
    match = re.search(r"OUT (\d+) (\d+) (\d+) (\d+) (\d+)", output)
    if not match:
        raise RuntimeError(output)
    requests, micros, errors, p50, p99 = map(int, match.groups())
    return Load((requests - errors) / (micros / 1e6), p50 / 1000, p99 / 1000, errors)


@dataclass(frozen=True)
class Load:
    """Answers a second, latencies in milliseconds, errors."""

    rate: float
    p50: float
    p99: float
    errors: int


async def open_loop(target: Target, bodies: list[bytes], rate: float, seconds: float) -> Load:
    """Poisson arrivals at ``rate`` a second whatever the server does; latency counts from the arrival."""
    random.seed(0)
    kind = "application/json" if target.json_body else "image/jpeg"
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    latencies: list[float] = []
    errors = 0

    async def ask(body: bytes, arrived: float) -> None:
        nonlocal errors
        try:
            reader, writer = idle.pop() if idle else await asyncio.open_connection("127.0.0.1", target.port)
            head = f"POST {target.path} HTTP/1.1\r\nHost: 127.0.0.1:{target.port}\r\nContent-Type: {kind}\r\n"
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            lines = (await reader.readuntil(b"\r\n\r\n")).lower()
            size = re.search(rb"content-length: (\d+)", lines)
            await reader.readexactly(int(size[1]) if size else 0)
            idle.append((reader, writer))
            if b" 200 " in lines.split(b"\r\n")[0]:
                latencies.append(time.perf_counter() - arrived)
            else:
                errors += 1
        except (OSError, asyncio.IncompleteReadError):
            errors += 1

    start = time.perf_counter()
    due, tasks, k = 0.0, set(), 0
    while due < seconds:
        await asyncio.sleep(max(0.0, start + due - time.perf_counter()))
        task = asyncio.create_task(ask(bodies[k % len(bodies)], start + due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        due += random.expovariate(rate)
        k += 1
    await asyncio.gather(*tasks)
    for _, writer in idle:
        writer.close()
    milliseconds = np.array(latencies) * 1000
    return Load(len(latencies) / seconds, *np.percentile(milliseconds, [50, 99]).tolist(), errors)


def bare_loop(model: Path, pictures: list[bytes], seconds: float) -> float:
    """Decode, engine and head on all cores, no server: pictures a second."""
    saved = artifact.load(model)
    engine = OnnxEngine(saved.backbone, threads=1)
    limits, end = Limits.from_settings(), time.perf_counter() + seconds
    preprocessing = saved.preprocessing

    def work(start: int) -> int:
        done = 0
        while time.perf_counter() < end:
            pixels = preprocessing(pictures[(start + done) % len(pictures)], limits)
            saved.head.probabilities(engine.features(pixels[None]))
            done += 1
        return done

    begun = time.perf_counter()
    with ThreadPoolExecutor(CORES) as pool:
        done = sum(pool.map(work, range(CORES)))
    return done / (time.perf_counter() - begun)


def bare_latency(model: Path, pictures: list[bytes], count: int) -> float:
    """Milliseconds (median) of decode, engine with the better of one or all threads, and head."""
    saved = artifact.load(model)
    limits, preprocessing = Limits.from_settings(), saved.preprocessing
    medians = []
    for threads in {1, CORES}:
        engine = OnnxEngine(saved.backbone, threads=threads)
        times = []
        for i in range(count):
            start = time.perf_counter()
            pixels = preprocessing(pictures[i % len(pictures)], limits)
            saved.head.probabilities(engine.features(pixels[None]))
            times.append(time.perf_counter() - start)
        medians.append(statistics.median(times))
    return 1000 * min(medians)


def one_model(model: Path, pictures: list[bytes], python: str | None, *, rounds: int, seconds: float) -> None:
    """The table of one model."""
    picture = pictures[0]
    name = model.name
    with ours(model, picture) as warm:  # the first start measures how to run the backbone here
        time.sleep(9)
        print(f"\n## {name}\nstart to first answer {warm.ready_seconds:.2f} s")
    with ours(model, picture) as target:
        print(f"again {target.ready_seconds:.2f} s, resident {target.rss():.0f} MB, idle")
        bodies = [body_of(p, as_json=False) for p in pictures]
        bare, mine, direct, single = [], [], [], []
        bare_cost, my_cost = [], []
        for _ in range(rounds):
            before = time.process_time()
            bare.append(bare_loop(model, pictures, seconds))
            bare_cost.append(1000 * (time.process_time() - before) / (bare[-1] * seconds))
            before = target.processor_seconds()
            mine.append(wrk(target, bodies, 32, seconds, {}))
            my_cost.append(1000 * (target.processor_seconds() - before) / (mine[-1].rate * seconds))
            direct.append(bare_latency(model, pictures, 60))
            single.append(wrk(target, bodies, 1, seconds / 2, {}))
        ratios = [m.rate / b for m, b in zip(mine, bare, strict=True)]
        added = [s.p50 - d for s, d in zip(single, direct, strict=True)]
        rate = statistics.median(m.rate for m in mine)
        print(f"c=32: {rate:.0f} images/s, bare loop {statistics.median(bare):.0f}: ratio "
              f"{statistics.median(ratios):.2f} (rounds {', '.join(f'{r:.2f}' for r in ratios)}), "
              f"p99 {statistics.median(m.p99 for m in mine):.0f} ms, errors {sum(m.errors for m in mine)}")  # fmt: skip
        costs = [b / m for b, m in zip(bare_cost, my_cost, strict=True)]
        print(f"processor time an image at c=32: {statistics.median(my_cost):.2f} ms, bare loop "
              f"{statistics.median(bare_cost):.2f} ms: ratio {statistics.median(costs):.2f} "
              f"(rounds {', '.join(f'{c:.2f}' for c in costs)}; neighbours disturb it less)")  # fmt: skip
        print(f"c=1: p50 {statistics.median(s.p50 for s in single):.1f} ms, decode + engine "
              f"{statistics.median(direct):.1f} ms: added {statistics.median(added):.2f} ms "
              f"(rounds {', '.join(f'{a:.2f}' for a in added)})")  # fmt: skip
        print(f"resident after load {target.rss():.0f} MB")
    if python:
        against_peers(model, pictures, python, rate, rounds=rounds, seconds=seconds)


def against_peers(model: Path, pictures: list[bytes], python: str, rate: float, *, rounds: int, seconds: float) -> None:
    """Each peer and Vizsla in turns; the half load is half of what Vizsla does at c=32."""
    picture = pictures[0]
    print(
        "| server/engine/workers/batch | images/s c=32 | Vizsla / it | p99 half load | Vizsla's "
        "| processor ms an image | Vizsla's | ready | MB | errors |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for spec in [*PEERS["onnx"], *PEERS["torch"]]:
        theirs, mine, half_theirs, half_mine = [], [], [], []
        its_cost, my_cost = [], []
        try:
            # The one that is not asked stands idle beside, so that turns can be short.
            with peer(python, spec, model, picture) as other, ours(model, picture) as target:
                raw = [body_of(p, as_json=other.json_body) for p in pictures]
                memory, ready = other.rss(), other.ready_seconds
                wrk(other, raw, 32, 2, {})
                for _ in range(rounds):
                    before = other.processor_seconds()
                    theirs.append(wrk(other, raw, 32, seconds, {}))
                    its_cost.append(1000 * (other.processor_seconds() - before) / (theirs[-1].rate * seconds))
                    before = target.processor_seconds()
                    mine.append(wrk(target, pictures, 32, seconds, {}))
                    my_cost.append(1000 * (target.processor_seconds() - before) / (mine[-1].rate * seconds))
                    if "/onnx/" in spec:
                        half_theirs.append(asyncio.run(open_loop(other, raw, rate / 2, seconds)))
                        half_mine.append(asyncio.run(open_loop(target, pictures, rate / 2, seconds)))
        except RuntimeError as error:
            print(f"| {spec} | failed: {str(error)[-300:]!r} |")
            continue
        its, my = statistics.median(t.rate for t in theirs), statistics.median(m.rate for m in mine)
        halves = [statistics.median(h.p99 for h in half) if half else float("nan") for half in (half_theirs, half_mine)]
        print(f"| {spec} | {its:.0f} | {my:.0f} / {its:.0f} = {my / its:.2f} | {halves[0]:.0f} ms | {halves[1]:.0f} ms "
              f"| {statistics.median(its_cost):.2f} | {statistics.median(my_cost):.2f} | {ready:.1f} s "
              f"| {memory:.0f} | {sum(t.errors for t in theirs)} |", flush=True)  # fmt: skip


def many_models(root: Path, weights: Path | None, pictures: list[bytes], *, count: int, seconds: float) -> None:
    """``count`` heads on one backbone under uniformly random TargetModel."""
    folder = root / "many"
    first = build_model(folder / "m0", "mobilenetv2_100", weights)
    for i in range(1, count):
        build_model(folder / f"m{i}", "mobilenetv2_100", weights, seed=i)
    print(f"\n## {count} models on one backbone (mobilenetv2_100, {CLASSES} classes each)")
    header = "X-Amzn-SageMaker-Target-Model"
    with ours(first, pictures[0]) as single, many_server(folder) as several:
        cold = []
        for i in range(count):
            start = time.perf_counter()
            ask_target(several.port, f"m{i}", pictures[0])
            first_time = time.perf_counter() - start
            start = time.perf_counter()
            ask_target(several.port, f"m{i}", pictures[0])
            cold.append(1000 * (first_time - (time.perf_counter() - start)))
        names = {header: [f"m{i}" for i in range(count)]}
        alone, mixed = [], []
        for _ in range(3):
            alone.append(wrk(single, pictures, 32, seconds, {}).rate)
            mixed.append(wrk(several, pictures, 32, seconds, names).rate)
        ratio = statistics.median(m / a for m, a in zip(mixed, alone, strict=True))
        time.sleep(4)
        own = sum(f.stat().st_size for f in (folder / "m0").glob("head.*")) / 1e6
        print(
            f"c=32: {statistics.median(mixed):.0f} images/s against {statistics.median(alone):.0f} of one model: "
            f"{ratio:.2f}"
        )
        print(f"resident {several.rss():.0f} MB against {single.rss():.0f} MB of one; heads take {own * count:.0f} MB; "
              f"bound 1.3 x + 1 MB a head = {1.3 * single.rss() + count:.0f} MB")  # fmt: skip
        print(f"cold load of a head: median {statistics.median(cold):.1f} ms, p99 {np.percentile(cold, 99):.1f} ms")


@contextlib.contextmanager
def many_server(folder: Path) -> Iterator[Target]:
    port = free_port()
    command = [sys.executable, "-m", "vizsla", "serve", "--models-dir", str(folder), "--port", str(port),
               "--no-log-requests"]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5).close()
                break
            except OSError:
                time.sleep(0.05)
        yield Target("many", port, "/invocations", False, process, 0)
    finally:
        stop(process)


def ask_target(port: int, target: str, picture: bytes) -> None:
    headers = {"Content-Type": "image/jpeg", "X-Amzn-SageMaker-Target-Model": target}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/invocations", picture, headers)
    with urllib.request.urlopen(request, timeout=60) as reply:
        reply.read()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one short round, fewer models")
    parser.add_argument("--peers", help="python of an environment with litserve, bentoml, ray[serve]")
    parser.add_argument("--models", default="mobilenetv2_100,resnet18")
    parser.add_argument("--count", type=int, default=1000, help="heads on one backbone")
    options = parser.parse_args()
    if not shutil.which("wrk"):
        sys.exit("needs wrk (apt-get install wrk)")
    photos = sorted((SHARED / "data" / "flowers" / "test").rglob("*.jpg"))[::7][:48]
    pictures = [photo.read_bytes() for photo in photos]
    local = SHARED / "weights" / "mobilenetv2_100.tf_in1k"
    rounds, seconds = (1, 4.0) if options.quick else (3, 5.0)
    print(f"{CORES} cores; {len(pictures)} photos of {np.mean([len(p) for p in pictures]) / 1024:.0f} KiB")
    with tempfile.TemporaryDirectory() as root:
        for name in filter(None, options.models.split(",")):
            model = build_model(Path(root) / name, name, local if name == "mobilenetv2_100" else None)
            one_model(model, pictures, options.peers, rounds=rounds, seconds=seconds)
        if options.count:
            many_models(Path(root), local, pictures, count=min(options.count, 100) if options.quick else options.count,
                        seconds=seconds)  # fmt: skip


if __name__ == "__main__":
    main()
