"""A model on its way into memory: located, read, unpacked; given up when it is unloaded meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from vizsla.models import artifact
from vizsla.parameters import spelled
from vizsla.serving.backbones import Backbones, ServedModel
from vizsla.serving.entry import has_code
from vizsla.serving.faults import RequestError
from vizsla.serving.shelves import Shelf
from vizsla.serving.toolkit import CodeModel

Served = ServedModel | CodeModel

_LOCATED_AT_ONCE = 16


@dataclass(eq=False)
class Entry:
    """A loaded model. ``artifact`` is the shelf's own name for it, ``released`` is set when its memory is free."""

    name: str
    model: Served
    artifact: str
    pinned: bool
    uses: int = 0
    gone: bool = False
    released: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(eq=False)
class Load:
    """A model that is being loaded. ``name`` is what finds it, unless ``POST /models`` gave its ``path`` and
    ``url``. Who unloads it meanwhile sets ``dropped``; ``waiting`` requests wait for it."""

    name: str
    artifact: str
    path: Path | None = None
    url: str = ""
    pinned: bool = False
    evict: bool = False
    waiting: int = 0
    dropped: threading.Event = field(default_factory=threading.Event)
    entry: Entry | None = None
    task: asyncio.Task[Entry] | None = None
    locating: asyncio.Task[Path] | None = None

    def drop(self) -> None:
        """Do not go on: nobody waits for what is being located, and what is loaded then is released at once."""
        self.dropped.set()
        if self.locating is not None:
            self.locating.cancel()
        self.stop_starting()

    def stop_starting(self) -> None:
        """End the start of the model's own code."""
        if self.entry is not None and isinstance(self.entry.model, CodeModel):
            self.entry.model.stop_starting()

    def check(self) -> None:
        """Raise RequestError ``stopping`` when it was dropped."""
        if self.dropped.is_set():
            raise RequestError("stopping", "The model was unloaded while it was loaded.")


class ShelfThreads:
    """Lets the shelf locate models, in threads of its own: a bucket that hangs keeps no model that is here waiting, and
    nobody from unloading what is fetched or from ending the server. For the event loop."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._turns = asyncio.Semaphore(_LOCATED_AT_ONCE)
        self._under_way: dict[str, asyncio.Future[Path]] = {}

    async def locate(self, load: Load) -> Path:
        """What is to be read, which :meth:`Shelf.done` is told of later.

        Raises
        ------
        RequestError, ModelError
            When it is not there or cannot be fetched; ``stopping`` as soon as the load is dropped.
        """
        load.check()
        if load.path is not None:
            return load.path
        load.locating = asyncio.get_running_loop().create_task(self._located(load))
        try:
            return await load.locating
        except asyncio.CancelledError:
            load.check()
            raise

    async def _located(self, load: Load) -> Path:
        # What a dropped load still fetches may be an older one, and a second thread would only wait for it, too.
        while (earlier := self._under_way.get(load.artifact)) is not None:
            await asyncio.wait([earlier])
        await self._turns.acquire()
        # By its own name where it has one: a link that was asked for may lead elsewhere by now.
        name = load.name if load.artifact == "." else load.artifact
        locating = self._under_way[load.artifact] = _in_thread(lambda: self._shelf.locate(name))

        def ended(_: asyncio.Future[Path]) -> None:
            del self._under_way[load.artifact]
            self._turns.release()

        locating.add_done_callback(ended)
        try:
            return await asyncio.shield(locating)
        except asyncio.CancelledError:
            locating.add_done_callback(self._unwanted)
            raise

    def _unwanted(self, locating: asyncio.Future[Path]) -> None:
        if not locating.cancelled() and locating.exception() is None:
            self._shelf.done(locating.result())


def _in_thread(function: Callable[[], Path]) -> asyncio.Future[Path]:
    """Call in a thread that the end of the process does not wait for, as it would for an executor's."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Path] = loop.create_future()

    def tell(say: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(say)

    def run() -> None:
        try:
            result = function()
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            tell(partial(future.set_exception, error))
        else:
            tell(partial(future.set_result, result))

    threading.Thread(target=run, name="locate", daemon=True).start()
    return future


class Loader:
    """Reads models. :meth:`read` is called from loader threads, the rest from the event loop."""

    def __init__(self, shelf: Shelf, backbones: Backbones, *, memory: int, allow_code: bool) -> None:
        self._shelf = shelf
        self._backbones = backbones
        self._memory = memory
        self._allow_code = allow_code
        self.ending = False
        """Whether the server ends, which starts no code any more."""

    def check_code(self, load: Load) -> None:
        """Raise RequestError ``stopping`` when the load was dropped, or the server ends."""
        load.check()
        if self.ending:
            raise RequestError("stopping", "The server is being stopped.")

    def read(self, name: str, load: Load, path: Path) -> Served:
        """The model that was located at ``path``, to be entered under ``name``.

        Raises
        ------
        RequestError, ModelError
            When it is not there, not allowed, damaged or too large; ``stopping`` when it was dropped.
        """
        try:
            load.check()
            return self._served(name, load.url or self._shelf.url(name), path, lambda: self.check_code(load))
        except artifact.ModelTooLargeError as error:
            raise RequestError(
                "target-memory",
                f"There is no room for the model {name[:200]!r}: {error.what}",
                do=f"start the server with a larger {spelled('memory_mb')}",
            ) from error
        finally:
            self._shelf.done(path)

    def _served(self, name: str, url: str, path: Path, check: Callable[[], None]) -> Served:
        if has_code(path):
            if not self._allow_code:
                raise RequestError(
                    "code-off",
                    f"The model {name[:200]!r} brings its own code, which is not run unless allowed.",
                    do=f"start the server with {spelled('allow_code', True)} if you trust this model",
                )
            return CodeModel(name, url, path, check)
        saved = artifact.load(path, at_hand=self._backbones, most=self._memory)
        try:
            return self._backbones.serve(name, url, saved)
        except KeyError:  # its backbone was unloaded while this was read
            return self._backbones.serve(name, url, artifact.load(path, most=self._memory))
