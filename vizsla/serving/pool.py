"""The models that are loaded: on the first request for them, once, within a bound on memory."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from vizsla.parameters import spelled
from vizsla.serving.backbones import Backbones, ServedModel
from vizsla.serving.faults import RequestError
from vizsla.serving.loading import Entry, Load, Loader, Served, ShelfThreads
from vizsla.serving.shelves import FolderShelf, Shelf
from vizsla.serving.toolkit import ANSWER_SECONDS, CodeModel, still_starting

_UNLOAD_SECONDS = 60.0
_CLOSE_SECONDS = 3.0
"""For what is still being read when the server ends."""

_ROOM_SECONDS = 5.0
"""For room that models have which answer just now."""

_STARTS_AT_ONCE = 2
"""Models with code that start at a time: only when one has started is it known what memory it takes."""


class Pool:
    """Loaded models in the order of their last use. Everything but the loading itself happens in the event loop.

    An artifact is loaded once, whatever it is called: its entry has the name that ``POST /models`` gave it, or else the
    artifact's own (:meth:`Shelf.artifact`). What another name finds the shelf is asked each time: a link may be moved.

    Parameters
    ----------
    shelf:
        Where a model that is not loaded yet is looked for.
    memory:
        Most bytes that loaded models may take (weights, as counted by their files).
    allow_code:
        Whether a model's own ``code/inference.py`` may run.
    """

    def __init__(self, shelf: Shelf, backbones: Backbones, *, memory: int, allow_code: bool) -> None:
        self.shelf = shelf
        self.backbones = backbones
        self.memory = memory
        self._locator = ShelfThreads(shelf)
        self._loader = Loader(shelf, backbones, memory=memory, allow_code=allow_code)
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._loading: dict[str, Load] = {}
        self._names: dict[str, str] = {}
        """Artifact to the name of its entry or load."""
        self._freed = asyncio.Event()
        """Set when a model is used no more, or gone."""
        self._starts = asyncio.Semaphore(_STARTS_AT_ONCE)
        self._removals: set[asyncio.Future[None]] = set()
        self._loaders = ThreadPoolExecutor(2, thread_name_prefix="load")
        self.on_load: Callable[[str, float], None] = lambda name, seconds: None
        self.on_lost: Callable[[str, BaseException], None] = lambda name, error: None
        """A load failed that nobody waits for any more."""

    @property
    def nbytes(self) -> int:
        """Bytes that the loaded models count for."""
        return sum(b.nbytes for b in self.backbones.all()) + sum(e.model.nbytes for e in self._entries.values())

    def loaded(self) -> list[Served]:
        """The loaded models, by name."""
        return [self._entries[name].model for name in sorted(self._entries)]

    async def find(self, name: str) -> Served | None:
        """A loaded model."""
        entry = self._entries.get(await self._own_name(name))
        return entry.model if entry else None

    @asynccontextmanager
    async def use(self, name: str, *, load: bool = True) -> AsyncIterator[Served]:
        """Hold a model while it answers; load it first when it is not.

        Raises
        ------
        RequestError, ModelError
            When it is not there or cannot be loaded.
        """
        # Again when it is unloaded before its turn comes.
        while (entry := self._entries.get(await self._own_name(name))) is None:
            if not load:
                raise RequestError("target-unknown", f"The model {name[:200]!r} is not loaded.")
            await self._load_target(name)
        self._entries.move_to_end(entry.name)
        entry.uses += 1
        try:
            yield entry.model
        finally:
            entry.uses -= 1
            if not entry.uses:
                self._freed.set()
                if entry.gone:
                    self._release(entry)

    async def load(self, name: str, url: str | None = None, *, pinned: bool = False) -> Served:
        """Load a model that is asked for by ``POST /models`` or the command line.

        Raises
        ------
        RequestError
            ``target-loaded`` when it is loaded, ``target-memory`` when it does not fit (nothing is unloaded for it:
            that is the platform's choice).
        """
        if url is None:
            load = Load(name, await self._artifact(name), pinned=pinned)
        elif isinstance(self.shelf, FolderShelf):
            path = self.shelf.within(name, url)
            load = Load(name, self.shelf.artifact_at(path), path, url, pinned=pinned)
        else:
            raise RequestError(
                "target-name", "This server loads no models by address.", do=f"start it with {spelled('models_dir')}"
            )
        own = name if name in self._entries or name in self._loading else self._names.get(load.artifact)
        if own is not None:
            called = "" if own == name else f", as {own[:200]!r}"
            raise RequestError("target-loaded", f"The model {name[:200]!r} is loaded already, or being loaded{called}.")
        load.waiting += 1
        return (await asyncio.shield(self._begin(name, load))).model

    async def unload(self, name: str) -> None:
        """Unload a model, also one that is still being loaded; its memory is free when this returns.

        Raises
        ------
        RequestError
            ``target-unknown`` when it is not loaded, ``target-pinned`` when it was named on the command line,
            ``overloaded`` when its last requests are not answered, or its files not read, in time: it is gone when
            they are.
        """
        own = await self._own_name(name)
        entry, load = self._entries.get(own), self._loading.get(own)
        pinned = entry.pinned if entry else load.pinned if load else None
        if pinned is None:
            raise RequestError("target-unknown", f"The model {name[:200]!r} is not loaded.")
        if pinned:
            raise RequestError("target-pinned", f"The model {name[:200]!r} was named when the server was started.")
        if entry is not None:
            self._drop(own)
        elif load is not None:
            load.drop()
        try:
            async with asyncio.timeout(_UNLOAD_SECONDS):
                if entry is None and load is not None and load.task is not None:
                    await asyncio.wait([load.task])
                    entry = load.entry
                if entry is not None:
                    await entry.released.wait()
        except TimeoutError as error:
            busy = "still answers requests" if entry is not None else "is still being read"
            raise RequestError(
                "overloaded",
                f"The model {name[:200]!r} {busy} after {_UNLOAD_SECONDS:g} s. It is asked no more, and unloaded when "
                "that is done.",
            ) from error

    def stop_starting(self) -> None:
        """The server ends: no code is started any more, and what starts is ended; what answers goes on."""
        self._loader.ending = True
        for load in self._loading.values():
            load.stop_starting()

    async def close(self) -> None:
        """Unload everything."""
        self.stop_starting()
        loads = list(self._loading.values())
        for load in loads:
            load.drop()
        for name in list(self._entries):
            self._drop(name)
        if tasks := [load.task for load in loads if load.task is not None]:
            await asyncio.wait(tasks, timeout=_CLOSE_SECONDS)
        await asyncio.gather(*self._removals, return_exceptions=True)
        self._loaders.shutdown(wait=False, cancel_futures=True)

    async def _artifact(self, name: str) -> str:
        """The artifact that a name finds; the file system is asked, which may take its time."""
        return await asyncio.get_running_loop().run_in_executor(None, self.shelf.artifact, name)

    async def _own_name(self, name: str) -> str:
        """The name that what ``name`` finds is loaded under, or being loaded; ``name`` itself if it is neither."""
        if name in self._entries or name in self._loading:
            return name
        try:
            return self._names.get(await self._artifact(name), name)
        except (RequestError, OSError):
            return name

    async def _load_target(self, name: str) -> None:
        """Load once, however many ask at the same time; all of them get the one result or the one error, or are told
        after the time of an answer that it takes longer. It goes on then, so that a later request finds it."""
        own = name
        if name not in self._loading:
            artifact = await self._artifact(name)
            is_taken = artifact == "." or artifact in self._entries or artifact in self._loading
            own = self._names.get(artifact, name if is_taken else artifact)
            if own in self._entries:
                return
            if own not in self._loading:
                self._begin(own, Load(name, artifact, evict=True))
        load = self._loading[own]
        if load.task is None:
            return
        load.waiting += 1
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await asyncio.shield(load.task)
        except TimeoutError as error:
            if load.task.done():  # the load's own
                raise
            raise still_starting(name) from error
        finally:
            load.waiting -= 1

    def _begin(self, name: str, load: Load) -> asyncio.Task[Entry]:
        def ended(task: asyncio.Task[Entry]) -> None:
            error = None if task.cancelled() else task.exception()
            if error and not load.waiting:
                self.on_lost(name, error)

        self._loading[name] = load
        self._names[load.artifact] = name
        load.task = asyncio.get_running_loop().create_task(self._load_and_forget(name, load))
        load.task.add_done_callback(ended)
        return load.task

    async def _load_and_forget(self, name: str, load: Load) -> Entry:
        """Load. It is under way no more in the very step in which the model is entered, or has failed: who finds a load
        that has ended would wait for it without the loop's ever going on."""
        try:
            return await self._load_now(name, load)
        except BaseException:
            del self._names[load.artifact]
            raise
        finally:
            del self._loading[name]

    async def _load_now(self, name: str, load: Load) -> Entry:
        loop = asyncio.get_running_loop()
        start = loop.time()
        path = await self._locator.locate(load)
        model = await loop.run_in_executor(self._loaders, self._loader.read, name, load, path)
        entry = load.entry = Entry(name, model, load.artifact, load.pinned)
        try:
            load.check()
            if isinstance(model, CodeModel):
                async with self._starts:
                    self._loader.check_code(load)
                    await self._wait_for_room(model, load)  # for what was unpacked: its process comes on top
                    await model.start()  # what is loaded can answer
                    load.check()
            await self._wait_for_room(model, load)
        except BaseException:
            self._release(entry)
            raise
        self._entries[name] = entry
        self.on_load(name, loop.time() - start)
        return entry

    async def _wait_for_room(self, model: Served, load: Load) -> None:
        """Make room; where models that answer just now have it, wait a little for them.

        Raises
        ------
        RequestError
            ``target-memory``, or ``stopping`` when the load is dropped meanwhile.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + _ROOM_SECONDS
        while True:
            try:
                return self._make_room(model, evict=load.evict)
            except RequestError:
                stay = [e.model for e in self._entries.values() if e.pinned]
                if not load.evict or loop.time() >= end or _together([*stay, model]) > self.memory:
                    raise
            self._freed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._freed.wait(), end - loop.time())
            load.check()

    def _make_room(self, model: Served, *, evict: bool) -> None:
        """Unload what was used least recently until ``model``, which is loaded but not entered yet, fits. What cannot
        fit unloads nothing."""
        resident = [e.model for e in self._entries.values() if e.pinned or e.uses or not evict]
        if _together([*resident, model]) > self.memory:
            raise RequestError(
                "target-memory",
                f"There is no room for the model {model.name[:200]!r} of {_together([model]) / 1e6:,.1f} MB: "
                f"{_together(resident) / 1e6:,.1f} MB of {self.memory / 1e6:,.0f} MB are taken, and stay.",
                do=f"unload a model, or start the server with a larger {spelled('memory_mb')}",
            )
        idle = [n for n, e in self._entries.items() if not e.pinned and not e.uses]
        while self.nbytes + model.nbytes > self.memory and idle:
            self._drop(idle.pop(0))

    def _drop(self, name: str) -> None:
        entry = self._entries.pop(name)
        entry.gone = True
        del self._names[entry.artifact]
        if not entry.uses:
            self._release(entry)

    def _release(self, entry: Entry) -> None:
        if isinstance(entry.model, CodeModel):
            entry.model.stop()
            removal = asyncio.get_running_loop().run_in_executor(None, entry.model.remove)
            self._removals.add(removal)
            removal.add_done_callback(self._removals.discard)
            removal.add_done_callback(lambda _: entry.released.set())
        else:
            self.backbones.release(entry.model)
            entry.released.set()


def _together(models: Sequence[Served]) -> int:
    """Bytes of models and of their backbones, each of which counts once."""
    backbones = {id(m.backbone): m.backbone.nbytes for m in models if isinstance(m, ServedModel)}
    return sum(m.nbytes for m in models) + sum(backbones.values())
