"""A job's folder on this machine and its prefix in a bucket, brought to the same by turns: only what changed is moved.

What was moved is written down in the folder, for each file its size, time and ETag. A file is sent when its size or
time is another than there, and fetched when its object's ETag is. Where both changed, the bucket's stays.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import sqlite3
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from vizsla import s3_session
from vizsla.files import storage
from vizsla.jobs.handover import ENVIRONMENT, FETCHED

TURN_SECONDS = 2.0
"""How often mirror and prefix are brought to the same."""
LAST = ".run/exit.json"
"""How an attempt ended: sent when all the rest is there, and fetched after it, so that whoever sees it sees all."""
LEASE = ".run/controller"
"""Who controls the job: an object alone, see :mod:`vizsla.jobs.lease`."""
_LIGHT_FOLDERS = (".run", "output")
_HEAVY = ("output/data/", "output/debug/tensors/")
_NOT_MOVED = ("input/data", FETCHED, ENVIRONMENT, ".run/slots")
"""Folders of a machine's own: links, what lies in other buckets, what was installed."""
_ARE_HERE = ".run/fetched-"
"""Of the files that say which channels lie there: another machine has to fetch its own."""
STOP = ".run/stop.json"
"""A request to stop: where the job runs it is asked for alone, and never sent."""
_JOURNAL = ".run/moved.json"
"""What is known of the files. It lies in the folder, so that it goes with it."""
_NO_FILES = frozenset({".run/lock", ".run/reserve", LEASE, _JOURNAL})
_REMOVED = (".run/", "output/failure")
"""What is taken away there when it is taken away here: what was in the mirror of a whole home may only be missing."""
_LARGE = 8 << 20
_THREADS = 8
ANSWERS = "answers"
"""Where a batch transform's answers go, of which there may be millions: never listed with the rest."""
_REST = 10.0
"""Times what sending a file took, until it is sent again: a log of 60 MB is replaced as a whole each time."""
_SQLITE = b"SQLite format 3\0"
_Known = dict[str, tuple[int, int, str]]
"""Size in bytes, time in ns, and ETag, by name."""


def _is_light(name: str) -> bool:
    """Whether a file says how a job goes: not its input, code, checkpoints or results."""
    folder, slash, _ = name.partition("/")
    if not slash:
        return True
    return folder in _LIGHT_FOLDERS and not name.startswith(_HEAVY) and not name.endswith(".tar.gz")


class Bucket:
    """A bucket, connected to when it is asked, and anew after an error: credentials may have been renewed."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._store: Any = None

    @property
    def store(self) -> Any:
        """For obstore's functions."""
        if (store := self._store) is None:
            store = self._store = s3_session.connect(self._name, None)
        return store

    @contextlib.contextmanager
    def in_words(self, where: str) -> Iterator[None]:
        """See :func:`vizsla.s3_session.in_words`."""
        try:
            with s3_session.in_words(where):
                yield
        except BaseException:
            self._store = None
            raise


