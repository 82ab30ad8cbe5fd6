"""``vizsla check``: the first and the second run, memory against rows, an S3 sync against a one-by-one loop.

    python -m benchmarks.check scan
    python -m benchmarks.check rows
    python -m benchmarks.check s3

Each prints a table of one run. ``--quick`` takes a tenth.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image, ImageEnhance

from benchmarks.measure import FLOWERS


def _distinct(task: tuple[Path, Path, int]) -> None:
    """One photo made from another: cut, turned and re-coloured by chance, 350 x 256 or 256 x 350."""
    source, target, seed = task
    rng = random.Random(seed)
    with Image.open(source) as image:
        photo = image.convert("RGB")
    share = rng.uniform(0.55, 0.95)
    width, height = photo.width * share, photo.height * share
    left, top = rng.uniform(0, photo.width - width), rng.uniform(0, photo.height - height)
    size = (350, 256) if photo.width >= photo.height else (256, 350)
    photo = photo.resize(size, Image.Resampling.BICUBIC, box=(left, top, left + width, top + height))
    if rng.random() < 0.5:
        photo = photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    photo = ImageEnhance.Color(photo).enhance(rng.uniform(0.6, 1.4))
    photo.save(target, "JPEG", quality=88)


def scan(photos: Path, n: int) -> None:
    """The command twice on ``n`` photos, in new processes, and the pass itself on threads and processes."""
    sources = sorted(photos.rglob("*.jpg"))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "photos"
        tasks = []
        for i in range(n):
            source = sources[i % len(sources)]
            target = root / source.parent.name / f"{i:06}.jpg"
            target.parent.mkdir(parents=True, exist_ok=True)
            tasks.append((source, target, i))
        with ProcessPoolExecutor() as pool:
            list(pool.map(_distinct, tasks, chunksize=64))
        size = sum(task[1].stat().st_size for task in tasks)
        time.sleep(3)  # files that have just changed are read again
        print(f"{n:,} photos of 350 x 256, {size / n / 1024:.0f} KiB each; {os.cpu_count()} cores, {_load()}")
        environment = os.environ | {"VIZSLA_CACHE": f"{folder}/cache", "VIZSLA_HOME": f"{folder}/runs"}
        print("| run | seconds | pictures looked at | largest memory, MB |\n|---|---|---|---|")
        for name in ("first", "second", "third"):
            seconds, told, memory = _command(["check", str(root), "--json"], environment)
            print(f"| {name} | {seconds:.2f} | {told['inspected']:,} | {memory:.0f} |")
        print("findings:", {finding["id"]: finding["files"] for finding in told["findings"]})
        _threads_or_processes([task[1] for task in tasks[: min(n, 1500)]])


def _command(arguments: list[str], environment: dict[str, str]) -> tuple[float, dict[str, Any], float]:
    script = (
        "import resource, sys; from vizsla.cli.main import app\n"
        "try:\n    app(sys.argv[1:])\n"
        "except SystemExit:\n    pass\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    )
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], env=environment, capture_output=True, text=True, check=True
    )
    seconds = time.perf_counter() - began
    told, memory = done.stdout.strip().splitlines()[-2:]
    return seconds, json.loads(told), float(memory)


def _look(path: Path) -> int:
    from vizsla.data.inspection import inspect
    from vizsla.images import Limits

    inspect(path.read_bytes(), Limits(10**8, 10**8, 20), with_quality=True)
    return 1


def _threads_or_processes(paths: list[Path]) -> None:
    workers = len(os.sched_getaffinity(0))
    _look(paths[0])
    rates: dict[str, list[float]] = {"threads": [], "processes": []}
    with ThreadPoolExecutor(workers) as threads, ProcessPoolExecutor(workers) as processes:
        list(processes.map(_look, paths[:64]))
        for _ in range(3):
            for name, pool, chunk in (("threads", threads, 1), ("processes", processes, 32)):
                began = time.perf_counter()
                list(pool.map(_look, paths, chunksize=chunk))
                rates[name].append(len(paths) / (time.perf_counter() - began))
    for name, found in rates.items():
        shown = ", ".join(f"{rate:.0f}" for rate in found)
        print(f"{workers} {name}: {statistics.median(found):.0f} pictures a second (runs {shown})")


_ROWS = """
import resource, sys, tempfile, time
from pathlib import Path
import numpy as np
from vizsla.data.dataset import Dataset
from vizsla.data.duplicates import exact, near
from vizsla.data.inspection import RECORD
from vizsla.data.manifest import read_decisions, write_manifest

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

def now():
    for line in open("/proc/self/status"):
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024

class Paths:
    "A path is made when it is asked for."
    def __init__(self, n): self.n = n
    def __len__(self): return self.n
    def __getitem__(self, i):
        if i >= self.n: raise IndexError
        return f"train/class_{i % 100:03}/photo_{i:08}.jpg"

n = int(sys.argv[1])
rng = np.random.default_rng(0)
records = np.zeros(n, RECORD)
for start in range(0, n, 65536):
    part = records[start:start + 65536]
    part["sha256"] = rng.integers(0, 256, (len(part), 32), dtype=np.uint8)
    part["phash"] = rng.integers(1, 2**64, (len(part), 4), dtype=np.uint64)
records["bytes"], records["width"], records["height"] = 25000, 350, 256
dataset = Dataset("synthetic", Path("."), tuple(f"class_{i:03}" for i in range(100)), Paths(n),
                  (np.arange(n) % 100).astype(np.int32), (np.arange(n) % 3).astype(np.int8))
