"""Zip and tar archives, told apart by their content: read, unpacked within bounds, packed.

Nothing is written outside the folder that was named, or through a link; devices and encrypted files are refused.
"""

from __future__ import annotations

import contextlib
import errno
import lzma
import os
import re
import stat
import tarfile
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from vizsla.errors import SourceError
from vizsla.files import storage

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")

_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, NotImplementedError, OSError, EOFError, zlib.error, lzma.LZMAError)
_BLOCK = 1 << 20
_MAX_PADDING_BYTES = 16 << 20
_NO_NAME = {errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ}
"""What the file system says to names that no file can have; the archive is to blame and not the disk."""
_DRIVE = re.compile("[A-Za-z]:")
_GZIP_LEVEL = 1  # weights hardly shrink: the fastest level


@dataclass(frozen=True)
class Bounds:
    """What an archive may unpack to: bytes and files."""

    bytes: int = 200 * 10**9
    files: int = 5_000_000


@dataclass(frozen=True)
class Member:
    """One member of an archive. ``open`` gives the content of a regular file, ``link`` makes a folder or a link below
    a folder; None where it is no such thing. ``mtime`` is in seconds since 1970, 0 in a zip."""

    name: str
    size: int = 0
    mtime: float = 0
    executable: bool = False
    open: Callable[[], IO[bytes] | None] | None = None
    link: Callable[[Path], None] | None = None


def is_archive(name: str) -> bool:
    """Whether a file of this name is an archive that can be unpacked."""
    return name.lower().endswith(SUFFIXES)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[tuple[Iterator[Member], int]]:
    """Open an archive: its members as they follow one another, and how many there are (0 where that is unknown).

    Who reads them to the end has verified the archive to its checksum.

    Raises
    ------
    SourceError
        When it is no archive, damaged or truncated, which may be met at any member.

    Examples
    --------
    >>> with opened(Path("flowers.zip")) as (members, _):  # doctest: +SKIP
    ...     names = [member.name for member in members]
    """
    try:
        if _is_zip(path):
            with zipfile.ZipFile(path) as file:
                yield _zip_members(file, path), len(file.infolist())
        else:
            with tarfile.open(path) as tar:
                yield _tar_members(tar), 0
    except _DAMAGED as error:
        words = str(error).rstrip(".") or type(error).__name__
        if "\n" in words:  # what each way to open it has said
            words = "it is no archive, or its beginning is broken"
        raise SourceError(
            f"The archive is damaged or ends too early: {words}.",
            where=path,
            do="fetch or copy it again; nothing of it was used",
        ) from error


