"""The inputs of a batch transform, one after another: a folder, a file, an archive, a bucket, a manifest of them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path, PurePosixPath
from typing import Any

from vizsla import s3_session
from vizsla.archives import Member, is_archive, opened
from vizsla.batch.manifest import Entry, read_manifest
from vizsla.data import s3
from vizsla.data.progress import Progress
from vizsla.data.tree import Tally, in_counts, is_picture, pictures
from vizsla.errors import DataError, ImageError, SourceError
from vizsla.images import Limits, file_type, read_file
from vizsla.images.formats import ENDINGS, HEAD_BYTES
from vizsla.jobs.spec import local_path
from vizsla.settings import settings

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Input:
    """One object. ``key`` names it below the source and so its output; ``read`` gives all of it at once, and raises
    :class:`ImageError` where this one cannot be had; ``blocks`` gives it piece by piece."""

    key: str
    read: Callable[[], bytes]
    blocks: Callable[[], Iterator[bytes]]
    address: str | None = None
    """What :func:`at_address` reads it by, on any machine that sees it; None of a member of an archive."""


@dataclass(frozen=True)
class Inputs:
    """What there is to transform. Each call of ``each`` begins anew; ``count`` is None where only the end tells.
    ``is_remote`` says that reading waits for a network, so that many are read at a time; ``has_addresses``, that each
    has one; ``may_repeat``, that a key may be there twice."""

    where: str
    count: int | None
    each: Callable[[], Iterator[Input]]
    is_remote: bool = False
    has_addresses: bool = True
    may_repeat: bool = True
    notes: list[str] = field(default_factory=list)


def open_inputs(
    address: str,
    *,
    is_manifest: bool = False,
    records: bool = False,
    on_progress: Progress = lambda done, total: None,
) -> Inputs:
    """The inputs at an address.

    Parameters
    ----------
    address:
        A folder, a file, an archive, a manifest; or one of them as ``s3://bucket/prefix``.
    is_manifest:
        That the file is a manifest, whatever its name (a manifest by its name is one anyway).
    records:
        That inputs are files of records: all that lies there, not the pictures alone.

    Raises
    ------
    DataError
        When there is nothing to transform (:class:`SourceError` when it cannot be reached).
    """
    if address.startswith("s3://"):
        return _bucket(address, is_manifest=is_manifest, records=records, on_progress=on_progress)
    path = local_path(address)
    if path is None:
        raise SourceError(
            "Inputs cannot be had from there.", where=address, allowed="a path, a file:// or an s3:// address"
        )
    path = path.expanduser()
    if path.is_dir():
        return _folder(path, records)
    if not path.is_file():
        raise DataError("There is no such input.", where=path, allowed="a folder, a file, an archive or a manifest")
    if is_archive(path.name):
        return _archive(path, records)
    if is_manifest or (not records and not is_picture(path)):
        return _listed(read_manifest(path), str(path))
    return Inputs(str(path), 1, lambda: iter([local_input(_text(path.name), path)]))


def _some(inputs: Sequence[str], where: object, what: str) -> Sequence[str]:
    if not inputs:
        raise _nothing(where, what)
    return inputs


def _nothing(where: object, what: str) -> DataError:
    return DataError(
        f"There is nothing to transform: {what}.",
        where=where,
        allowed=f"pictures ({' '.join(sorted(ENDINGS)[:6])} ...), or files of records with their split type",
    )


def local_input(key: str, path: Path) -> Input:
    """A file of this machine."""
    return Input(key, partial(_read, path), partial(_blocks, path), str(path.absolute()))


def at_address(address: str) -> bytes:
    """All of an input by its address.

    Raises
    ------
    ImageError
        When it cannot be had.
    """
    if not address.startswith("s3://"):
        return _read(Path(address))
    bucket, key = s3_session.parse(address)
    return _object_bytes(_store(bucket), bucket, key)


@lru_cache(maxsize=16)
def _store(bucket: str) -> Any:
    return s3_session.connect(bucket, None, patient=True)


def _read(path: Path) -> bytes:
    return read_file(path, Limits.from_settings())


def _blocks(path: Path) -> Iterator[bytes]:
    try:
        with open(path, "rb") as file:
            while block := file.read(_BLOCK):
                yield block
    except OSError as error:
        raise ImageError("unreadable", f"The file cannot be read: {error.strerror}.", where=path) from error


def _folder(root: Path, records: bool) -> Inputs:
    if records:  # all of them now: answers may come to lie beside them
        names = _some(sorted(_files(root)), root, "the folder is empty")
        return Inputs(str(root), len(names), lambda: (_file(root, name) for name in names))
    tally, count, escaped = Tally(), 0, False
    for name in pictures(root, tally):  # no more than a folder's names are in memory
        count, escaped = count + 1, escaped or "\\" in _text(name)
    if not count:
        raise _nothing(root, "the folder holds no picture")
    return Inputs(
        str(root),
        count,
        lambda: (_file(root, name) for name in pictures(root, Tally())),
        may_repeat=escaped,
        notes=tally.notes(),
    )


def _files(root: Path) -> Iterator[str]:
    for folder, _, files in os.walk(root):
        yield from (os.path.relpath(os.path.join(folder, name), root) for name in files if not name.startswith("."))


def _file(root: Path, name: str) -> Input:
    return local_input(_text(name), root / name)


def _archive(path: Path, records: bool) -> Inputs:
    """The members as they follow one another: nothing is unpacked."""
    return Inputs(str(path), None, lambda: _members(path, records), has_addresses=False)


def _members(path: Path, records: bool) -> Iterator[Input]:
    most, others, found = settings().max_image_bytes, Counter[str](), 0
    with opened(path) as (members, _):
        for member in members:
            key = _key(member.name.removeprefix("./"), path)
            if member.open is None or any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(key).parts):
                continue
            if records:
                found += 1
                yield Input(key, partial(_member_bytes, member, most), partial(_member_blocks, member))
                continue
            data = _member_bytes(member, most) if member.size <= most else None
            ending = PurePosixPath(key).suffix.lower()
            if ending not in ENDINGS and ((kind := file_type((data or b"")[:HEAD_BYTES])) is None or not kind.picture):
                others[ending or "no ending"] += 1
                continue
            found += 1
            read = partial(_too_large, member.size, most) if data is None else partial(_same, data)
            yield Input(key, read, lambda: iter(()))
    if not found:
        raise DataError(
            "There is nothing to transform: the archive holds no picture"
            + (f", but {in_counts(others, 'file')}." if others else "."),
            where=path,
        )


def _same(data: bytes) -> bytes:
    return data


def _too_large(size: int, most: int) -> bytes:
    raise ImageError("too-many-bytes", f"The file has {size:,} bytes.", allowed=f"at most {most:,} bytes")


def _member_bytes(member: Member, most: int) -> bytes:
    file = member.open() if member.open else None
    return b"" if file is None else file.read(most + 1)


def _member_blocks(member: Member) -> Iterator[bytes]:
    file = member.open() if member.open else None
    while file is not None and (block := file.read(_BLOCK)):
        yield block


def _key(name: str, where: object) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise DataError(f"The output of {name!r:.200} would lie outside the job.", where=where, do="rename the input")
    return _text(str(path))


def _text(name: str) -> str:
    """A name that can be written down: its bytes that are no UTF-8 as ``\\xe9``."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _bucket(address: str, *, is_manifest: bool, records: bool, on_progress: Progress) -> Inputs:
    name = PurePosixPath(address).name
    ending = PurePosixPath(name).suffix.lower()
    if is_archive(name) or is_manifest or ending == ".manifest":
        file = s3.fetch(address, settings().cache, on_progress=on_progress)
        if is_archive(name):
            return _archive(file, records)
        return _listed(read_manifest(file, beside=address.rpartition("/")[0]), address)
    bucket, prefix = s3_session.parse(address)
    where = f"s3://{bucket}/{prefix}"
    store = s3_session.connect(bucket, None)

    def names() -> Iterator[str]:
        with s3_session.in_words(where):
            for chunk in s3_session.obstore().list(store, prefix or None, chunk_size=1000):
                for meta in chunk:
                    key = str(meta["path"])
                    if meta["size"] and (records or PurePosixPath(key).suffix.lower() in ENDINGS):
                        yield key

    listed = list(names())
    if not listed and prefix:  # the address of one object
        with s3_session.in_words(where):
            try:
                listed = [str(s3_session.obstore().head(store, prefix)["path"])]
            except FileNotFoundError:
                listed = []
    keys = sorted(_some(listed, where, "no picture lies under this address"))
    start = len(prefix) + 1 if prefix and keys != [prefix] else prefix.rfind("/") + 1

    def each() -> Iterator[Input]:
        patient = s3_session.connect(bucket, None, patient=True)
        return (_object(_key(key[start:], where), patient, bucket, key) for key in keys)

    return Inputs(where, len(keys), each, is_remote=True)


