"""Worker threads that take waiting pictures, one at a time, from bytes to probabilities.

A worker decodes its picture, runs the backbone on one core and the model's head: no second queue between decoding and
the engine, and nobody waits for a batch to fill (docs/performance.md: on processors larger batches are no quicker). A
picture that is alone gets all cores.
"""

from __future__ import annotations

import asyncio
import threading
import time
from bisect import insort_right
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from vizsla.images import Limits
from vizsla.images.header import pixel_size
from vizsla.serving.answers import Answer
from vizsla.serving.backbones import ServedModel
from vizsla.serving.bodies import Picture
from vizsla.serving.explain import explain, open_picture
from vizsla.serving.faults import ClientGoneError, RequestError

_TURNS = 2
"""Pictures that are taken for each one of a list while others wait, at the least (start-time fair queueing: a picture's
rank is the number of pictures taken before its request came, plus this for each one before it in its list)."""

_LIGHT_BYTES = 1_000_000
_LIGHT_PIXELS = 4_000_000


def is_heavy(picture: Picture) -> bool:
    """Whether a picture may take long to decode: a large file, or a small one of many pixels (its header tells).

    Heavy pictures never hold all workers.
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


@dataclass(slots=True, eq=False)
class Task:
    """One picture on its way to its answer. ``scope`` is the ASGI scope, which says when the client has gone."""

    picture: Picture
    model: ServedModel
    future: asyncio.Future[Answer]
    scope: Mapping[str, Any]
    explain: bool
    rank: int = 0
    heavy: bool = field(init=False)
    taken: float = 0.0
    finished: float = 0.0
    result: Answer | None = None
    error: Exception | None = None

    def __post_init__(self) -> None:
        self.heavy = is_heavy(self.picture)


class Workers:
    """``count`` threads over one queue. :meth:`submit` is called from the event loop, and only from there.

    ``strict_images`` refuses pictures that can be decoded although part of their data is broken.
    """

    def __init__(self, count: int, limits: Limits, *, max_waiting: int = 2048, strict_images: bool = False) -> None:
        self._limits = limits
        self._strict_images = strict_images
        self._max_waiting = max_waiting
        self._waiting: deque[Task] = deque()
        self._changed = threading.Condition()
        self._running = 0
        self._taken = 0
        self._heavy_running = 0
        self._closed = False
        self._threads = [threading.Thread(target=self._work, name=f"serve-{i}", daemon=True) for i in range(count)]
        self.last_active = time.monotonic()

    def start(self) -> None:
        """Start the workers."""
        self._loop = asyncio.get_running_loop()
        for thread in self._threads:
            thread.start()

    @property
    def in_flight(self) -> int:
        """Pictures waiting or being worked on."""
        return len(self._waiting) + self._running

    @property
    def waiting(self) -> int:
        """Pictures waiting."""
        return len(self._waiting)

    def submit(
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
        tasks = [Task(picture, model, self._loop.create_future(), scope, explain) for picture in pictures]
        with self._changed:
            for place, task in enumerate(tasks):
                task.rank = self._taken + _TURNS * place
                if not self._waiting or self._waiting[-1].rank <= task.rank:
                    self._waiting.append(task)
                else:
                    insort_right(self._waiting, task, key=attrgetter("rank"))
            self._changed.notify(len(tasks))
        return tasks

    def close(self) -> None:
        """Stop the workers when nothing is waiting any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                while (task := self._take()) is None:
                    if self._closed and not self._waiting:
                        return
                    self._changed.wait()
                self._running += 1
                self._heavy_running += task.heavy
                alone = self._running == 1 and not self._waiting
            try:
                _answer(task, self._limits, alone, self._strict_images)
            finally:
                with self._changed:
                    self._running -= 1
                    self._heavy_running -= task.heavy
                    if task.heavy:
                        self._changed.notify()
                self.last_active = time.monotonic()
                self._loop.call_soon_threadsafe(_deliver, task)

    def _take(self) -> Task | None:
        """The next waiting picture; None when only heavy ones wait for their turn."""
        heavy_allowed = self._heavy_running < max(1, len(self._threads) - 1)
        passed_over: list[Task] = []
        try:
            while self._waiting:
                task = self._waiting.popleft()
                if task.scope.get("vizsla.gone") or task.future.cancelled():
                    task.error = ClientGoneError()
                    self._loop.call_soon_threadsafe(_deliver, task)
                elif task.heavy and not heavy_allowed:
                    passed_over.append(task)
                else:
                    self._taken += 1
                    return task
            return None
        finally:
            self._waiting.extendleft(reversed(passed_over))


def _answer(task: Task, limits: Limits, alone: bool, strict_images: bool) -> None:
    """Decode, run the backbone, run the head."""
    task.taken = time.perf_counter()
    model = task.model
    try:
        decoded = open_picture(task.picture, model, limits)
        warning = decoded.warning()
        if warning and strict_images:
            raise warning
        if task.explain:
            task.result = explain(decoded, model, warning)
        else:
            pixels = model.preprocessing.apply(decoded.image, decoded.full_size)
            features = model.backbone.features(pixels[None], alone=alone)
            task.result = Answer(model.head.probabilities(features)[0], warning=warning)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is this picture's answer
        task.error = error
    task.finished = time.perf_counter()


def _deliver(task: Task) -> None:
    if task.future.done():
        return
    if task.error is not None:
        task.future.set_exception(task.error)
    elif task.result is not None:
        task.future.set_result(task.result)