def unpack(
    path: Path,
    folder: Path,
    bounds: Bounds,
    *,
    links: bool = False,
    skip: Callable[[PurePosixPath], bool] = lambda name: False,
    on_progress: Callable[[int, int], None] = lambda done, count: None,
) -> int:
    """Unpack an archive into a folder; returns the bytes written.

    ``links`` within the folder are made, and what is executable stays so, where that is asked; else links are passed
    over, as is what ``skip`` says. ``on_progress`` is called with every block: members so far, and in all (0 where that
    is unknown); what it raises ends the unpacking.

    Raises
    ------
    SourceError
        When the archive is damaged, truncated or too large, or has a member that cannot be, or would lie outside.
    StorageError
        When the file system refuses.
    """
    total = files = 0
    linked: set[Path] = set()
    with storage(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with opened(path) as (members, count):
        for done, member in enumerate(members, start=1):
            target = _inside(folder, member.name, path)
            if skip(PurePosixPath(target.relative_to(folder))) or not (member.open or (links and member.link)):
                continue
            if not linked.isdisjoint((target, *target.parents)):
                raise _outside(member.name, path)
            files, total = files + 1, total + member.size
            if files > bounds.files or total > bounds.bytes:
                raise _too_large(path, bounds)
            if member.link:
                with _names(target, path):
                    member.link(folder)
                if target.is_symlink():
                    linked.add(target)
            elif member.open and (source := member.open()):
                progress = partial(on_progress, done, count)
                with source:
                    total += _copy(source, target, member.size, path, bounds, progress)
                if links and member.executable:
                    target.chmod(0o755)
    return total


def pack(
    folder: Path, archive: Path, *, beside: Mapping[str, Path] = {}, last: str = "", reproducible: bool = False
) -> list[str]:
    """Pack what is in a folder into a ``.tar.gz``, in one step; links are followed, so that it stands alone.

    ``beside`` are further folders, by their names in the archive; the file ``last`` comes last, so that who wants only
    the others need not unpack it. ``reproducible`` leaves out times and owners: the same content, the same members.

    Returns
    -------
    What is not in it, by its path there: links to nothing, links round in circles, sockets, pipes.

    Raises
    ------
    OSError
        When a file cannot be read or the disk is full; ``archive`` is then as it was.
    """
    temporary = archive.with_name(f".{archive.name}.{uuid.uuid4().hex[:8]}.tmp")
    left_out: list[str] = []
    try:
        archive.parent.mkdir(parents=True, exist_ok=True)  # a script may have cleared the folder of its results
        with tarfile.open(temporary, "w:gz", compresslevel=_GZIP_LEVEL, dereference=True) as tar:
            entries = [*_walk(str(folder), "", (), left_out)]
            for name, other in beside.items():
                entries += [(str(other), name), *_walk(str(other), f"{name}/", (), left_out)]
            for path, name in sorted(entries, key=lambda entry: entry[1] == last):
                tar.add(path, name, recursive=False, filter=_without_owner if reproducible else None)
        os.replace(temporary, archive)
    finally:
        temporary.unlink(missing_ok=True)
    return left_out


def _walk(folder: str, inside: str, through: tuple[Path, ...], left_out: list[str]) -> Iterator[tuple[str, str]]:
    """Paths and names in the archive; ``through`` are the folders whose links led here, by their real paths."""
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        is_folder, trail, around = os.path.isdir(path), through, False
        if is_folder and os.path.islink(path):
            target, trail = Path(os.path.realpath(path)), (*through, Path(os.path.realpath(folder)))
            around = any(above.is_relative_to(target) for above in trail)
        if around or not (is_folder or os.path.isfile(path)):
            left_out.append(inside + name)
            continue
        yield path, inside + name
        if is_folder:
            yield from _walk(path, f"{inside}{name}/", trail, left_out)


def _without_owner(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.mtime, info.uid, info.gid, info.uname, info.gname = 0, 0, 0, "", ""
    return info


def _is_zip(path: Path) -> bool:
    """By its first bytes, whatever it is called: browsers and mails rename archives."""
    with open(path, "rb") as file:
        return file.read(4) in (b"PK\3\4", b"PK\5\6") or (
            path.name.lower().endswith(".zip") and not tarfile.is_tarfile(path)
        )


def _zip_members(file: zipfile.ZipFile, path: Path) -> Iterator[Member]:
    for info in file.infolist():
        mode = info.external_attr >> 16
        regular = not info.is_dir() and stat.S_IFMT(mode) in (0, stat.S_IFREG)
        if regular and info.flag_bits & 1:
            raise SourceError("The archive is encrypted.", where=path, do="unpack it yourself")
        content = partial(file.open, info) if regular else None
        yield Member(info.filename, info.file_size if regular else 0, 0, bool(mode & 0o100), content)


def _tar_members(tar: tarfile.TarFile) -> Iterator[Member]:
    for info in tar:
        if info.isreg():
            content = partial(tar.extractfile, info)
            yield Member(info.name, info.size, info.mtime, bool(info.mode & 0o100), content)
        else:  # tarfile refuses devices, and links that lead outside (PEP 706)
            yield Member(info.name, link=partial(tar.extract, info, filter="data"))
    padding = 0  # to the checksum: tarfile takes a damaged header for the archive's end
    while tar.fileobj is not None and (block := tar.fileobj.read(_BLOCK)):
        padding += len(block)
        if padding > _MAX_PADDING_BYTES:
            raise OSError(errno.EINVAL, "it is damaged, or something follows its end")


def _inside(folder: Path, name: str, archive: Path) -> Path:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or "\0" in name or (path.parts and _DRIVE.match(path.parts[0])):
        raise _outside(name, archive)
    return folder.joinpath(*path.parts)


def _copy(
    source: IO[bytes], target: Path, declared: int, archive: Path, bounds: Bounds, progress: Callable[[], None]
) -> int:
    """Copy a member; return the bytes beyond the declared size, which a bomb may hide."""
    written = 0
    with storage(target), _names(target, archive):
        target.parent.mkdir(parents=True, exist_ok=True)
        file = open(target, "wb")  # noqa: SIM115 -- only what writes may be called a fault of the disk
    with file:
        progress()
        while block := source.read(_BLOCK):
            written += len(block)
            if written > bounds.bytes:
                raise _too_large(archive, bounds)
            with storage(target):
                file.write(block)
            progress()
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


def _outside(name: str, archive: Path) -> SourceError:
    return SourceError(
        f"The archive wants to write outside its folder: {name!r}.",
        where=archive,
        do="do not use this archive; nothing of it was used",
    )


def _too_large(archive: Path, bounds: Bounds) -> SourceError:
    return SourceError(
        "The archive unpacks to more than is allowed.",
        where=archive,
        allowed=f"at most {bounds.bytes / 1e9:g} GB and {bounds.files:,} files",
        do="unpack it yourself if it is meant, and name the folder",
    )