def _object(name: str, store: Any, bucket: str, key: str) -> Input:
    blocks = partial(_object_blocks, store, bucket, key)
    return Input(name, partial(_object_bytes, store, bucket, key), blocks, f"s3://{bucket}/{key}")


def _object_bytes(store: Any, bucket: str, key: str) -> bytes:
    return b"".join(_object_blocks(store, bucket, key, settings().max_image_bytes))


def _object_blocks(store: Any, bucket: str, key: str, most: int | None = None) -> Iterator[bytes]:
    where = f"s3://{bucket}/{key}"
    try:
        with s3_session.in_words(where):
            answer = s3_session.obstore().get(store, key)
            if most is not None and answer.meta["size"] > most:
                _too_large(answer.meta["size"], most)
            for block in answer.stream(min_chunk_size=_BLOCK):
                yield bytes(block)
    except SourceError as error:
        if isinstance(error.__cause__, FileNotFoundError):  # gone since it was listed: this one's trouble
            raise ImageError("unreadable", "There is no such object.", where=where) from error
        raise


def _listed(entries: Sequence[Entry], where: str) -> Inputs:
    """Inputs that a manifest names: files, and objects in buckets."""
    stores: dict[str, Any] = {}

    def one(entry: Entry) -> Input:
        if not entry.address.startswith("s3://"):
            return local_input(entry.key, Path(entry.address))
        bucket, key = s3_session.parse(entry.address)
        if bucket not in stores:
            stores[bucket] = s3_session.connect(bucket, None, patient=True)
        return _object(entry.key, stores[bucket], bucket, key)

    is_remote = any(entry.address.startswith("s3://") for entry in entries)
    return Inputs(where, len(entries), lambda: map(one, entries), is_remote=is_remote)
