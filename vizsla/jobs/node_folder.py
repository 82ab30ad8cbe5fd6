"""A job of a bucket on the node where it runs: its folder there, and a thread that sends what it writes."""

from __future__ import annotations

import contextlib
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from vizsla.errors import JobError, SourceError, StorageError
from vizsla.files import storage, write_bytes
from vizsla.jobs.directory import FOLDERS
from vizsla.jobs.mirror import STOP, TURN_SECONDS, Mirror

_PATIENCE = 600.0
"""How long the end of a job waits for a bucket that refuses: for credentials that somebody renews."""
_PAUSE = 5.0


class NodeFolder:
    """The folder of one attempt.

    Parameters
    ----------
    address:
        ``s3://bucket/prefix/JOB``.
    folder:
        Where it is to be. What another attempt could not send from there is sent first.
    """

    def __init__(self, address: str, folder: Path, *, patience: float = _PATIENCE) -> None:
        self.folder = folder
        self._patience = patience
        self._mirror = Mirror(address, folder, whole=True)
        self._over = threading.Event()

    def begin(self) -> None:
        """Bring all of the job here.

        Raises
        ------
        SourceError
            When the bucket does not answer as it should.
        StorageError
            When the disk is full.
        """
        if self.folder.is_dir():
            self._mirror.fetch("")
            self._mirror.send(last=True)
            shutil.rmtree(self.folder)
        with storage(self.folder):
            for name in FOLDERS:
                (self.folder / name).mkdir(parents=True)
        self._mirror.fetch("")

    @contextlib.contextmanager
    def sending(self) -> Iterator[None]:
        """Send what the block writes, every two seconds, and bring a request to stop here; at its end, all of it.

        Raises
        ------
        JobError
            When the bucket refuses for ten minutes; the folder is kept then.
        """
        thread = threading.Thread(target=self._send, daemon=True, name="vizsla-send")
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()
            self._end()

    def _send(self) -> None:
        while not self._over.wait(TURN_SECONDS):
            with contextlib.suppress(SourceError, StorageError):  # the next turn may be let in; the last one will say
                self._mirror.send()
                request, stop = self._mirror.read(STOP), self.folder / STOP
                if request is not None and not (stop.exists() and stop.read_bytes() == request):
                    write_bytes(stop, request)

    def _end(self) -> None:
        until = time.monotonic() + self._patience
        while True:
            try:
                self._mirror.send(last=True)
                shutil.rmtree(self.folder, ignore_errors=True)
                return
            except SourceError as error:
                if time.monotonic() >= until:
                    raise JobError(
                        f"What the job wrote could not be sent to {self._mirror.address}. {error.what}",
                        where=f"{self.folder} on node {socket.gethostname()}, where it is kept",
                        do="renew the credentials of the node; a job that is resumed on it sends this first",
                    ) from error
                time.sleep(min(_PAUSE, self._patience))
