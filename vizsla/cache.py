"""What is kept between runs, within a bound: files named by their content, and a folder for each source.

Files (features, exported backbones) are written in one step and never changed: whoever reads one that is evicted just
then computes it anew. A source (an unpacked archive, a mirrored bucket, a download) is a folder that takes long to fill
and is read from for long. Beside it lie three small files: ``.NAME.lock``, held by whoever fills or removes it;
``.NAME.use``, held by every process that reads from it, until it says that it is done or ends; ``.NAME.json``, which
says whose it is and how large.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vizsla.files import storage, write_json

_SOURCES = ("sources", "downloads")
_FILES = {
    "features": ("*/*.features", 0),
    "backbones": ("*.onnx", 1),
    "pixels": ("*.pixels", 0),
    "activations": ("*.f16", 0),
}
"""Files that are evicted one by one, and how many of those used last always stay."""
STORES = {"pixels": "decoded pictures", "activations": "activations for depth last"}
"""Places of large files that a training of a backbone reads from, and what they hold."""
_ABANDONED_SECONDS = 3600.0
"""A store that nobody has written to for so long is one that a killed process has left."""
_PLACES = (*_SOURCES, *_FILES, "scans")
_Candidate = tuple[float, Path, int, Callable[[Path], bool]]
"""When it was used last, where it is, its bytes, and what removes it."""
_in_use: dict[Path, int] = {}
"""Open locks of this process; the system takes them away with it."""


@dataclass(frozen=True)
class CachedStore:
    """All files of one kind of store. ``last_used`` in seconds since 1970."""

    holds: str
    files: int
    bytes: int
    last_used: float


@dataclass(frozen=True)
class CachedSource:
    """One folder of the cache. ``source`` is where it comes from; ``last_used`` in seconds since 1970."""

    source: str
    path: Path
    bytes: int
    last_used: float


@contextlib.contextmanager
def filling(folder: Path) -> Iterator[None]:
    """One process at a time fills ``folder``; others wait here, and look again at what there is.

    Raises
    ------
    StorageError
        When the file system refuses.
    """
    with storage(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        file = _open(folder, "lock")
        fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(file)


def use(folder: Path, source: str, size: int) -> None:
    """Say that this process reads from ``folder``: until :func:`release` or the process ends, nobody removes it.

    To be called inside :func:`filling`. ``source`` must hold no secrets; ``size`` is in bytes.

    Raises
    ------
    StorageError
        When the file system refuses.
    """
    with storage(folder):
        write_json(_beside(folder, "json"), {"source": source, "bytes": size}, make_folder=True)
        os.utime(folder)
        if folder not in _in_use:
            _in_use[folder] = file = _open(folder, "use")
            fcntl.flock(file, fcntl.LOCK_SH)


def release(folder: Path) -> None:
    """This process reads from ``folder`` no more; a process that reads from thousands runs out of open files."""
    file = _in_use.pop(folder, None)
    if file is not None:
        os.close(file)


def sources(cache: Path) -> list[CachedSource]:
    """All that is kept of sources, the last used first."""
    entries = []
    for place in _SOURCES:
        for folder in sorted((cache / place).glob("*/")):
            if folder.name.startswith("."):
                continue
            with contextlib.suppress(OSError):
                source, size = _described(folder)
                entries.append(CachedSource(source, folder, size, folder.stat().st_mtime))
    return sorted(entries, key=lambda entry: -entry.last_used)


def remove(folder: Path) -> bool:
    """Remove a folder that nobody fills or reads from; whether that was so."""
    with contextlib.ExitStack() as locks:
        for kind in ("lock", "use"):
            try:
                file = _open(folder, kind)
                locks.callback(os.close, file)
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return False
        shutil.rmtree(folder, ignore_errors=True)
        _beside(folder, "json").unlink(missing_ok=True)
        return not folder.exists()


def stores(cache: Path) -> list[CachedStore]:
    """What decoded pictures and activations take, where there are any."""
    entries = []
    for place, holds in STORES.items():
        stats = [at for path in (cache / place).glob(_FILES[place][0]) if (at := stat(path))]
        if stats:
            size, used = sum(at.st_size for at in stats), max(at.st_mtime for at in stats)
            entries.append(CachedStore(holds, len(stats), size, used))
    return entries


def sweep(cache: Path, pattern: str = "*") -> None:
    """Remove what killed processes have left half filled, for folders whose names fit a pattern."""
    for partial in (cache / "sources").glob(f".{pattern}.partial"):
        folder = partial.with_name(partial.name[1:].rsplit(".", 2)[0])
        with contextlib.suppress(OSError):
            file = _open(folder, "lock")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(partial, ignore_errors=True)
            finally:
                os.close(file)
    for place in STORES:
        for partial in (cache / place).glob(f".{pattern}.tmp"):
            if (at := stat(partial)) and time.time() - at.st_mtime > _ABANDONED_SECONDS:
                _unlink(partial)


def remove_older(folder: Path, prefix: str) -> None:
    """Remove the other folders beside ``folder`` whose names begin with ``prefix``, and their half-filled ones."""
    for other in folder.parent.glob(f"{glob.escape(prefix)}*/"):
        if other != folder:
            remove(other)
    sweep(folder.parent.parent, f"{glob.escape(prefix)}*")


def bound(cache: Path, most_bytes: int) -> int:
    """Remove what was used longest ago until the cache takes at most ``most_bytes``: files one by one, sources each as
    a whole.

    The backbone used last and sources that a process reads from always stay. What killed processes have left half
    filled goes first.

    Returns
    -------
    Bytes removed.
    """
    sweep(cache)
    candidates: list[_Candidate] = [(entry.last_used, entry.path, entry.bytes, remove) for entry in sources(cache)]
    total = sum(size for _, _, size, _ in candidates)
    for place, (pattern, stay) in _FILES.items():
        stats = [(path, at) for path in (cache / place).glob(pattern) if (at := stat(path))]
        files: list[_Candidate] = [(at.st_mtime, path, at.st_size, _unlink) for path, at in stats]
        total += sum(size for _, _, size, _ in files)
        candidates += sorted(files)[: len(files) - stay]
    removed = 0
    for _, path, size, take in sorted(candidates, key=lambda candidate: candidate[:2]):
        if total - removed <= most_bytes:
            break
        removed += size * take(path)
    return removed


def clear(cache: Path) -> int:
    """Remove all that is kept: features, backbones, scans, unpacked and mirrored sources, downloads.

    Models keep their own copy of what they need.

    Returns
    -------
    Bytes removed.
    """
    removed = 0
    for folder in (cache / place for place in _PLACES):
        removed += sum(at.st_size for path in folder.rglob("*") if path.is_file() and (at := stat(path)))
        with storage(folder):
            shutil.rmtree(folder, ignore_errors=True)
    return removed


def stat(path: Path) -> os.stat_result | None:
    """A file's size and times; None when it has just been evicted."""
    try:
        return path.stat()
    except OSError:
        return None


def _unlink(path: Path) -> bool:
    path.unlink(missing_ok=True)
    return True


def _described(folder: Path) -> tuple[str, int]:
    try:
        card = json.loads(_beside(folder, "json").read_text("utf-8"))
        return str(card["source"]), int(card["bytes"])
    except (OSError, ValueError, KeyError, TypeError):
        return folder.name, sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _open(folder: Path, kind: str) -> int:
    return os.open(_beside(folder, kind), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)


def _beside(folder: Path, kind: str) -> Path:
    return folder.with_name(f".{folder.name}.{kind}")