import pyarrow.parquet
before, began = now(), time.perf_counter()
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "manifest.parquet"
    write_manifest(path, dataset, records, np.zeros(n, np.int8), {})
    wrote = time.perf_counter() - began
    (path.with_name(f".{path.name}.index")).unlink()
    began = time.perf_counter()
    decisions = read_decisions(path)
    read, size = time.perf_counter() - began, path.stat().st_size
    after = peak()
    began = time.perf_counter()
    readable = np.ones(n, bool)
    clusters = exact(records["sha256"], readable), near(records["phash"], readable)[0]
    searched = time.perf_counter() - began
times = f"{wrote:.1f} | {read:.1f} | {searched:.1f}"
print(f"| {n:,} | {size / 1e6:.0f} | {times} | {before:.0f} | {after:.0f} | {peak():.0f} |")
"""


def rows(most: int) -> None:
    """Writing, reading and searching a synthetic manifest, each number of rows in a process of its own."""
    print("| rows | file, MB | write, s | read, s | copies, s | MB before | MB with write and read | MB with all |")
    print("|---|---|---|---|---|---|---|---|")
    for n in (most // 10, most):
        subprocess.run([sys.executable, "-c", _ROWS, str(n)], check=True)


@contextmanager
def _server(folder: Path) -> Iterator[str]:
    program = os.environ.get("VIZSLA_S3RVER") or shutil.which("s3rver")
    program = program or str(Path.home() / ".cache/vizsla/s3rver/node_modules/.bin/s3rver")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [program, "-d", str(folder), "-a", "127.0.0.1", "-p", str(port), "--silent", "--configure-bucket", "b"]
    # Its lists of more than 1,000 objects need a cipher that OpenSSL 3 keeps for old programs.
    environment = os.environ | {"NODE_OPTIONS": "--openssl-legacy-provider"}
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    try:
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(10)


_RELAY = """
import asyncio, sys
port, delay = int(sys.argv[1]), float(sys.argv[2])

async def serve(reader, writer):
    up_reader, up_writer = await asyncio.open_connection("127.0.0.1", port)
    loop = asyncio.get_running_loop()

    async def pump(source, target, wait):
        while data := await source.read(65536):
            if wait:
                loop.call_later(wait, target.write, data)
            else:
                target.write(data)
        loop.call_later(wait, target.close)

    await asyncio.gather(pump(reader, up_writer, 0), pump(up_reader, writer, delay), return_exceptions=True)

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


@contextmanager
def _far_away(endpoint: str, delay: float) -> Iterator[str]:
    """The same server behind a relay that holds every answer back, as a network does."""
    port = endpoint.rpartition(":")[2]
    relay = subprocess.Popen(
        [sys.executable, "-c", _RELAY, port, str(delay)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert relay.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(relay.stdout.readline())}"
    finally:
        relay.terminate()
        relay.wait(10)


def s3(n: int) -> None:
    """Our sync against boto3 one object after another: ``get_object``, and ``download_file`` as scripts do it."""
    import obstore

    from vizsla.s3_session import connect

    os.environ |= {"AWS_ACCESS_KEY_ID": "S3RVER", "AWS_SECRET_ACCESS_KEY": "S3RVER"}
    with tempfile.TemporaryDirectory() as folder, _server(Path(folder) / "server") as endpoint:
        store, data = connect("b", endpoint), os.urandom(1 << 20)

        def put(i: int) -> None:
            start = i * 97 % (1 << 19)
            obstore.put(store, f"set/{'ab'[i % 2]}/{i:06}.jpg", data[start : start + 10_000])

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(put, range(n)))
        print(f"{n:,} objects of 10 kB, s3rver (one Node.js process) on loopback, {_load()}")
        print("| way | objects/s, median (runs) | of get_object |\n|---|---|---|")
        _ways("", n, endpoint, Path(folder) / "near")
        with _far_away(endpoint, 0.01) as relayed:
            _ways(", answers 10 ms later", n, relayed, Path(folder) / "far")


def _ways(words: str, n: int, endpoint: str, folder: Path) -> None:
    import boto3

    from vizsla.data.s3 import sync

    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
    part = max(1, n // 10)  # the loops are slow: their rate is measured on a tenth
    keys = [f"set/{'ab'[i % 2]}/{i:06}.jpg" for i in range(part)]
    ways = ("boto3 get_object", "boto3 download_file", "sync", "sync again")
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(3):
        target = folder / f"loop{turn}"
        target.mkdir(parents=True)
        began = time.perf_counter()
        for i, key in enumerate(keys):
            (target / f"{i}.jpg").write_bytes(client.get_object(Bucket="b", Key=key)["Body"].read())
        rates["boto3 get_object"].append(part / (time.perf_counter() - began))
        began = time.perf_counter()
        for i, key in enumerate(keys):
            client.download_file("b", key, str(target / f"d{i}.jpg"))
        rates["boto3 download_file"].append(part / (time.perf_counter() - began))
        for name in ("sync", "sync again"):
            began = time.perf_counter()
            sync("s3://b/set", folder / f"cache{turn}", endpoint_url=endpoint)
            rates[name].append(n / (time.perf_counter() - began))
    base = statistics.median(rates["boto3 get_object"])
    for name, found in rates.items():
        shown = ", ".join(f"{rate:.0f}" for rate in found)
        middle = statistics.median(found)
        print(f"| {name}{words} | {middle:.0f} ({shown}) | {middle / base:.1f}x |", flush=True)


def _load() -> str:
    return f"load {os.getloadavg()[0]:.1f}"


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["scan", "rows", "s3"])
    parser.add_argument("--photos", type=Path, default=FLOWERS)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    share = 10 if arguments.quick else 1
    if arguments.what == "scan":
        scan(arguments.photos, 10_000 // share)
    elif arguments.what == "rows":
        rows(1_000_000 // share)
    else:
        s3(5_000 // share)


if __name__ == "__main__":
    main()
