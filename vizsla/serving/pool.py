"""The models that are loaded: on the first request for them, once, within a bound on memory."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from vizsla.models import artifact
from vizsla.serving.backbones import Backbones, ServedModel
from vizsla.serving.entry import has_code
from vizsla.serving.faults import RequestError
from vizsla.serving.shelves import FolderShelf, Shelf
from vizsla.serving.toolkit import ANSWER_SECONDS, CodeModel, still_starting

_UNLOAD_SECONDS = 60.0

Served = ServedModel | CodeModel


@dataclass(eq=False)
class _Entry:
    model: Served
    pinned: bool
    uses: int = 0
    gone: bool = False
    released: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True)
class _Source:
    """What ``POST /models`` named: the local path, and the address as it was given."""

    path: Path
    url: str


class Pool:
    """Loaded models in the order of their last use. Everything but the loading itself happens in the event loop.

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
        self._allow_code = allow_code
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._loading: dict[str, asyncio.Future[_Entry]] = {}
        self._starting: dict[str, _Entry] = {}
        self._ending = False
        self._removals: set[asyncio.Future[None]] = set()
        self._loaders = ThreadPoolExecutor(2, thread_name_prefix="load")
        self.on_load: Callable[[str, float], None] = lambda name, seconds: None

    @property
    def nbytes(self) -> int:
        """Bytes that the loaded models count for."""
        return sum(b.nbytes for b in self.backbones.all()) + sum(e.model.nbytes for e in self._entries.values())

    def loaded(self) -> list[Served]:
        """The loaded models, by name."""
        return [self._entries[name].model for name in sorted(self._entries)]

    def find(self, name: str) -> Served | None:
        """A loaded model."""
        entry = self._entries.get(name)
        return entry.model if entry else None

    @asynccontextmanager
    async def use(self, name: str, *, load: bool = True) -> AsyncIterator[Served]:
        """Hold a model while it answers; load it first when it is not.

        Raises
        ------
        RequestError, ModelError
            When it is not there or cannot be loaded.
        """
        while (entry := self._entries.get(name)) is None:  # also when it is unloaded again before its turn comes
            if not load:
                raise RequestError("target-unknown", f"The model {name[:200]!r} is not loaded.")
            await self._load(name, None, evict=True, pinned=False)
        self._entries.move_to_end(name)
        entry.uses += 1
        try:
            yield entry.model
        finally:
            entry.uses -= 1
            if entry.gone and not entry.uses:
                self._release(entry)

    async def load(self, name: str, url: str | None = None, *, pinned: bool = False) -> Served:
        """Load a model that is asked for by ``POST /models`` or the command line.

        Raises
        ------
        RequestError
            ``target-loaded`` when it is loaded, ``target-memory`` when it does not fit (nothing is unloaded for it:
            that is the platform's choice).
        """
        if name in self._entries or name in self._loading:
            raise RequestError("target-loaded", f"The model {name[:200]!r} is loaded already, or being loaded.")
        source = None
        if url is not None:
            if not isinstance(self.shelf, FolderShelf):
                raise RequestError(
                    "target-name", "This server loads no models by address.", do="start it with --models-dir"
                )
            source = _Source(self.shelf.within(name, url), url)
        return (await self._load(name, source, evict=False, pinned=pinned)).model

    async def unload(self, name: str) -> None:
        """Unload a model; its memory is free when this returns.

        Raises
        ------
        RequestError
            ``target-unknown`` when it is not loaded, ``target-pinned`` when it was named on the command line,
            ``overloaded`` when its last requests are not answered in time: it is gone when they are.
        """
        entry = self._entries.get(name) or self._starting.get(name)
        if entry is None:
            raise RequestError("target-unknown", f"The model {name[:200]!r} is not loaded.")
        if entry.pinned:
            raise RequestError("target-pinned", f"The model {name[:200]!r} was named when the server was started.")
        if name in self._entries:
            self._drop(name)
        if isinstance(entry.model, CodeModel):
            entry.model.stop_starting()
        try:
            async with asyncio.timeout(_UNLOAD_SECONDS):
                await entry.released.wait()
        except TimeoutError as error:
            raise RequestError(
                "overloaded",
                f"The model {name[:200]!r} still answers requests after {_UNLOAD_SECONDS:g} s. It is asked no more, "
                "and unloaded when they are answered.",
            ) from error

    def stop_starting(self) -> None:
        """The server ends: no code is started any more, and what starts is ended; what answers goes on."""
        self._ending = True
        for entry in self._starting.values():
            if isinstance(entry.model, CodeModel):
                entry.model.stop_starting()

    async def close(self) -> None:
        """Unload everything."""
        starting = list(self._starting.values())
        self.stop_starting()
        for name in list(self._entries):
            self._drop(name)
        await asyncio.gather(*(entry.released.wait() for entry in starting))
        await asyncio.gather(*self._removals, return_exceptions=True)
        self._loaders.shutdown(wait=False, cancel_futures=True)

    async def _load(self, name: str, source: _Source | None, *, evict: bool, pinned: bool) -> _Entry:
        """Load once, however many ask at the same time; all of them get the one result or the one error.

        Who asked first waits for as long as it takes, the others for as long as an answer may take.
        """
        loop = asyncio.get_running_loop()
        if (running := self._loading.get(name)) is not None:
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    return await asyncio.shield(running)
            except TimeoutError as error:
                if running.done():  # the load's own
                    raise
                raise still_starting(name) from error
        else:
            running = loop.create_task(self._load_now(name, source, evict=evict, pinned=pinned))
            self._loading[name] = running
            running.add_done_callback(
                lambda task: (self._loading.pop(name, None), task.cancelled() or task.exception())
            )
        return await asyncio.shield(running)

    async def _load_now(self, name: str, source: _Source | None, *, evict: bool, pinned: bool) -> _Entry:
        loop = asyncio.get_running_loop()
        start = loop.time()
        model = await loop.run_in_executor(self._loaders, self._read, name, source)
        entry = _Entry(model, pinned)
        try:
            if isinstance(model, CodeModel):
                await self._start(entry, model)
            self._make_room(model, evict=evict)
        except BaseException:
            self._release(entry)
            raise
        self._entries[name] = entry
        self.on_load(name, loop.time() - start)
        return entry

    async def _start(self, entry: _Entry, model: CodeModel) -> None:
        """Let the code load its model, so that what is loaded can answer."""
        if self._ending:
            raise RequestError("stopping", "The server is being stopped.")
        self._starting[model.name] = entry
        try:
            await model.start()
        finally:
            del self._starting[model.name]

    def _read(self, name: str, source: _Source | None) -> Served:
        path, url = (source.path, source.url) if source else (self.shelf.locate(name), self.shelf.url(name))
        try:
            return self._served(name, url, path)
        except artifact.ModelTooLargeError as error:
            raise RequestError(
                "target-memory",
                f"There is no room for the model {name[:200]!r}: {error.what}",
                do="start the server with a larger --memory-mb",
            ) from error
        finally:
            self.shelf.done(path)

    def _served(self, name: str, url: str, path: Path) -> Served:
        if has_code(path):
            if not self._allow_code:
                raise RequestError(
                    "code-off",
                    f"The model {name[:200]!r} brings its own code, which is not run unless allowed.",
                    do="start the server with --allow-code if you trust this model",
                )
            return CodeModel(name, url, path)
        saved = artifact.load(path, at_hand=self.backbones, most=self.memory)
        try:
            return self.backbones.serve(name, url, saved)
        except KeyError:  # its backbone was unloaded while this was read
            return self.backbones.serve(name, url, artifact.load(path, most=self.memory))

    def _make_room(self, model: Served, *, evict: bool) -> None:
        """Unload what was used least recently until ``model``, which is loaded but not entered yet, fits. What cannot
        fit unloads nothing."""
        kept = [e.model for e in self._entries.values() if e.pinned or e.uses or not evict]
        if _together([*kept, model]) > self.memory:
            raise RequestError(
                "target-memory",
                f"There is no room for the model {model.name[:200]!r} of {_together([model]) / 1e6:,.1f} MB: "
                f"{_together(kept) / 1e6:,.1f} MB of {self.memory / 1e6:,.0f} MB are taken, and stay.",
                do="unload a model, or start the server with a larger --memory-mb",
            )
        idle = [n for n, e in self._entries.items() if not e.pinned and not e.uses]
        while self.nbytes + model.nbytes > self.memory and idle:
            self._drop(idle.pop(0))

    def _drop(self, name: str) -> None:
        entry = self._entries.pop(name)
        entry.gone = True
        if not entry.uses:
            self._release(entry)

    def _release(self, entry: _Entry) -> None:
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
