"""Jobs whose home is a bucket: ``VIZSLA_HOME=s3://bucket/prefix``.

On this machine the home is a folder of the cache, in which each job is a mirror of its prefix, so that all that reads
and writes jobs does so as ever. While this process controls a job, a thread brings mirror and prefix to the same every
two seconds; of a job that it only looks at, whoever looks does.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import functools
import os
import shutil
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vizsla import s3_session
from vizsla.errors import JobError, VizslaError
from vizsla.jobs.handover import load
from vizsla.jobs.lease import LEASE_SECONDS, Lease, claim
from vizsla.jobs.mirror import TURN_SECONDS, Bucket, Mirror

_PATIENCE = 30.0
"""How long the bucket may refuse, before that is an error of who controls the job."""
_AT_ONCE = 16


class BucketHome:
    """The jobs of a bucket, as this process sees them."""

    def __init__(self, address: str, folder: Path) -> None:
        s3_session.obstore()
        self.address, self.folder = address, folder
        name, self._prefix = s3_session.parse(address)
        self._bucket = Bucket(name)
        self._mirrors: dict[str, Mirror] = {}
        self._held: dict[str, Lease] = {}
        self._looked: dict[str, float] = {}
        self._refused: tuple[float, VizslaError] | None = None
        self._lost: set[str] = set()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        atexit.register(self._let_all_go)

    def mirror(self, name: str) -> Mirror:
        """A job by its name."""
        known = self._mirrors.get(name)
        made = known or Mirror(f"{self.address}/{name}", self.folder / name, bucket=self._bucket)
        return self._mirrors.setdefault(name, made)

    def refresh(self, name: str, *, now: bool = False) -> bool:
        """Bring a job up to date, when the last look is two seconds old, or ``now``; whether that was done.

        Raises
        ------
        SourceError
            When the bucket does not answer as it should.
        """
        if not now and time.monotonic() - self._looked.get(name, float("-inf")) < TURN_SECONDS:
            return False
        mirror = self.mirror(name)
        mirror.fetch()
        mirror.send()
        self._looked[name] = time.monotonic()
        return True

    def refresh_all(self) -> None:
        """Bring what a list of the jobs shows up to date, and forget those that are no longer there.

        Raises
        ------
        SourceError
            When the bucket does not answer as it should.
        """
        with self._bucket.in_words(self.address):
            found = s3_session.obstore().list_with_delimiter(self._bucket.store, self._prefix or None)
        names = {prefix.rstrip("/").rpartition("/")[2] for prefix in found["common_prefixes"]}
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(self._refresh_summary, names - self._held.keys()))
        for path in self.folder.glob("[!.]*/job.json"):
            if path.parent.name not in names | self._held.keys():
                shutil.rmtree(path.parent, ignore_errors=True)

    def fetch(self, name: str, path: str = "") -> None:
        """Bring a file or folder of a job here, or all of it.

        Raises
        ------
        SourceError
            When the bucket does not answer as it should.
        """
        self.mirror(name).fetch(path)

    def create(self, name: str, request: bytes) -> None:
        """Take the name of a new job, whose ``job.json`` is given.

        Raises
        ------
        FileExistsError
            When there is one of this name in the bucket.
        SourceError
            When the bucket does not answer as it should.
        """
        if not claim(self.mirror(name), request):
            raise FileExistsError(errno.EEXIST, "There is one in the bucket", f"{self.address}/{name}")
        shutil.rmtree(self.folder / name, ignore_errors=True)  # of one that was removed elsewhere

    def hold(self, name: str, *, patient: bool = False) -> None:
        """Control a job until :meth:`let_go`, and keep its prefix up to date.

        ``patient`` waits until it is clear whether a holder goes on: half a minute, when its machine is gone.

        Raises
        ------
        JobError
            When another process controls it.
        """
        lease, end = Lease(self.mirror(name)), time.monotonic() + (LEASE_SECONDS + TURN_SECONDS if patient else 0.0)
        first = holder = lease.take()
        while holder is not None:
            goes_on = holder != first and holder.words == first.words if first else False
            if goes_on or time.monotonic() >= end:
                raise JobError(
                    f"Job {name!r} is controlled by another process ({holder.words}).",
                    where=self.mirror(name).address,
                    do=f"watch it with `vizsla jobs logs -f {name}`, or end it with `vizsla jobs stop {name}`",
                )
            time.sleep(0.5)
            holder = lease.take()
        self._lost.discard(name)
        self.refresh(name, now=True)
        self._held[name] = lease
        if self._thread is None:
            self._thread = threading.Thread(target=self._keep, daemon=True, name="vizsla-bucket")
            self._thread.start()

    def let_go(self, name: str) -> None:
        """Send what is left and let another process control the job.

        Raises
        ------
        SourceError
            When it could not be sent: it lies in the mirror, and whoever looks at the job from here sends it.
        """
        lease = self._held.pop(name, None)
        if lease is None or name in self._lost:
            return
        mirror = self.mirror(name)
        try:
            mirror.fetch()
            mirror.send(last=True)
        finally:
            lease.release()

    def check(self) -> None:
        """That the bucket answers, and that what this process controls is still its own.

        Raises
        ------
        VizslaError
            Otherwise.
        """
        if self._lost:
            name = self._lost.pop()
            raise JobError(
                f"Job {name!r} is controlled by another process now: this one could not say for {LEASE_SECONDS:g} s "
                "that it is there.",
                where=f"{self.address}/{name}",
                do=f"watch it with `vizsla jobs logs -f {name}`",
            )
        refused = self._refused
        if refused is not None and time.monotonic() - refused[0] > _PATIENCE:
            refused[1].do = f"{refused[1].do}; jobs that run go on, and `vizsla jobs resume JOB` follows one again"
            raise refused[1]

    def remove(self, name: str) -> None:
        """Delete a job in the bucket.

        Raises
        ------
        SourceError
            When the bucket does not answer as it should.
        """
        self.mirror(name).remove()

    def _keep(self) -> None:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            while not self._over.wait(TURN_SECONDS):
                refusals = [error for error in pool.map(self._turn, list(self._held)) if error is not None]
                if not refusals:
                    self._refused = None
                elif self._refused is None:
                    self._refused = time.monotonic(), refusals[0]

    def _turn(self, name: str) -> VizslaError | None:
        lease, mirror = self._held.get(name), self.mirror(name)
        if lease is None:
            return None
        try:
            if not lease.renew():
                self._lost.add(name)
                self._held.pop(name, None)
                return None
            came = mirror.fetch()
            mirror.send()
        except VizslaError as error:
            return error
        if ".run/stop.json" in came and (load(mirror.folder / "state.json") or {}).get("pid") == os.getpid():
            os.kill(os.getpid(), signal.SIGTERM)  # of a job that runs in this process
        return None

    def _refresh_summary(self, name: str) -> None:
        if not (self.folder / name / "job.json").exists():  # which is never written again
            self.mirror(name).fetch("job.json")
        self.mirror(name).fetch("state.json")

    def _let_all_go(self) -> None:
        self._over.set()
        for name in list(self._held):
            with contextlib.suppress(VizslaError):
                self.let_go(name)


@functools.cache
def opened(address: str, folder: Path) -> BucketHome:
    """The one of this process."""
    return BucketHome(address, folder)
