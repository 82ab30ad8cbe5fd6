"""How a backbone is run here: measured once on this machine, kept in the cache, never guessed."""

from __future__ import annotations

import json
import platform
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from vizsla.errors import StorageError
from vizsla.files import write_json
from vizsla.models.engine import Engine, Pixels

_BATCHES = (1, 2, 4, 8)
_ROUNDS = 3
_ROUND_SECONDS = 0.12
_WORTH = 1.05
"""How much faster a batch must be to be used: below that it only costs latency."""


@dataclass(frozen=True)
class Plan:
    """``batch`` pictures a call under load (one thread a call, as many calls as cores), and whether a request that
    is alone gets all threads (``spread``)."""

    batch: int = 1
    spread: bool = False


def plan_key(sha256: str, engine: Engine, threads: int) -> str:
    """What a measurement holds for: a backbone, an engine, a processor, a number of threads."""
    return "-".join((sha256[:16], engine.name, engine.precision, _processor(), str(threads)))


def load_plan(file: Path, key: str) -> Plan | None:
    """The plan measured earlier, if there is one."""
    try:
        entry = json.loads(file.read_text("utf-8"))[key]
        return Plan(int(entry["batch"]), bool(entry["spread"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


_writing = threading.Lock()


def store_plan(file: Path, key: str, plan: Plan) -> None:
    """Keep a plan; a cache that cannot be written only costs the next start a measurement."""
    with _writing:
        try:
            plans = json.loads(file.read_text("utf-8"))
        except (OSError, ValueError):
            plans = {}
        if not isinstance(plans, dict):  # somebody else's file, or one that was damaged
            plans = {}
        plans[key] = asdict(plan)
        try:
            write_json(file, plans, make_folder=True)
        except StorageError:
            return


def measure(narrow: Engine, wide: Engine, size: int, threads: int, busy: Callable[[], bool]) -> Plan | None:
    """Try batch sizes and thread numbers on noise; None when requests came in between, which spoil it.

    Every way is tried in every round and its median counts, so that a passing neighbour does not decide. A way
    that does not give the same bits as one picture on one thread is not used: answers must not depend on load.
    """
    pixels = np.random.default_rng(0).integers(0, 256, (max(_BATCHES), size, size, 3), dtype=np.uint8)
    alone = np.concatenate([narrow.features(pixels[i : i + 1]) for i in range(len(pixels))])
    same = [b for b in _BATCHES if np.array_equal(narrow.features(pixels[:b]), alone[:b])]
    spread_same = np.array_equal(wide.features(pixels[:1]), alone[:1])
    rates: dict[int, list[float]] = {b: [] for b in same}
    seconds: dict[str, list[float]] = {"narrow": [], "wide": []}
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(_ROUNDS):
            for batch in same:
                if busy():
                    return None
                rates[batch].append(_rate(narrow, pixels[:batch], threads, pool))
            for name, engine in (("narrow", narrow), ("wide", wide)):
                if busy():
                    return None
                seconds[name].append(_seconds(engine, pixels[:1]))
    medians = {batch: float(np.median(values)) for batch, values in rates.items()}
    best = max(medians, key=lambda batch: medians[batch])
    smallest = min(batch for batch in medians if medians[best] < _WORTH * medians[batch] or batch == best)
    return Plan(smallest, bool(spread_same and np.median(seconds["wide"]) < np.median(seconds["narrow"])))


def _rate(engine: Engine, pixels: Pixels, threads: int, pool: ThreadPoolExecutor) -> float:
    """Pictures a second of ``threads`` callers at a time."""

    def caller(_: int) -> int:
        done = 0
        while time.perf_counter() < end:
            engine.features(pixels)
            done += len(pixels)
        return done

    start = time.perf_counter()
    end = start + _ROUND_SECONDS
    done = sum(pool.map(caller, range(threads)))
    return done / (time.perf_counter() - start)


def _seconds(engine: Engine, pixels: Pixels) -> float:
    start, calls = time.perf_counter(), 0
    while time.perf_counter() < start + _ROUND_SECONDS:
        engine.features(pixels)
        calls += 1
    return (time.perf_counter() - start) / calls


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            names = {line.partition(":")[2].strip() for line in file if line.startswith("model name")}
        return "+".join(sorted(names)) or platform.machine()
    except OSError:
        return platform.processor() or platform.machine()
