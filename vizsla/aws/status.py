"""What runs, and where."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from vizsla.aws import images
from vizsla.aws.context import STATE
from vizsla.aws.server import running
from vizsla.jobs import controller
from vizsla.workflow import endpoints


def status_of(home: Path) -> dict[str, Any]:
    """Plain JSON: the server, and what its clients find."""
    server = running(home.absolute())
    counts = Counter(summary.status for summary in controller.summaries(home))
    buckets = sorted(path.name for path in (home / "buckets").glob("[!.]*") if path.is_dir())
    return {
        "home": str(home.absolute()),
        "address": None if server is None else server.address,
        "pid": None if server is None else server.pid,
        "jobs": ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "none",
        "endpoints": ", ".join(f"{one.name} ({one.status()})" for one in endpoints.every()) or "none",
        "buckets": ", ".join(buckets) or "none",
        "images": ", ".join(image.name for image in images.every(home / STATE)) or "none",
    }
