"""``model/`` as ``model.tar.gz``, the form in which SageMaker hands models on."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vizsla.archives import pack

ARCHIVE, CODE = "model.tar.gz", "code"
_MANY = 20


def holds_anything(folder: Path) -> bool:
    """Whether a file lies anywhere in ``folder``."""
    return any(os.path.isfile(os.path.join(inside, name)) for inside, _, names in os.walk(folder) for name in names)


def inference_code(job: Path) -> Path | None:
    """The code to be packed beside what a job's script saved, as SageMaker's SDK does when it deploys: the job's
    ``code/``, when ``inference.py`` is in it and the script has put none beside its model itself. A folder that is only
    linked holds too much else."""
    code = job / CODE
    own = (code / "inference.py").is_file() and not code.is_symlink() and not (job / "model" / CODE).exists()
    return code if own else None


def pack_model(folder: Path, archive: Path, code: Path | None = None) -> list[str]:
    """Pack what a script saved in ``folder``, with ``code`` as ``code/`` beside it.

    Returns
    -------
    What is not in it, by its path there.

    Raises
    ------
    OSError
        When a file cannot be read or the disk is full; ``archive`` is then as it was.
    """
    return pack(folder, archive, beside={CODE: code} if code else {})


class Packing:
    """:func:`pack_model` in a process of its own, so that whoever waits can mind the clock and end it.

    Only for a process of one thread. ``file`` can be waited for with ``select``: readable once it is done.
    """

    def __init__(
        self, folder: Path, archive: Path, code: Path | None = None, in_child: Callable[[], None] = lambda: None
    ) -> None:
        self.archive = archive
        self.file, into = os.pipe2(os.O_CLOEXEC)
        self._pid = os.fork()
        if self._pid == 0:
            result: dict[str, Any] = {"error": "the process that packed it ended", "left_out": []}
            try:
                signal.set_wakeup_fd(-1)
                in_child()
                result = {"error": None, "left_out": pack_model(folder, archive, code)[:_MANY]}
            except BaseException as error:  # noqa: BLE001 - told to the parent
                result["error"] = (str(error) or type(error).__name__)[:1000]
            finally:
                os.write(into, json.dumps(result).encode())
                os._exit(0)
        os.close(into)

    def result(self) -> tuple[str | None, list[str]]:
        """Wait for the end; what went wrong, or None when the archive is there, and what was left out of it."""
        with open(self.file, "rb") as file:
            text = file.read()
        self._reap()
        document = json.loads(text or '{"error": "the process that packed it was killed", "left_out": []}')
        return document["error"], document["left_out"]

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
