"""Worker threads that take waiting pictures, a few at a time, from bytes to probabilities.

A worker decodes what it took, runs the backbone once for all of it, and each picture's own head: no second queue
between decoding and the engine. It takes what is waiting and waits for nothing, so that a picture that is alone
leaves at once, and batches form by themselves when pictures queue up. Requests for different heads on one backbone
share a batch.
"""

from __future__ import annotations

import asyncio
import struct
import threading
import time
from bisect import insort_right
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vizsla.errors import ImageError
from vizsla.images import Limits
from vizsla.serving.answers import Answered
from vizsla.serving.backbones import ServedModel
from vizsla.serving.bodies import Picture
from vizsla.serving.explain import explained, opened
from vizsla.serving.faults import ClientGoneError, RequestError

_LOOK_AHEAD = 64
"""Waiting pictures that a worker passes over for companions on the same backbone; heavy ones do not count, so that
many of them lock nobody out."""

_TURNS = 2
"""Pictures that are taken for each one of a list while others wait, at the least (start-time fair queueing: a picture's
rank is the number of pictures taken before its request came, plus this for each one before it in its list)."""

_LIGHT_BYTES = 1_000_000
_LIGHT_PIXELS = 4_000_000
_MAX_SEGMENTS = 1000
_START_OF_FRAME = frozenset(bytes((0xC0 + i,)) for i in range(16) if i not in (4, 8, 12))


