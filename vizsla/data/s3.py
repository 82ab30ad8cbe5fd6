"""Mirroring a bucket's pictures into the cache: in parallel, only what changed, going on where it stopped.

obstore (the Rust crate object_store) and not boto3: a GET costs about a fifth of boto3's processor time, which is
what bounds the rate for many small objects (docs/data.md has the measurement).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from vizsla.data import kept, s3_session
from vizsla.errors import SourceError
from vizsla.files import storage
from vizsla.images.decode import SUFFIXES as PICTURES

Progress = Callable[[int, int], None]
"""Called with (objects done, objects to fetch), from any thread."""

THREADS = 32
_LARGE = 8 << 20
_JOURNAL = "journal.tsv"


@dataclass(frozen=True)
class Synced:
    """What a sync did: objects that were fetched, were there already, and vanished from the bucket; bytes in all."""

    folder: Path
    fetched: int
    kept: int
    removed: int
    bytes: int


@dataclass(frozen=True)
class _Object:
    key: str
    size: int
    etag: str
    has_etag: bool = True
    """Some services give no ETag; the time of change then stands for it."""


def sync(
    url: str,
    cache: Path,
    *,
    endpoint_url: str | None = None,
    also: Sequence[str] = (),
    everything: bool = False,
    on_progress: Progress = lambda done, total: None,
    threads: int = THREADS,
) -> Synced:
    """Mirror the pictures under ``s3://bucket/prefix`` into a folder of the cache.

    An object is fetched when its ETag or size is not the one in the journal, or its file is missing. Every
    finished object is journalled, so that a broken sync goes on where it stopped. The mirror loses what the
    bucket has lost; nothing outside the cache is touched. Of several processes one syncs at a time.

    Parameters
    ----------
    also:
        Further names (relative to the prefix) to mirror, that are no pictures.
    everything:
        Mirror whatever lies there, also where the address is that of one object.

    Raises
    ------
    SourceError
        When the endpoint cannot be reached, access is refused, the bucket is missing, or nothing lies there.
    """
    bucket, prefix = s3_session.parse(url)
    endpoint_url = s3_session.endpoint(endpoint_url)
    where = f"s3://{bucket}/{prefix}" + (f" at {endpoint_url}" if endpoint_url else "")
    store = s3_session.connect(bucket, endpoint_url)
    place = hashlib.sha256(f"{endpoint_url}|{bucket}|{prefix}".encode()).hexdigest()[:16]
    home = cache / "sources" / f"s3-{'all-' if everything else ''}{place}"
    with kept.filling(home):
        with s3_session.in_words(where):
            wanted = _all(store, prefix, where) if everything else _pictures(store, prefix, where, also)
        synced = _sync(store, where, home / (PurePosixPath(prefix).name or bucket), wanted, on_progress, threads)
        kept.use(home, where, synced.bytes)
    return synced


def _pictures(store: Any, prefix: str, where: str, also: Sequence[str]) -> dict[str, _Object]:
    found = _listed(store, prefix, where)
    wanted = {name: one for name, one in found if os.path.splitext(name)[1].lower() in PICTURES or name in also}
    if not wanted:
        raise SourceError(
            "There are no pictures under this address.",
            where=where,
            allowed="objects whose names end in " + " ".join(sorted(PICTURES)),
            do="check the prefix (upper and lower case count)",
        )
    return wanted


def _all(store: Any, prefix: str, where: str) -> dict[str, _Object]:
    found = dict(_listed(store, prefix, where))
    folders = {str(parent) for name in found for parent in PurePosixPath(name).parents}
    # Consoles make a folder by an empty object of its name.
    wanted = {name: one for name, one in found.items() if name and name not in folders}
    if not wanted and prefix:
        with contextlib.suppress(FileNotFoundError):
            wanted = {PurePosixPath(prefix).name: _object(s3_session.obstore().head(store, prefix))}
    if not wanted:
        raise SourceError(
            "Nothing lies under this address.", where=where, do="check the prefix (upper and lower case count)"
        )
    return wanted


def _sync(
    store: Any, where: str, folder: Path, wanted: dict[str, _Object], on_progress: Progress, threads: int
) -> Synced:
    home = folder.parent
    with storage(folder):
        folder.mkdir(parents=True, exist_ok=True)
    journal = _Journal(home / _JOURNAL)
    missing = [(name, found) for name, found in wanted.items() if not _is_there(folder / name, found, journal)]
    with s3_session.in_words(where):
        _fetch_all(store, folder, missing, journal, on_progress, threads)
    removed = _remove_others(folder, wanted, journal)
    journal.compact(wanted)
    size = sum(found.size for found in wanted.values())
    return Synced(folder, len(missing), len(wanted) - len(missing), removed, size)


def fetch(url: str, cache: Path, *, endpoint_url: str | None = None, on_progress: Progress) -> Path:
    """Mirror one object, such as an archive; a broken transfer goes on where it stopped.

    Raises
    ------
    SourceError
        As :func:`sync` does.
    """
    bucket, key = s3_session.parse(url)
    name = PurePosixPath(key).name
    endpoint_url = s3_session.endpoint(endpoint_url)
    home = cache / "downloads" / hashlib.sha256(f"{endpoint_url}|{url}".encode()).hexdigest()[:16]
    store = s3_session.connect(bucket, endpoint_url)
    where = f"s3://{bucket}/{key}"
    with kept.filling(home), s3_session.in_words(where):
        with storage(home):
            home.mkdir(parents=True, exist_ok=True)
        found = _object(s3_session.obstore().head(store, key))
        journal = _Journal(home / _JOURNAL)
        if not _is_there(home / name, found, journal):
            _fetch_all(store, home, [(name, found)], journal, on_progress, 1)
        kept.use(home, where, found.size)
    return home / name


def _listed(store: Any, prefix: str, where: str) -> Iterator[tuple[str, _Object]]:
    """Every object under the prefix, by its name relative to the prefix."""
    start = len(prefix) + 1 if prefix else 0
    for chunk in s3_session.obstore().list(store, prefix or None, chunk_size=1000):
        for meta in chunk:
            name = meta["path"][start:]
            if ".." in name.split("/") or "\\" in name or name.startswith("/"):
                raise SourceError(
                    f"An object's name would lie outside the mirror: {meta['path']!r}.", where=where, do="rename it"
                )
            yield name, _object(meta)


def _object(meta: Any) -> _Object:
    etag = meta.get("e_tag")
    return _Object(meta["path"], meta["size"], etag or str(meta["last_modified"]), bool(etag))


def _is_there(file: Path, found: _Object, journal: _Journal) -> bool:
    if journal.entries.get(found.key) != (found.etag, found.size):
        return False
    try:
        there = file.stat()
    except OSError:
        return False
    return there.st_size == found.size and there.st_mtime_ns <= journal.written  # somebody may have written into it


def _fetch_all(
    store: Any,
    folder: Path,
    missing: list[tuple[str, _Object]],
    journal: _Journal,
    on_progress: Progress,
    threads: int,
) -> None:
    turn, stop, done = iter(missing), threading.Event(), 0
    lock = threading.Lock()

    def worker() -> None:
        nonlocal done
        while not stop.is_set():
            with lock:
                entry = next(turn, None)
            if entry is None:
                return
            name, found = entry
            _fetch_one(store, folder / name, found)
            with lock:
                journal.add(found)
                done += 1
                on_progress(done, len(missing))

    for parent in {(folder / name).parent for name, _ in missing}:
        with storage(parent):
            parent.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(threads, thread_name_prefix="s3") as pool:
        try:
            workers = [pool.submit(worker) for _ in range(min(threads, len(missing)))]
            wait(workers, return_when=FIRST_EXCEPTION)
        finally:
            stop.set()
    journal.flush()
    for future in workers:
        future.result()


def _fetch_one(store: Any, file: Path, found: _Object) -> None:
    """Fetch one object; a large one in pieces, after what an earlier attempt has left."""
    part = file.with_name(f".{file.name}.{_version(found.etag)}.part")
    if found.size <= _LARGE:
        data = _bytes(store, found, None) if found.size else b""  # an empty folder's object cannot be asked for
        with storage(file):
            part.write_bytes(data)
            os.replace(part, file)
        return
    have = part.stat().st_size if part.is_file() else 0
    while have < found.size:
        end = min(found.size, have + _LARGE)
        data = _bytes(store, found, (have, end))
        with storage(part), open(part, "ab") as target:
            target.write(data)
        have = end
    with storage(file):
        if part.stat().st_size != found.size:
            part.unlink()
            raise _changed(found)
        os.replace(part, file)


def _bytes(store: Any, found: _Object, span: tuple[int, int] | None) -> bytes:
    """The bytes of the version that was listed, or a span of them; not every service heeds ``if_match``."""
    options = ({} if span is None else {"range": span}) | ({"if_match": found.etag} if found.has_etag else {})
    answer = s3_session.obstore().get(store, found.key, options=options)
    data = bytes(answer.bytes())
    expected = found.size if span is None else span[1] - span[0]
    if len(data) != expected or (found.has_etag and answer.meta.get("e_tag") not in (None, found.etag)):
        raise _changed(found)
    return data


def _changed(found: _Object) -> SourceError:
    return SourceError(
        "An object has changed while it was fetched.",
        where=found.key,
        do="run the command again: it goes on where it stopped",
    )


def _version(etag: str) -> str:
    """An ETag as a part of a file name."""
    return hashlib.sha256(etag.encode()).hexdigest()[:8]


def _remove_others(folder: Path, wanted: dict[str, _Object], journal: _Journal) -> int:
    keys = {found.key for found in wanted.values()}
    gone = [key for key in journal.entries if key not in keys]
    if not gone:
        return 0
    removed = 0
    for file in folder.rglob("*"):
        if file.is_file() and file.relative_to(folder).as_posix() not in wanted:
            file.unlink(missing_ok=True)
            removed += 1
    return removed


class _Journal:
    """Which version of each object is on disk: lines of ETag, size and key; the last line of a key counts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: dict[str, tuple[str, int]] = {}
        try:
            lines = path.read_text("utf-8", "surrogateescape").split("\n")
        except OSError:
            lines = []
        for line in lines[:-1]:  # what follows the last line end was cut off by a kill
            etag, size, key = [*line.split("\t", 2), "", ""][:3]
            if size.isdecimal() and key:
                self.entries[key] = etag, int(size)
        with storage(path):
            self._file = open(path, "a", encoding="utf-8", errors="surrogateescape", buffering=1)  # noqa: SIM115
            self.written = path.stat().st_mtime_ns

    def add(self, found: _Object) -> None:
        self.entries[found.key] = found.etag, found.size
        with storage(self.path):
            self._file.write(f"{found.etag}\t{found.size}\t{found.key}\n")

    def flush(self) -> None:
        with storage(self.path):
            self._file.flush()

    def compact(self, wanted: dict[str, _Object]) -> None:
        """Rewrite the journal with what is wanted, when it has grown by more than that."""
        self._file.close()
        keys = {found.key for found in wanted.values()}
        if len(self.entries) > len(keys):
            self.entries = {key: value for key, value in self.entries.items() if key in keys}
            temporary = self.path.with_suffix(".tmp")
            with storage(temporary):
                lines = (f"{etag}\t{size}\t{key}\n" for key, (etag, size) in self.entries.items())
                temporary.write_text("".join(lines), "utf-8", "surrogateescape")
                os.replace(temporary, self.path)
