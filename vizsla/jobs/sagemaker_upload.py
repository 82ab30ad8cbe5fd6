"""Code and data to a bucket: only what changed since the last time."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vizsla.errors import JobError
from vizsla.files import write_json
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.spec import local_path
from vizsla.settings import settings

_THREADS = 16
_PART_BYTES = 8 << 20
_MANY = 1000
_TELL_SECONDS = 5.0


@dataclass(frozen=True)
class Upload:
    """What an upload came to: files sent, files that were there already, files taken away, and bytes sent."""

    sent: int = 0
    kept: int = 0
    removed: int = 0
    bytes: int = 0

    def __str__(self) -> str:
        return (
            f"{self.sent:,} files sent ({self.bytes / 1e6:,.1f} MB), {self.kept:,} unchanged, {self.removed:,} removed"
        )


def upload_code(s3: Any, folder: Path, bucket: str, prefix: str) -> str:
    """Put a folder of code as ``sourcedir.tar.gz`` under the hash of its content, unless it is there.

    Returns
    -------
    Its s3:// address.
    """
    data = _archive(folder)
    key = f"{prefix}code/{hashlib.sha256(data).hexdigest()[:32]}/sourcedir.tar.gz"
    there = s3.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1)
    if not there.get("KeyCount"):
        s3.put_object(Bucket=bucket, Key=key, Body=data)
    return f"s3://{bucket}/{key}"


def sent_data(s3: Any, job: JobDirectory, uri: str, bucket: str, prefix: str) -> str:
    """The s3:// address of data of a job, which are sent if they lie here; its log tells how far that is.

    Raises
    ------
    JobError
        When there are none.
    """
    path = local_path(uri)
    if path is None:
        return uri
    if not path.exists():
        raise JobError("There are no data to send.", where=path)
    told = time.monotonic()
    with open(job.logs, "a", encoding="utf-8") as log:

        def tell(done: int, total: int) -> None:
            nonlocal told
            if time.monotonic() - told >= _TELL_SECONDS:
                told = time.monotonic()
                log.write(f"[vizsla: {path}: {done:,} of {total:,} files sent]\n")
                log.flush()

        address, upload = upload_data(s3, path, bucket, prefix, settings().cache, tell)
        log.write(f"[vizsla: {path}: {upload}]\n")
    return address


def upload_data(
    s3: Any, source: Path, bucket: str, prefix: str, cache: Path, tell: Callable[[int, int], None]
) -> tuple[str, Upload]:
    """Make the objects under a prefix the files in ``source``, a folder or one file.

    A file that has not changed since it was sent, by its size and time, is left alone, and so is one with the content
    of the object. An object without a file is removed.

    Parameters
    ----------
    prefix:
        Where channels lie; each source has a place of its own below it.
    cache:
        Remembers what was sent.
    tell:
        Is called with the files done and the files in all.

    Returns
    -------
    The s3:// address, and what was done.
    """
    identity = hashlib.sha256(os.fsencode(source.resolve())).hexdigest()[:12]
    place = f"{prefix}data/{source.resolve().name}-{identity}/"
    record = cache / "uploads" / f"{hashlib.sha256(f'{bucket}/{place}'.encode()).hexdigest()[:32]}.json"
    sent = _read(record)
    files = dict(_files(source))
    if not files:
        raise JobError("There are no files to send.", where=source)
    if (odd := next((name for name in files if not _is_text(name)), None)) is not None:
        raise JobError(f"A file's name is no text, as an object's must be: {odd!r:.300}.", where=source, do="rename it")
    there = dict(_listing(s3, bucket, place))
    todo = [name for name, path in files.items() if not _is_there(path, sent.get(name), there.get(name))]
    size = sum(files[name].stat().st_size for name in todo)

    def send(name: str) -> str:
        if files[name].stat().st_size <= _PART_BYTES:
            return str(s3.put_object(Bucket=bucket, Key=place + name, Body=files[name].read_bytes())["ETag"])
        s3.upload_file(str(files[name]), bucket, place + name)
        return str(s3.head_object(Bucket=bucket, Key=place + name)["ETag"])

    entries = {name: (_facts(files[name]), there[name][1]) for name in files if name not in set(todo)}
    try:
        with ThreadPoolExecutor(_THREADS) as pool:
            before = {name: _facts(files[name]) for name in todo}
            for done, (name, etag) in enumerate(zip(todo, pool.map(send, todo), strict=True), 1):
                entries[name] = before[name], etag
                tell(done, len(todo))
    finally:
        write_json(record, {name: [*facts, etag] for name, (facts, etag) in entries.items()}, make_folder=True)
    gone = [name for name in there if name not in files]
    for at in range(0, len(gone), _MANY):
        objects = [{"Key": place + name} for name in gone[at : at + _MANY]]
        s3.delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True})
    return f"s3://{bucket}/{place}", Upload(len(todo), len(files) - len(todo), len(gone), size)


def _is_there(path: Path, sent: list[Any] | None, there: tuple[int, str] | None) -> bool:
    if there is None:
        return False
    size, etag = there
    if sent is not None and sent == [*_facts(path), etag]:
        return True
    return size == path.stat().st_size <= _PART_BYTES and etag == f'"{hashlib.md5(path.read_bytes()).hexdigest()}"'


def _facts(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _read(record: Path) -> dict[str, list[Any]]:
    try:
        value = json.loads(record.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _files(source: Path) -> Iterator[tuple[str, Path]]:
    if source.is_file():
        yield source.name, source
        return
    for inside, _, names in os.walk(source, followlinks=True):
        for name in names:
            path = Path(inside, name)
            if path.is_file():
                yield path.relative_to(source).as_posix(), path


def _listing(s3: Any, bucket: str, place: str) -> Iterator[tuple[str, tuple[int, str]]]:
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=place):
        for entry in page.get("Contents", ()):
            yield entry["Key"].removeprefix(place), (entry["Size"], entry["ETag"])


def _archive(folder: Path) -> bytes:
    """The same bytes for the same files."""
    memory = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=memory, mode="wb", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, path in sorted(_files(folder)):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = path.stat().st_size, 0o755 if os.access(path, os.X_OK) else 0o644
            with open(path, "rb") as file:
                archive.addfile(entry, file)
    return memory.getvalue()
