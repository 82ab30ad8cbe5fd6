"""``model/`` as ``model.tar.gz``, the form in which SageMaker hands models on."""

from __future__ import annotations

import os
import signal
import tarfile
import uuid
from collections.abc import Callable
from pathlib import Path

ARCHIVE = "model.tar.gz"
_GZIP_LEVEL = 1  # weights hardly shrink: the fastest level


def holds_anything(folder: Path) -> bool:
    """Whether a file lies anywhere in ``folder``."""
    return any(files for _, _, files in os.walk(folder))


def pack_model(folder: Path, archive: Path) -> None:
    """Write everything in ``folder`` to ``archive``; links are followed, so that the archive stands alone.

    Raises
    ------
    OSError
        When a file cannot be read or the disk is full; ``archive`` is then as it was.
    """
    temporary = archive.with_name(f".{archive.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        archive.parent.mkdir(parents=True, exist_ok=True)  # a script may have cleared the folder of its results
        with tarfile.open(temporary, "w:gz", compresslevel=_GZIP_LEVEL, dereference=True) as tar:
            for name in sorted(os.listdir(folder)):
                tar.add(folder / name, arcname=name)
        os.replace(temporary, archive)
    finally:
        temporary.unlink(missing_ok=True)


class Packing:
    """:func:`pack_model` in a process of its own, so that whoever waits can mind the clock and end it.

    Only for a process of one thread. ``file`` can be waited for with ``select``: readable once it is done.
    """

    def __init__(self, folder: Path, archive: Path, in_child: Callable[[], None] = lambda: None) -> None:
        self.archive = archive
        self.file, into = os.pipe2(os.O_CLOEXEC)
        self._pid = os.fork()
        if self._pid == 0:
            words = b"the process that packed it ended"
            try:
                signal.set_wakeup_fd(-1)
                in_child()
                pack_model(folder, archive)
                words = b""
            except BaseException as error:  # noqa: BLE001 - told to the parent
                words = (str(error) or type(error).__name__).encode(errors="replace")
            finally:
                os.write(into, words[:4000] or b"\0")
                os._exit(0)
        os.close(into)

    def error(self) -> str | None:
        """Wait for the end; what went wrong, or None when the archive is there."""
        words = os.read(self.file, 4096)
        os.close(self.file)
        self._reap()
        return None if words == b"\0" else words.decode(errors="replace") or "the process that packed it was killed"

    def end(self) -> None:
        """Kill it; what was written is removed."""
        os.kill(self._pid, signal.SIGKILL)
        os.close(self.file)
        self._reap()
        for half in self.archive.parent.glob(f".{self.archive.name}.*.tmp"):
            half.unlink(missing_ok=True)

    def _reap(self) -> None:
        try:
            os.waitpid(self._pid, 0)
        except ChildProcessError:
            return
