"""Archives of pictures, unpacked into the cache once."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from vizsla.archives import SUFFIXES, Bounds, is_archive
from vizsla.archives import unpack as unpack_into
from vizsla.cache import filling, remove_older, use
from vizsla.data.progress import Progress
from vizsla.data.tree import is_picture, type_of_file
from vizsla.errors import SourceError
from vizsla.files import storage, write_json
from vizsla.images import readable_suffixes

_DONE = ".vizsla-unpacked-2.json"
_BOUNDS = Bounds()
_PACKED = ("ZIP", "gzip", "compressed", "tar")
"""Names of the types of files that are unpacked."""


def archives_in(folder: Path) -> list[str]:
    """The names of the archives that lie in a folder."""
    return sorted(entry.name for entry in folder.iterdir() if is_archive(entry.name))


def unpack(
    archive: Path, cache: Path, bounds: Bounds = _BOUNDS, on_progress: Progress = lambda done, total: None
) -> Path:
    """Unpack an archive, once: the folder is kept in the cache until the archive changes.

    Of several processes one unpacks, and the others wait for it. A kill leaves no half-unpacked folder that is ever
    used. Links, devices and hidden files are passed over. What an earlier
    version of the same archive was unpacked to is removed, unless a process still reads from it.

    Returns
    -------
    The first level that is not a single folder.

    Raises
    ------
    SourceError
        When the archive is damaged, truncated, too large, or has a member that would lie outside.
    """
    folder = _unpack_once(archive, _stem(archive.name), {"": archive}, cache, bounds, on_progress)
    return _top(folder)


def unpack_shards(
    root: Path, shards: Sequence[Path], cache: Path, on_progress: Progress = lambda done, total: None
) -> Path:
    """Unpack the shards of a folder, each into a folder of its name; else as :func:`unpack`."""
    named = {shard.relative_to(root).with_suffix("").as_posix(): shard for shard in shards}
    return _unpack_once(root, root.resolve().name, named, cache, _BOUNDS, on_progress)


def _unpack_once(
    source: Path, stem: str, parts: Mapping[str, Path], cache: Path, bounds: Bounds, on_progress: Progress
) -> Path:
    """The folder in the cache that holds each archive's content under its name."""
    try:
        stats = [(name, archive.stat()) for name, archive in parts.items()]
    except OSError as error:
        raise SourceError(f"The archive cannot be read: {error.strerror}.", where=error.filename) from error
    stamp = "".join(f"{name} {stat.st_size} {stat.st_mtime_ns}\n" for name, stat in stats)
    prefix = f"{stem}-{_digest(str(source.resolve()))}-"
    folder = cache / "sources" / f"{prefix}{_digest(stamp)}"
    with filling(folder):
        if not (folder / _DONE).is_file():
            for stale in folder.parent.glob(f".{glob.escape(folder.name)}.*.partial"):
                shutil.rmtree(stale, ignore_errors=True)
            _unpack_anew(source, parts, folder, bounds, on_progress)
        use(folder, source.name, int(json.loads((folder / _DONE).read_text("utf-8"))["bytes"]))
    remove_older(folder, prefix)
    return folder


def _unpack_anew(source: Path, parts: Mapping[str, Path], folder: Path, bounds: Bounds, on_progress: Progress) -> None:
    partial = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        with storage(partial):
            partial.mkdir(parents=True)
        size = 0
        for name, archive in parts.items():
            size += _extract(archive, partial / name, replace(bounds, bytes=bounds.bytes - size), on_progress)
        with storage(folder):
            write_json(partial / _DONE, {"archive": str(source), "bytes": size})
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:12]


def _extract(archive: Path, folder: Path, bounds: Bounds, on_progress: Progress) -> int:
    """Write the files; return their bytes."""
    try:
        size = unpack_into(archive, folder, bounds, skip=_is_hidden, on_progress=on_progress)
    except SourceError as error:
        kind = type_of_file(archive)
        if kind is None or kind.name in _PACKED:
            raise
        raise SourceError(
            f"This is no archive of a kind that is read here: the file is {kind.words}.",
            where=archive,
            allowed=" ".join(SUFFIXES),
            do=kind.do or "give the archive itself",
        ) from error
    if not any(path.is_file() and is_picture(path) for path in folder.rglob("*")):
        files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        packed = [name for name in files if is_archive(name)]
        raise SourceError(
            "The archive holds no pictures.",
            where=archive,
            allowed=" ".join(sorted(readable_suffixes())),
            do=f"unpack it yourself, and what is in it: {', '.join(packed[:5])}" if packed else None,
        )
    return size


def _is_hidden(path: PurePosixPath) -> bool:
    """Whether a folder's listing would pass it over: what macOS puts beside each file, for one."""
    return any(part.startswith((".", "__MACOSX")) for part in path.parts)


def _top(folder: Path) -> Path:
    while True:
        entries = [entry for entry in folder.iterdir() if not entry.name.startswith((".", "__MACOSX"))]
        if len(entries) != 1 or not entries[0].is_dir() or not any(e.is_dir() for e in entries[0].iterdir()):
            return folder
        folder = entries[0]


def _stem(name: str) -> str:
    suffix = next(suffix for suffix in sorted(SUFFIXES, key=len, reverse=True) if name.lower().endswith(suffix))
    return name[: -len(suffix)] or "archive"
