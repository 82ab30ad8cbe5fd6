"""Zip and tar archives, unpacked into the cache within bounds: no path outside, no links, no bombs."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import json
import os
import re
import shutil
import tarfile
import uuid
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import IO

from vizsla.data import kept
from vizsla.data.tree import is_picture
from vizsla.errors import SourceError
from vizsla.files import storage, write_json
from vizsla.images import readable_suffixes
from vizsla.tarballs import DAMAGED

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")

Progress = Callable[[int, int], None]
"""Called with (done, in all)."""

_DONE = ".vizsla-unpacked-2.json"
_BLOCK = 1 << 20
_NO_NAME = {errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ}
"""What the file system says to names that no file can have; the archive is to blame and not the disk."""
_DRIVE = re.compile("[A-Za-z]:")
_FAULTS = (*DAMAGED, zipfile.BadZipFile, NotImplementedError)


@dataclass(frozen=True)
class Bounds:
    """What an archive may unpack to: bytes and files."""

    bytes: int = 200 * 10**9
    files: int = 5_000_000


@dataclass(frozen=True)
class _Member:
    name: str
    size: int
    read: Callable[[], IO[bytes] | None]


def is_archive(name: str) -> bool:
    """Whether a file of this name is an archive that can be unpacked."""
    return name.lower().endswith(SUFFIXES)


def unpack(
    archive: Path, cache: Path, bounds: Bounds = Bounds(), on_progress: Progress = lambda done, total: None
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
    root: Path,
    shards: Sequence[Path],
    cache: Path,
    bounds: Bounds = Bounds(),
    on_progress: Progress = lambda done, total: None,
) -> Path:
    """Unpack the shards of a folder, each into a folder of its name; else as :func:`unpack`."""
    named = {shard.relative_to(root).with_suffix("").as_posix(): shard for shard in shards}
    return _unpack_once(root, root.resolve().name, named, cache, bounds, on_progress)


def _unpack_once(
    source: Path, stem: str, archives: Mapping[str, Path], cache: Path, bounds: Bounds, on_progress: Progress
) -> Path:
    """The folder in the cache that holds each archive's content under its name."""
    try:
        stats = [(name, archive.stat()) for name, archive in archives.items()]
    except OSError as error:
        raise SourceError(f"The archive cannot be read: {error.strerror}.", where=error.filename) from error
    stamp = "".join(f"{name} {stat.st_size} {stat.st_mtime_ns}\n" for name, stat in stats)
    prefix = f"{stem}-{_digest(str(source.resolve()))}-"
    folder = cache / "sources" / f"{prefix}{_digest(stamp)}"
    with kept.filling(folder):
        if not (folder / _DONE).is_file():
            for stale in folder.parent.glob(f".{glob.escape(folder.name)}.*.partial"):
                shutil.rmtree(stale, ignore_errors=True)
            _unpack_anew(source, archives, folder, bounds, on_progress)
        kept.use(folder, source.name, _unpacked(folder))
    kept.remove_older(folder, prefix)
    return folder


def _unpack_anew(
    source: Path, archives: Mapping[str, Path], folder: Path, bounds: Bounds, on_progress: Progress
) -> None:
    partial = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        with storage(partial):
            partial.mkdir(parents=True)
        size = 0
        for name, archive in archives.items():
            size += _extract(archive, partial / name, replace(bounds, bytes=bounds.bytes - size), on_progress)
        with storage(folder):
            write_json(partial / _DONE, {"archive": str(source), "bytes": size})
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _unpacked(folder: Path) -> int:
    size = json.loads((folder / _DONE).read_text("utf-8"))["bytes"]
    return int(size)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:12]


def _extract(archive: Path, folder: Path, bounds: Bounds, on_progress: Progress) -> int:
    """Write the files; return their bytes."""
    total = files = 0
    has_picture = False
    packed: list[str] = []
    try:
        for done, count, member in _members(archive):
            target = _inside(folder, member.name, archive)
            if _is_hidden(target.relative_to(folder)):
                continue
            files, total = files + 1, total + member.size
            if files > bounds.files or total > bounds.bytes:
                raise _too_large(archive, bounds)
            source = member.read()
            if source is None:
                continue
            with source:
                total += _copy(source, target, member.size, archive, bounds)
            has_picture = has_picture or is_picture(target)
            packed += [member.name] * is_archive(target.name)
            on_progress(done, count)
    except SourceError:
        raise
    except _FAULTS as error:
        raise SourceError(
            f"The archive is damaged or ends too early ({str(error) or type(error).__name__}).",
            where=archive,
            do="fetch or copy it again; nothing of it was used",
        ) from error
    if not has_picture:
        raise SourceError(
            "The archive holds no pictures.",
            where=archive,
            allowed=" ".join(sorted(readable_suffixes())),
            do=f"unpack it yourself, and what is in it: {', '.join(packed[:5])}" if packed else None,
        )
    return total


