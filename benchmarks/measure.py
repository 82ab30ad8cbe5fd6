"""What the benchmarks share: where the photos are, repeated timing, tables. Timings are printed, never asserted."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

SHARED = Path(os.environ.get("VIZSLA_SHARED") or Path(__file__).resolve().parents[2] / "shared")
FLOWERS = SHARED / "data" / "flowers"
MOBILENET_WEIGHTS = SHARED / "weights" / "mobilenetv2_100.tf_in1k"


def photos(n: int) -> list[Path]:
    """``n`` of the flower photos, spread over the classes."""
    found = sorted(FLOWERS.rglob("*.jpg"))
    if not found:
        raise SystemExit(f"needs data/flowers in {SHARED} (or set VIZSLA_SHARED)")
    return found[:: max(1, len(found) // n)][:n]


def seconds(action: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def interleaved(actions: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Call every action ``rounds`` times in turn, so that a noisy machine disturbs all alike; what each returned."""
    results: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            results[name].append(action())
    return results


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Median with minimum and maximum."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """Median of the ratios round by round, with their spread."""
    return spread([a / b for a, b in zip(ours, theirs, strict=True)], 2)


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a Markdown table, as the docs show it."""
    print("\n| " + " | ".join(header) + " |")
    print("|" + "---|" * len(header))
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")
    print(flush=True)


def vizsla(*arguments: object, **environment: str) -> tuple[float, float, dict[str, object]]:
    """Run the command in a process of its own: wall seconds, peak memory in MB, its JSON (where it prints some)."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "vizsla", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    out, words = process.stdout, process.stderr
    assert out is not None
    assert words is not None
    text, trouble = out.read(), words.read()
    _, status, usage = os.wait4(process.pid, 0)
    took = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(trouble)
    last = text.splitlines()[-1] if text.strip() else ""
    return took, usage.ru_maxrss / 1024, json.loads(last) if last.startswith("{") else {}
