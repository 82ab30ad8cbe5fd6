"""Data capture: a share of the requests and answers, in the files and the format of SageMaker's data capture.

``<folder>/<endpoint>/<variant>/yyyy/mm/dd/hh/MM-SS-mmm-<uuid>.jsonl``, one line a request (developer guide, "Capture
Data from Real-Time Endpoint"). The oldest files go when all are larger than they may be.
"""

from __future__ import annotations

import base64
import contextlib
import queue
import random
import threading
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import orjson

_WAITING = 256
_FILE_BYTES = 16 << 20


@dataclass(frozen=True)
class CaptureOptions:
    """``share`` of the requests, from 0 to 1; ``modes`` of ``Input`` and ``Output``; ``max_bytes`` of all files."""

    folder: Path
    share: float = 1.0
    modes: Sequence[str] = ("Input", "Output")
    max_bytes: int = 1_000_000_000


class Capture:
    """Writes what was asked and answered, from a thread of its own: no request waits for the disk. What comes faster
    than it can be written is dropped, and counted."""

    def __init__(self, options: CaptureOptions, endpoint: str) -> None:
        self.options = options
        self.dropped = 0
        self._endpoint = endpoint
        self._queue: queue.Queue[tuple[str, bytes] | None] = queue.Queue(_WAITING)
        self._open: dict[str, tuple[Path, IO[bytes]]] = {}
        self._thread = threading.Thread(target=self._write, name="capture", daemon=True)
        self._thread.start()

    def take(
        self,
        variant: str,
        *,
        sent: tuple[bytes, str],
        answered: tuple[bytes, str],
        inference_id: str | None,
        event_id: str,
    ) -> None:
        """Keep a request and its answer (each with its content type), or not: as the share wants it."""
        if random.random() >= self.options.share or self._queue.full():
            self.dropped += self._queue.full()
            return
        data: dict[str, Any] = {}
        for mode, (content, content_type) in (("Input", sent), ("Output", answered)):
            if mode in self.options.modes:
                encoding, text = _encoded(content, content_type)
                data[f"endpoint{mode}"] = {
                    "observedContentType": content_type,
                    "mode": mode.upper(),
                    "data": text,
                    "encoding": encoding,
                }
        moment = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        about = {"eventId": event_id, "inferenceTime": moment}
        if inference_id is not None:
            about["inferenceId"] = inference_id
        line = orjson.dumps({"captureData": data, "eventMetadata": about, "eventVersion": "0"}) + b"\n"
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait((variant, line))

    def close(self) -> None:
        """Write what waits."""
        self._queue.put(None)
        self._thread.join()

    def _write(self) -> None:
        while (entry := self._queue.get()) is not None:
            with contextlib.suppress(OSError):  # a full disk must not end the endpoint
                self._append(*entry)
        for _, file in self._open.values():
            file.close()

    def _append(self, variant: str, line: bytes) -> None:
        now = datetime.now(UTC)
        folder = self.options.folder / self._endpoint / variant / now.strftime("%Y/%m/%d/%H")
        path, file = self._open.get(variant, (None, None))
        if path is None or file is None or path.parent != folder or file.tell() + len(line) > _FILE_BYTES:
            if file is not None:
                file.close()
            folder.mkdir(parents=True, exist_ok=True)
            stamp = now.strftime("%M-%S-") + f"{now.microsecond // 1000:03}"
            path = folder / f"{stamp}-{uuid.uuid4()}.jsonl"
            file = open(path, "ab", buffering=0)  # noqa: SIM115 - it stays open
            self._open[variant] = path, file
            self._bound(path)
        file.write(line)

    def _bound(self, newest: Path) -> None:
        """Remove the oldest files, so that with a whole new one all are as large as they may be."""
        files = sorted(self.options.folder.rglob("*.jsonl"), key=lambda path: (path.stat().st_mtime_ns, path.name))
        total = sum(path.stat().st_size for path in files) + _FILE_BYTES
        for path in files:
            if total <= self.options.max_bytes or path == newest:
                break
            total -= path.stat().st_size
            path.unlink(missing_ok=True)


def _encoded(content: bytes, content_type: str) -> tuple[str, str]:
    media = content_type.partition(";")[0].strip().lower()
    encoding = "CSV" if media == "text/csv" else "JSON" if "json" in media else "BASE64"
    if encoding != "BASE64":
        with contextlib.suppress(UnicodeDecodeError):
            return encoding, content.decode()
    return "BASE64", base64.b64encode(content).decode()
