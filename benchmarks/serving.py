"""``vizsla serve`` against the bare engine and against other servers, with the same models on the same machine.

    python -m benchmarks.serving [--quick] [--peers PYTHON] [--models mobilenetv2_100,resnet18]

PYTHON is the interpreter of an environment with litserve, bentoml and ray[serve] (never a dependency of Vizsla).
Load comes from wrk on loopback, sharing the cores with the server, and for the half load from a small open-loop
client. Rounds of ours, the bare loop and the peers alternate, so that a noisy machine harms all; medians are shown.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.measure import FLOWERS, MOBILENET_WEIGHTS
from benchmarks.serving_load import CLASSES, Target, body_of, free_port, open_loop, running, stop, wrk
from vizsla.images import Limits
from vizsla.models import artifact
from vizsla.models.engine import OnnxEngine
from vizsla.models.export import ensure_exported
from vizsla.models.heads import LinearHead
from vizsla.models.weights import BackboneSpec
from vizsla.settings import settings, usable_cores

HERE = Path(__file__).resolve().parent
CORES = usable_cores()


def build_model(folder: Path, name: str, weights: Path | None, seed: int = 0) -> Path:
    """A saved model with 133 classes; its head is drawn at random, which costs the same as a trained one."""
    request = BackboneSpec.resolve(name, weights, random_init=weights is None, seed=0)
    exported = ensure_exported(request, settings().cache)
    rng = np.random.default_rng(seed)
    head = LinearHead(
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


def many_models(root: Path, pictures: list[bytes], *, count: int, seconds: float) -> None:
    """``count`` heads on one backbone under uniformly random TargetModel."""
    folder = root / "many"
    first = build_model(folder / "m0", "mobilenetv2_100", MOBILENET_WEIGHTS)
    for i in range(1, count):
        build_model(folder / f"m{i}", "mobilenetv2_100", MOBILENET_WEIGHTS, seed=i)
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
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # a time limit must not leave servers behind
    if not shutil.which("wrk"):
        sys.exit("needs wrk (apt-get install wrk)")
    photos = sorted((FLOWERS / "test").rglob("*.jpg"))[::7][:48]
    pictures = [photo.read_bytes() for photo in photos]
    rounds, seconds = (1, 4.0) if options.quick else (3, 5.0)
    print(f"{CORES} cores; {len(pictures)} photos of {np.mean([len(p) for p in pictures]) / 1024:.0f} KiB")
    with tempfile.TemporaryDirectory() as root:
        for name in filter(None, options.models.split(",")):
            model = build_model(Path(root) / name, name, MOBILENET_WEIGHTS if name == "mobilenetv2_100" else None)
            one_model(model, pictures, options.peers, rounds=rounds, seconds=seconds)
        if options.count:
            count = min(options.count, 100) if options.quick else options.count
            many_models(Path(root), pictures, count=count, seconds=seconds)


if __name__ == "__main__":
    main()
