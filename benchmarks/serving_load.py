"""Servers to measure, and load on them: started, asked from wrk or at a given rate, stopped with all their children."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import random
import re
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

CLASSES = 133
"""Probabilities in an answer."""


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
        own = psutil.Process(self.process.pid)
        times = [process.cpu_times() for process in (own, *own.children(recursive=True))]
        return float(sum(t.user + t.system for t in times))

    def rss(self) -> float:
        """Resident megabytes of the process and its children."""
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


@dataclass(frozen=True)
class Load:
    """Answers a second, latencies in milliseconds, errors."""

    rate: float
    p50: float
    p99: float
    errors: int


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
    p50, p99 = np.percentile(milliseconds, [50, 99]).tolist()
    return Load(len(latencies) / seconds, p50, p99, errors)