def is_heavy(picture: Picture) -> bool:
    """Whether a picture may take long to decode: a large file, or a small one of many pixels (its header tells).

    A heavy picture gets a call of its own, and heavy ones never hold all workers.
    """
    if not isinstance(picture, bytes):
        return picture.size > 3 * _LIGHT_PIXELS
    jpeg = picture.startswith(b"\xff\xd8")  # decoded at a reduced scale, four times as quickly as others
    if picture.startswith((b"II*\0", b"MM\0*")):
        return True  # a TIFF's size stands anywhere
    width, height = pixel_size(picture)
    if width * height > (4 * _LIGHT_PIXELS if jpeg else _LIGHT_PIXELS):
        return True
    return not picture.startswith(b"\x89PNG") and len(picture) > (_LIGHT_BYTES if jpeg else _LIGHT_BYTES // 4)


def pixel_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels as a picture's header tells them, unchecked; (0, 0) where it does not.

    Sources: the PNG, GIF89a and JPEG (ITU-T T.81, B.2.2) specifications, RFC 9649 for WebP, BITMAPINFOHEADER.
    """
    if data.startswith(b"\x89PNG") and len(data) >= 24:
        return int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    if data.startswith((b"GIF87a", b"GIF89a")):
        return _little(data[6:8]), _little(data[8:10])
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp_size(data)
    if data.startswith(b"BM") and len(data) >= 26:
        if data[14] == 12:
            return _little(data[18:20]), _little(data[20:22])
        width, height = struct.unpack("<ii", data[18:26])
        return abs(width), abs(height)
    return _jpeg_size(data) if data.startswith(b"\xff\xd8") else (0, 0)


def _webp_size(data: bytes) -> tuple[int, int]:
    if data[12:16] == b"VP8X":
        return 1 + _little(data[24:27]), 1 + _little(data[27:30])
    if data[12:16] == b"VP8L":
        bits = _little(data[21:25])
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return _little(data[26:28]) & 0x3FFF, _little(data[28:30]) & 0x3FFF


def _jpeg_size(data: bytes) -> tuple[int, int]:
    place = 2
    for _ in range(_MAX_SEGMENTS):
        if data[place : place + 1] != b"\xff":
            break
        kind = data[place + 1 : place + 2]
        if kind == b"\xff":  # a byte that fills up
            place += 1
        elif kind in _START_OF_FRAME:
            return int.from_bytes(data[place + 7 : place + 9]), int.from_bytes(data[place + 5 : place + 7])
        else:
            place += 2 + int.from_bytes(data[place + 2 : place + 4])
    return 0, 0


def _little(data: bytes) -> int:
    return int.from_bytes(data, "little")


def _fits(one: ServedModel, other: ServedModel) -> bool:
    """Whether pictures of two models can share a call: one backbone, one size."""
    return one.backbone is other.backbone and one.preprocessing.size == other.preprocessing.size


def _rank(task: Task) -> int:
    return task.rank


class Task:
    """One picture on its way to its answer. ``scope`` is the ASGI scope, which says when the client has gone."""

    __slots__ = (
        "error", "explain", "finished", "future", "heavy", "model", "picture", "rank", "result", "scope", "taken",
    )  # fmt: skip

    def __init__(
        self, picture: Picture, model: ServedModel, future: asyncio.Future[Answered], scope: Mapping[str, Any]
    ) -> None:
        self.picture = picture
        self.model = model
        self.future = future
        self.scope = scope
        self.explain = False
        self.rank = 0
        self.heavy = is_heavy(picture)
        self.taken = self.finished = 0.0
        self.result: Answered | None = None
        self.error: Exception | None = None


class Batcher:
    """``threads`` workers over one queue. :meth:`submit` is called from the event loop, and only from there.

    ``strict_images`` refuses pictures that can be decoded although part of their data is broken.
    """

    def __init__(self, threads: int, limits: Limits, *, max_waiting: int = 2048, strict_images: bool = False) -> None:
        self._threads = threads
        self._limits = limits
        self._strict_images = strict_images
        self._max_waiting = max_waiting
        self._waiting: deque[Task] = deque()
        self._changed = threading.Condition()
        self._running = 0
        self._taken = 0
        self._heavy_running = 0
        self._closed = False
        self._workers = [threading.Thread(target=self._work, name=f"serve-{i}", daemon=True) for i in range(threads)]
        self.on_batch: Callable[[int], None] = lambda size: None
        self.last_active = time.monotonic()

    def start(self) -> None:
        """Start the workers."""
        self._loop = asyncio.get_running_loop()
        for worker in self._workers:
            worker.start()

    @property
    def in_flight(self) -> int:
        """Pictures waiting or being worked on."""
        return len(self._waiting) + self._running

    @property
    def waiting(self) -> int:
        """Pictures waiting."""
        return len(self._waiting)

    def submit(self, picture: Picture, model: ServedModel, scope: Mapping[str, Any], *, explain: bool) -> Task:
        """Queue a picture; the task's future gets its answer, an ImageError or a RequestError.

        Raises
        ------
        RequestError
            ``overloaded`` when too many are waiting.
        """
        return self.submit_all([picture], model, scope, explain=explain)[0]

    def submit_all(
        self, pictures: Sequence[Picture], model: ServedModel, scope: Mapping[str, Any], *, explain: bool
    ) -> list[Task]:
        """Queue a request's pictures, all of them or none. They take turns with those of other requests: a list does
        not lock a single picture out.

        Raises
        ------
        RequestError
            ``overloaded`` when too many are waiting.
        """
        if len(self._waiting) + len(pictures) > self._max_waiting or self._closed:
            raise RequestError(
                "overloaded",
                f"{len(self._waiting):,} pictures are waiting already.",
                do="try again a little later, with less at a time",
            )
        tasks = [Task(picture, model, self._loop.create_future(), scope) for picture in pictures]
        with self._changed:
            for place, task in enumerate(tasks):
                task.explain = explain
                task.rank = self._taken + _TURNS * place
                if not self._waiting or self._waiting[-1].rank <= task.rank:
                    self._waiting.append(task)
                else:
                    insort_right(self._waiting, task, key=_rank)
            self._changed.notify(len(tasks))
        return tasks

    def close(self) -> None:
        """Stop the workers when nothing is waiting any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for worker in self._workers:
            worker.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                tasks = self._take()
                while not tasks:
                    if self._closed and not self._waiting:
                        return
                    self._changed.wait()
                    tasks = self._take()
                self._running += len(tasks)
                self._heavy_running += tasks[0].heavy
                alone = self._running == 1 and not self._waiting
            try:
                _answer(tasks, self._limits, alone, self._strict_images)
            finally:
                with self._changed:
                    self._running -= len(tasks)
                    self._heavy_running -= tasks[0].heavy
                    if tasks[0].heavy:
                        self._changed.notify()
                self.last_active = time.monotonic()
                self._loop.call_soon_threadsafe(self._finish, tasks)

    def _finish(self, tasks: list[Task]) -> None:
        self.on_batch(len(tasks))
        _deliver(tasks)

    def _take(self) -> list[Task]:
        """Some waiting pictures of one backbone, the oldest first; none when only heavy ones wait for their turn."""
        heavy_allowed = self._heavy_running < max(1, self._threads - 1)
        taken: list[Task] = []
        skipped: list[Task] = []
        wanted, passed = 1, 0
        while self._waiting and len(taken) < wanted and passed < _LOOK_AHEAD:
            task = self._waiting.popleft()
            if task.scope.get("vizsla.gone") or task.future.cancelled():
                task.error = ClientGoneError()
                self._loop.call_soon_threadsafe(_deliver, [task])
                continue
            if not taken and (not task.heavy or heavy_allowed):
                taken.append(task)
                wanted = 1 if task.heavy or task.explain else task.model.backbone.plan.batch
            elif taken and not task.heavy and not task.explain and _fits(task.model, taken[0].model):
                taken.append(task)
            else:
                skipped.append(task)
                passed += not task.heavy
        self._waiting.extendleft(reversed(skipped))
        self._taken += len(taken)
        return taken


def _answer(tasks: list[Task], limits: Limits, alone: bool, strict_images: bool) -> None:
    """Decode, run the backbone once, run each head. A picture that fails, fails alone."""
    pixels: list[npt.NDArray[np.uint8]] = []
    ready: list[Task] = []
    warnings: list[ImageError | None] = []
    now = time.perf_counter()
    for task in tasks:
        task.taken = now
        try:
            decoded = opened(task.picture, task.model, limits)
            warning = decoded.warning()
            if warning and strict_images:
                raise warning
            if task.explain:
                task.result = explained(decoded, task.model, warning)
            else:
                pixels.append(task.model.preprocessing.apply(decoded.image, decoded.full_size))
                ready.append(task)
                warnings.append(warning)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this picture's answer
            task.error = error
    if ready:
        try:
            backbone = ready[0].model.backbone
            features = backbone.features(pixels[0][None] if len(pixels) == 1 else np.stack(pixels), alone=alone)
        except Exception as error:  # noqa: BLE001 - as above, for the whole batch
            for task in ready:
                task.error = error
            ready = []
        for row, task in enumerate(ready):
            try:
                probabilities = task.model.head.probabilities(features[row : row + 1])[0]
                task.result = Answered(probabilities, warning=warnings[row])
            except Exception as error:  # noqa: BLE001 - this model's own: the others in the batch have theirs
                task.error = error
    now = time.perf_counter()
    for task in tasks:
        task.finished = now


def _deliver(tasks: list[Task]) -> None:
    for task in tasks:
        if task.future.done():
            continue
        if task.error is not None:
            task.future.set_exception(task.error)
        elif task.result is not None:
            task.future.set_result(task.result)