def _copy(source: IO[bytes], target: Path, declared: int, archive: Path, bounds: Bounds) -> int:
    """Copy a member; return the bytes beyond the declared size, which a bomb may hide."""
    written = 0
    with storage(target), _names(target, archive):
        target.parent.mkdir(parents=True, exist_ok=True)
        file = open(target, "wb")  # noqa: SIM115 -- only what writes may be called a fault of the disk
    with file:
        while block := source.read(_BLOCK):
            written += len(block)
            if written > bounds.bytes:
                raise _too_large(archive, bounds)
            with storage(target):
                file.write(block)
    if written < declared:
        raise EOFError(f"{target.name} has {written:,} of {declared:,} bytes")
    return written - declared


@contextlib.contextmanager
def _names(target: Path, archive: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_NAME:
            raise
        raise SourceError(
            f"The archive has a member that cannot be a file: {target.name!r:.80} ({error.strerror}).",
            where=archive,
            do="unpack it yourself, and name the folder; nothing of it was used",
        ) from error


def _is_hidden(path: Path) -> bool:
    """Whether a folder's listing would pass it over: what macOS puts beside each file, for one."""
    return any(part.startswith((".", "__MACOSX")) for part in path.parts)


def _members(archive: Path) -> Iterator[tuple[int, int, _Member]]:
    """Every regular file, with (position, members in all; 0 where that is unknown)."""
    if _is_zip(archive):
        with zipfile.ZipFile(archive) as file:
            infos = file.infolist()
            for at, info in enumerate(infos, start=1):
                kind = (info.external_attr >> 16) & 0o170000
                if info.is_dir() or kind not in (0, 0o100000):
                    continue
                if info.flag_bits & 1:
                    raise SourceError("The archive is encrypted.", where=archive, do="unpack it yourself")
                yield at, len(infos), _Member(info.filename, info.file_size, lambda info=info: file.open(info))  # type: ignore[misc]
        return
    with tarfile.open(archive) as tar:
        for at, member in enumerate(tar, start=1):
            if member.isreg():
                yield at, 0, _Member(member.name, member.size, lambda member=member: tar.extractfile(member))  # type: ignore[misc]


def _is_zip(archive: Path) -> bool:
    """By its first bytes, whatever it is called: browsers and mails rename archives."""
    with open(archive, "rb") as file:
        return file.read(4) in (b"PK\3\4", b"PK\5\6") or (
            archive.name.lower().endswith(".zip") and not tarfile.is_tarfile(archive)
        )


def _inside(folder: Path, name: str, archive: Path) -> Path:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or "\0" in name or (path.parts and _DRIVE.match(path.parts[0])):
        raise SourceError(
            f"The archive wants to write outside its folder: {name!r}.",
            where=archive,
            do="do not use this archive; nothing of it was used",
        )
    return folder.joinpath(*path.parts)


def _too_large(archive: Path, bounds: Bounds) -> SourceError:
    return SourceError(
        "The archive unpacks to more than is allowed.",
        where=archive,
        allowed=f"at most {bounds.bytes / 1e9:g} GB and {bounds.files:,} files",
        do="unpack it yourself if it is meant, and name the folder",
    )


def _top(folder: Path) -> Path:
    while True:
        entries = [entry for entry in folder.iterdir() if not entry.name.startswith((".", "__MACOSX"))]
        if len(entries) != 1 or not entries[0].is_dir() or not any(e.is_dir() for e in entries[0].iterdir()):
            return folder
        folder = entries[0]


def _stem(name: str) -> str:
    suffix = next(suffix for suffix in sorted(SUFFIXES, key=len, reverse=True) if name.lower().endswith(suffix))
    return name[: -len(suffix)] or "archive"
