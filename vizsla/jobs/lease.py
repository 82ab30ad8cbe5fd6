"""Who controls a job that is in a bucket: one object, written under conditions, and anew every few seconds.

Whoever stops writing it, because the process or its machine is gone, has lost it after half a minute. The clocks of
machines have to agree within seconds.
"""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from vizsla import s3_session
from vizsla.jobs.mirror import LEASE, Mirror
from vizsla.jobs.processes import Process, boot_id
from vizsla.optional import require

LEASE_SECONDS = 30.0
_RENEW_SECONDS = 8.0


@dataclass(frozen=True)
class Holder:
    """Who controls a job, in words, and when that was last written."""

    words: str
    written: datetime | None = None


class Lease:
    """The right to control one job, of one holder at a time."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self._etag: str | None = None
        self._renewed = float("-inf")

    def take(self) -> Holder | None:
        """Take it, where nobody holds it, or who did has died.

        Returns
        -------
        Who holds it, where somebody does.

        Raises
        ------
        SourceError
            When the bucket does not answer as it should.
        """
        if self._write("create"):
            return None
        with self._mirror.in_words():
            try:
                meta = s3_session.obstore().head(self._mirror.bucket.store, self._mirror.key(LEASE))
            except FileNotFoundError:
                return None if self._write("create") else Holder("another process")
        about = json.loads(self._mirror.read(LEASE) or b"null")
        if about is None:
            return Holder("another process", meta["last_modified"])
        silent = (datetime.now(UTC) - meta["last_modified"]).total_seconds() > LEASE_SECONDS
        dead = about["boot"] == boot_id() and not Process(about["pid"], about["started"]).alive
        if (silent or dead) and self._write({"e_tag": meta["e_tag"]}):
            return None
        return Holder(f"process {about['pid']} on {about['host']}", meta["last_modified"])

    def renew(self) -> bool:
        """Write it anew, when it is time to; whether it is still held."""
        if self._etag is None:
            return False
        if time.monotonic() - self._renewed < _RENEW_SECONDS:
            return True
        if not self._write({"e_tag": self._etag}):
            self._etag = None
        return self._etag is not None

    def release(self) -> None:
        """Let another take it at once."""
        if self._etag is None:
            return
        self._etag = None
        with self._mirror.in_words():
            try:
                s3_session.obstore().delete(self._mirror.bucket.store, self._mirror.key(LEASE))
            except FileNotFoundError:
                return

    def _write(self, mode: Any) -> bool:
        """Whether the condition held."""
        me = asdict(Process.of(os.getpid())) | {"host": socket.gethostname(), "boot": boot_id()}
        content = json.dumps(me | {"turn": uuid.uuid4().hex}).encode()  # each has an ETag of its own
        exceptions = require("obstore.exceptions", extra="s3", feature="Jobs in a bucket")
        refused = exceptions.AlreadyExistsError, exceptions.PreconditionError, FileExistsError, FileNotFoundError
        with self._mirror.in_words():
            try:
                store = self._mirror.bucket.store
                answer = s3_session.obstore().put(store, self._mirror.key(LEASE), content, mode=mode)
            except refused as error:
                if isinstance(error, FileNotFoundError) and mode == "create":
                    raise  # no such bucket
                return False
        self._etag, self._renewed = answer["e_tag"], time.monotonic()
        return True


def claim(mirror: Mirror, request: bytes) -> bool:
    """Make the object of a new job's request; whether there was none of that name.

    Raises
    ------
    SourceError
        When the bucket does not answer as it should.
    """
    exceptions = require("obstore.exceptions", extra="s3", feature="Jobs in a bucket")
    with mirror.in_words():
        try:
            s3_session.obstore().put(mirror.bucket.store, mirror.key("job.json"), request, mode="create")
        except (exceptions.AlreadyExistsError, exceptions.PreconditionError, FileExistsError):
            return False
    return True
