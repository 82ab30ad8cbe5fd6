"""Models with code, ready to run: each has a temporary folder that is locked while its server lives."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from vizsla.archives import Bounds, unpack
from vizsla.errors import ModelError, SourceError
from vizsla.jobs import overlay
from vizsla.serving.entry import CODE, model_and_code

_PREFIX = "vizsla-code-"
_BOUNDS = Bounds(bytes=20_000_000_000, files=20_000)


class CodeFolder:
    """A model with code as a process of its own wants it, in a temporary folder.

    ``model`` has the model's files with ``code/`` among them, as SageMaker's SDK packs it: an archive is unpacked
    (links, devices and paths that leave it are refused, PEP 706), a job's model and code are linked together, and
    another folder stays where it is. ``environment`` is what the code may install packages into.

    ``check`` is called while an archive is read, and raises to give that up.

    Raises
    ------
    ModelError
        When an archive is damaged, unpacks to too much, or holds what is refused.
    """

    def __init__(self, path: Path, check: Callable[[], None]) -> None:
        self._folder, self._lock = _locked_folder()
        self.model, self.environment = self._folder / "model", self._folder / "environment"
        try:
            own = model_and_code(path) if path.is_dir() else None
            if own is None:
                unpack(path, self.model, _BOUNDS, links=True, on_progress=lambda done, count: check())
            elif own[1] == own[0] / CODE:
                self.model = own[0].absolute()
            else:
                _link(*own, self.model)
            overlay.make(self.environment)
        except BaseException as error:
            self.remove()
            if isinstance(error, SourceError):
                raise ModelError(error.what, where=path, allowed=error.allowed, do=error.do) from error
            raise

    def remove(self) -> None:
        """Remove the folder; may take long."""
        shutil.rmtree(self._folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.close(self._lock)


def _link(model: Path, code: Path, to: Path) -> None:
    """Folders as they are, so that ``rglob`` goes into them, with links to the files."""
    for folder, folders, files in os.walk(model):
        place = to / Path(folder).relative_to(model)
        place.mkdir()
        if place == to and CODE in folders:  # it is replaced, as SageMaker's SDK does
            folders.remove(CODE)
        linked = [name for name in folders if Path(folder, name).is_symlink()]
        for name in (*files, *linked):
            (place / name).symlink_to(Path(folder, name).absolute())
    (to / CODE).symlink_to(code.absolute(), target_is_directory=True)


def remove_abandoned() -> None:
    """Remove what servers have left that were killed. May take long."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError), _opened(folder) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while its server lives
            shutil.rmtree(folder, ignore_errors=True)


def _locked_folder() -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        with contextlib.suppress(FileNotFoundError):  # taken for abandoned before it was locked
            lock = os.open(folder, os.O_RDONLY)
            with contextlib.suppress(OSError):  # where nothing can be locked, nothing is taken for abandoned
                fcntl.flock(lock, fcntl.LOCK_EX)
            if folder.exists():
                return folder, lock
            os.close(lock)


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield file
    finally:
        os.close(file)
