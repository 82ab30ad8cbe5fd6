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

_WAITING_BYTES = 64 << 20
_FILE_BYTES = 16 << 20
_FILES = 32
"""At least: each variant has one that is written, and one that is removed is not all that was kept."""


@dataclass(frozen=True)
class CaptureOptions:
    """``share`` of the requests, from 0 to 1; ``modes`` of ``Input`` and ``Output``; ``max_bytes`` of all files."""

    folder: Path
    share: float = 1.0
    modes: Sequence[str] = ("Input", "Output")
    max_bytes: int = 1_000_000_000


class Capture:
    """Writes what was asked and answered, from a thread of its own: no request waits for the disk. What comes faster
    than it can be written, or is larger than all may be, is dropped, and counted."""

    def __init__(self, options: CaptureOptions, endpoint: str) -> None:
        self.options = options
        self.dropped = 0
        self._endpoint = endpoint
        self._file_bytes = min(_FILE_BYTES, options.max_bytes // _FILES)
        self._queue: queue.SimpleQueue[tuple[str, bytes] | None] = queue.SimpleQueue()
        self._waiting_bytes, self._count = 0, threading.Lock()
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
        if random.random() >= self.options.share:
            return
        if not self._has_room(len(sent[0]) + len(answered[0])):
            self.dropped += 1
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
        if not self._has_room(len(line)):
            self.dropped += 1
            return
        with self._count:
            self._waiting_bytes += len(line)
        self._queue.put((variant, line))

    def _has_room(self, size: int) -> bool:
        waiting = self._waiting_bytes
        return size <= self.options.max_bytes and (not waiting or waiting + size <= _WAITING_BYTES)

    def close(self) -> None:
        """Write what waits."""
        self._queue.put(None)
        self._thread.join()

    def _write(self) -> None:
        while (entry := self._queue.get()) is not None:
            with contextlib.suppress(OSError):  # a full disk must not end the endpoint
                self._append(*entry)
            with self._count:
                self._waiting_bytes -= len(entry[1])
        for _, file in self._open.values():
            file.close()

    def _append(self, variant: str, line: bytes) -> None:
        now = datetime.now(UTC)
        folder = self.options.folder / self._endpoint / variant / now.strftime("%Y/%m/%d/%H")
        path, file = self._open.get(variant, (None, None))
        if path is None or file is None or path.parent != folder or file.tell() + len(line) > self._file_bytes:
            if file is not None:
                file.close()
            folder.mkdir(parents=True, exist_ok=True)
            stamp = now.strftime("%M-%S-") + f"{now.microsecond // 1000:03}"
            path = folder / f"{stamp}-{uuid.uuid4()}.jsonl"
            file = open(path, "ab", buffering=0)  # noqa: SIM115 - it stays open
            self._open[variant] = path, file
            self._bound(max(len(line), self._file_bytes))
        file.write(line)

    def _bound(self, size: int) -> None:
        """Remove the oldest files, so that all are as large as they may be when those that are written are whole; the
        newest of them will have ``size``."""
        open_files = {path for path, _ in self._open.values()}
        found = [path for path in self.options.folder.rglob("*.jsonl") if path not in open_files]
        files = sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.name))
        total = sum(path.stat().st_size for path in files) + size + (len(open_files) - 1) * self._file_bytes
        for path in files:
            if total <= self.options.max_bytes:
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
