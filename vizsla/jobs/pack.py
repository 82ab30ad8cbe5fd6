"""``model/`` as ``model.tar.gz``, the form in which SageMaker hands models on."""

from __future__ import annotations

import json
import os
import signal
import tarfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

ARCHIVE, CODE = "model.tar.gz", "code"
_MANY = 20
_GZIP_LEVEL = 1  # weights hardly shrink: the fastest level


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
    """Write everything in ``folder`` to ``archive``, and ``code`` as ``code/``; links are followed, so that the archive
    stands alone.

    Returns
    -------
    What is not in it, by its path there: links to nothing, links round in circles, sockets, pipes.

    Raises
    ------
    OSError
        When a file cannot be read or the disk is full; ``archive`` is then as it was.
    """
    temporary = archive.with_name(f".{archive.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        archive.parent.mkdir(parents=True, exist_ok=True)  # a script may have cleared the folder of its results
        with tarfile.open(temporary, "w:gz", compresslevel=_GZIP_LEVEL, dereference=True) as tar:
            left_out = _add(tar, str(folder), "", ())
            if code is not None:
                tar.add(code, CODE, recursive=False)
                left_out += _add(tar, str(code), f"{CODE}/", ())
        os.replace(temporary, archive)
    finally:
        temporary.unlink(missing_ok=True)
    return left_out


def _add(tar: tarfile.TarFile, folder: str, inside: str, through: tuple[Path, ...]) -> list[str]:
    """Add what is in ``folder``; ``through`` are the folders whose links led here, by their real paths."""
    left_out = []
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        is_folder, trail = os.path.isdir(path), through
        if is_folder and os.path.islink(path):
            target, trail = Path(os.path.realpath(path)), (*through, Path(os.path.realpath(folder)))
            around = any(above.is_relative_to(target) for above in trail)
        else:
            around = False
        if around or not (is_folder or os.path.isfile(path)):
            left_out.append(inside + name)
            continue
        tar.add(path, inside + name, recursive=False)
        if is_folder:
            left_out += _add(tar, path, f"{inside}{name}/", trail)
    return left_out


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
            told = file.read()
        self._reap()
        found = json.loads(told or '{"error": "the process that packed it was killed", "left_out": []}')
        return found["error"], found["left_out"]

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