class Mirror:
    """One job.

    Parameters
    ----------
    address:
        ``s3://bucket/prefix/JOB``.
    folder:
        The job's folder here; it need not be there yet.
    whole:
        Whether all of the job is here, so that what is taken away here is taken away there, too.
    bucket:
        That of the address, where several jobs share the connection.
    """

    def __init__(self, address: str, folder: Path, *, whole: bool = False, bucket: Bucket | None = None) -> None:
        self.address, self.folder, self._whole = address, folder, whole
        name, self._prefix = s3_session.parse(address)
        self.bucket = bucket or Bucket(name)
        self._lock = folder.with_name(f".{folder.name}.moving")
        self._resting: dict[str, float] = {}
        self._not_moved = _NO_FILES | {STOP} if whole else _NO_FILES

    def fetch(self, folder: str | None = None) -> list[str]:
        """Take over what has changed in the bucket: what says how the job goes, or all of a ``folder`` or file, of
        which "" is the job.

        Returns
        -------
        The names of the files that came.

        Raises
        ------
        SourceError
            When the bucket does not answer as it should.
        StorageError
            When the disk is full.
        """
        with self._turn() as known:
            wanted = _is_light if folder is None else functools.partial(_is_in, folder)
            listed = self._list_light() if folder is None else self._list(folder)
            there = {name: etag for name, etag in listed if wanted(name) and self._is_moved(name)}
            todo = [name for name, etag in there.items() if name not in known or known[name][2] != etag]
            came: list[str] = []
            for part in _last_apart(todo):
                for name, entry in self._each(self._fetch_one, part):
                    known.pop(name, None)
                    if entry is not None:
                        known[name] = entry
                        came.append(name)
            for name in [name for name in known if wanted(name) and name not in there]:
                if _facts(self.folder / name) == known.pop(name)[:2]:
                    (self.folder / name).unlink(missing_ok=True)
            return came

    def send(self, *, last: bool = False) -> None:
        """Send what has changed here. A large file rests for a while before it is sent again.

        Parameters
        ----------
        last:
            Send everything, and how the attempt ended.

        Raises
        ------
        SourceError
            When the bucket does not answer as it should.
        """
        if not self.folder.is_dir():
            return
        with self._turn() as known:
            here = dict(self._files())
            changed = [name for name, facts in here.items() if name not in known or known[name][:2] != facts]
            if not last:
                now = time.monotonic()
                changed = [name for name in changed if name != LAST and self._resting.get(name, 0.0) <= now]
            for part in _last_apart(changed):
                for name, entry in self._each(self._send_one, part):
                    if entry is not None:
                        known[name] = entry
            gone = [name for name in known if name not in here and (self._whole or name.startswith(_REMOVED))]
            for name in gone:
                with self.in_words(), contextlib.suppress(FileNotFoundError):
                    s3_session.obstore().delete(self.bucket.store, self.key(name))
                del known[name]

    def read(self, name: str) -> bytes | None:
        """What an object holds now; None where there is none.

        Raises
        ------
        SourceError
            When the bucket does not answer as it should.
        """
        with self.in_words():
            try:
                return bytes(s3_session.obstore().get(self.bucket.store, self.key(name)).bytes())
            except FileNotFoundError:
                return None

    def remove(self) -> None:
        """Delete all of the job in the bucket, and the lock beside its folder.

        Raises
        ------
        SourceError
            When the bucket does not answer as it should.
        """
        with self.in_words():
            if keys := [self.key(name) for name, _ in self._list("", answers=True)]:
                s3_session.obstore().delete(self.bucket.store, keys)
        self._lock.unlink(missing_ok=True)

    def key(self, name: str) -> str:
        """The key of a file's object; what is no text in a file's name cannot be in a key."""
        return f"{self._prefix}/{os.fsencode(name).decode('utf-8', 'replace')}"

    def in_words(self) -> contextlib.AbstractContextManager[None]:
        """See :func:`vizsla.s3_session.in_words`."""
        return self.bucket.in_words(self.address)

    @contextlib.contextmanager
    def _turn(self) -> Iterator[_Known]:
        """What is known of the files, which no other process moves meanwhile."""
        with storage(self._lock):
            self._lock.parent.mkdir(parents=True, exist_ok=True)
        with open(self._lock, "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            journal = self.folder / _JOURNAL
            known: _Known = {}
            with contextlib.suppress(OSError, ValueError):  # killed while it was written: all is compared anew
                known = {name: (size, at, etag) for name, (size, at, etag) in json.loads(journal.read_bytes()).items()}
            before = dict(known)
            try:
                yield known
            finally:
                if known != before and self.folder.is_dir():
                    with contextlib.suppress(OSError):  # a full disk: the next turn compares all anew
                        journal.parent.mkdir(exist_ok=True)
                        journal.write_text(json.dumps(known))

    def _list(self, folder: str, *, answers: bool = False) -> Iterator[tuple[str, str]]:
        """Names and ETags of a folder, or of one file."""
        if not folder and not answers:
            files, folders = self._children()
            yield from files
            for inner in folders:
                if inner != ANSWERS:
                    yield from self._list(inner)
            return
        place = self.key(folder).rstrip("/")
        with self.in_words():
            found = False
            for chunk in s3_session.obstore().list(self.bucket.store, place, chunk_size=1000):
                for entry in chunk:
                    found = True
                    yield self._named(entry)
            if not found:
                with contextlib.suppress(FileNotFoundError):
                    yield self._named(s3_session.obstore().head(self.bucket.store, place))

    def _list_light(self) -> Iterator[tuple[str, str]]:
        files, folders = self._children()
        yield from files
        for folder in _LIGHT_FOLDERS:
            if folder in folders:
                yield from self._list(folder)

    def _children(self) -> tuple[list[tuple[str, str]], list[str]]:
        """Names and ETags of the files right below the job, and its folders."""
        with self.in_words():
            found = s3_session.obstore().list_with_delimiter(self.bucket.store, self._prefix)
        files = [self._named(entry) for entry in found["objects"]]
        return files, [str(prefix).rstrip("/").rpartition("/")[2] for prefix in found["common_prefixes"]]

    def _named(self, entry: Any) -> tuple[str, str]:
        return entry["path"].removeprefix(f"{self._prefix}/"), _plain(entry["e_tag"])

    def _files(self) -> Iterator[tuple[str, tuple[int, int]]]:
        for folder, folders, names in os.walk(self.folder):
            inside = Path(folder).relative_to(self.folder)
            folders[:] = [name for name in folders if str(inside / name) not in _NOT_MOVED and name != "__pycache__"]
            for name in names:
                place = str(inside / name)
                temporary = name.startswith(".") and name.endswith(".tmp")
                if not self._is_moved(place) or temporary or name.endswith((".db-journal", ".db-wal", ".db-shm")):
                    continue
                path = self.folder / place
                if (facts := _facts(path)) is not None and self._is_own(path):
                    yield place, facts

    def _is_own(self, path: Path) -> bool:
        """Whether it is a file of the job, or a link to one, such as ``last.ckpt``: that is moved as a file."""
        return not path.is_symlink() or path.resolve().is_relative_to(self.folder.resolve())

    def _is_moved(self, name: str) -> bool:
        return name not in self._not_moved and not name.startswith(_ARE_HERE)

    def _each(
        self, move: Callable[[str], tuple[int, int, str] | None], names: list[str]
    ) -> Iterable[tuple[str, tuple[int, int, str] | None]]:
        if len(names) < 2:
            return [(name, move(name)) for name in names]
        with ThreadPoolExecutor(_THREADS) as pool:
            return zip(names, list(pool.map(move, names)), strict=True)

    def _fetch_one(self, name: str) -> tuple[int, int, str] | None:
        path = self.folder / name
        temporary = path.with_name(f".{path.name}.fetched.tmp")
        with self.in_words():
            try:
                answer = s3_session.obstore().get(self.bucket.store, self.key(name))
            except FileNotFoundError:  # taken away meanwhile
                return None
            with storage(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                try:
                    with open(temporary, "wb") as file:
                        for chunk in answer.stream(min_chunk_size=_LARGE):
                            file.write(chunk)
                    os.replace(temporary, path)
                except BaseException:
                    temporary.unlink(missing_ok=True)
                    raise
        facts = _facts(path)
        return None if facts is None else (*facts, _plain(answer.meta["e_tag"]))

    def _send_one(self, name: str) -> tuple[int, int, str] | None:
        path, began = self.folder / name, time.monotonic()
        facts = _facts(path)  # before it is read: what grows meanwhile is sent the next time
        if facts is None:
            return None
        with self.in_words(), _still(path) as source:
            try:
                content = source.read_bytes() if facts[0] < _LARGE else source
            except FileNotFoundError:
                return None
            answer = s3_session.obstore().put(self.bucket.store, self.key(name), content)
        self._resting[name] = time.monotonic() + _REST * (time.monotonic() - began)
        return (*facts, _plain(answer["e_tag"]))


@contextlib.contextmanager
def _still(path: Path) -> Iterator[Path]:
    """A file to read; of an SQLite database that others write to just now, a copy as it is between two writes."""
    if path.suffix != ".db" or not _is_sqlite(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="vizsla-") as folder:
        copy = Path(folder) / path.name
        try:
            with (
                contextlib.closing(sqlite3.connect(path)) as database,
                contextlib.closing(sqlite3.connect(copy)) as into,
            ):
                database.backup(into)
        except sqlite3.Error:  # damaged, or locked for long
            copy = path
        yield copy


def _is_sqlite(path: Path) -> bool:
    """By its first bytes: other libraries' files have names that end so, too."""
    try:
        with open(path, "rb") as file:
            return file.read(len(_SQLITE)) == _SQLITE
    except OSError:
        return False


def _facts(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):  # a pipe or a socket that a script has made
        return None
    return status.st_size, status.st_mtime_ns


def _plain(etag: str | None) -> str:
    return (etag or "").strip('"')


def _is_in(folder: str, name: str) -> bool:
    return not folder or name == folder or name.startswith(f"{folder}/")


def _last_apart(names: list[str]) -> list[list[str]]:
    return [[name for name in names if name != LAST], [name for name in names if name == LAST]]
