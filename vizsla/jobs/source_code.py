"""A user's code: the folder or archive that it comes in, and the copy that a job keeps of it."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from vizsla.archives import Bounds, unpack
from vizsla.cache import release
from vizsla.errors import JobError, SourceError
from vizsla.jobs.spec import local_path
from vizsla.parameters import spelled
from vizsla.settings import settings

_NOT_CODE = ("__pycache__", ".git", ".ipynb_checkpoints", "node_modules", "mlruns")
_MARKS = ("pyvenv.cfg", "conda-meta", ".run/lock", ".tracking")
"""What an environment, a job, or a folder of jobs has in it: known by that and not by a name that packages may have."""
_COPY_BYTES = 50 << 20
_BOUNDS = Bounds(bytes=2_200_000_000, files=50_000)
_LEAVE_OUT = "leave data, environments and caches out of it; data belong in a channel"


@contextlib.contextmanager
def opened(address: str) -> Iterator[Path]:
    """The folder of the code at an address: a folder, or ``sourcedir.tar.gz`` as SageMaker's SDK uploads it, unpacked.

    Raises
    ------
    JobError
        When it is neither, or the archive is damaged.
    SourceError, MissingExtraError
        When it lies in a bucket and cannot be fetched.
    """
    path = local_path(address)
    if path is None:
        from vizsla.data import s3  # with all that reads data: only where it is wanted

        path = s3.fetch(address, settings().cache, on_progress=lambda done, total: None)
        release(path.parent)  # it is unpacked at once
    if not path.is_file():
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="vizsla-code-") as folder:
        try:
            unpack(path, Path(folder), _BOUNDS, links=True)
        except SourceError as error:
            raise JobError(
                f"The archive with the script's code cannot be unpacked. {error.what}",
                where=address,
                allowed=error.allowed or "a .tar.gz with the script at its top",
                do=_LEAVE_OUT if error.allowed else error.do,
            ) from error
        yield Path(folder)


def check_script(folder: Path, program: str) -> None:
    """That there is a script to run.

    Raises
    ------
    JobError
        When the folder or the script does not exist, or cannot be read.
    """
    if not folder.is_dir():
        raise JobError(
            f"There is no folder {folder.name!r} with the script's code.",
            where=folder,
            do=f"correct {spelled('source_dir')}",
        )
    with _reading():
        is_there = (folder / program).is_file()
        there = sorted(p.name for p in folder.iterdir() if p.suffix in (".py", ".sh"))
    if not is_there:
        raise JobError(
            f"There is no script {program!r}.",
            where=folder / program,
            allowed=f"a .py or .sh file in {folder}: {', '.join(there[:8]) or 'there is none'}",
            do=f"correct {spelled('script')}; it is looked for in {spelled('source_dir')}, where that is given",
        )
    if Path(program).suffix not in (".py", ".sh"):
        raise JobError(f"{program!r} is not a script that can be run.", where=folder, allowed="a .py or a .sh file")


def copy_code(folder: Path, to: Path, *, may_link: bool = True) -> None:
    """Keep the code that runs with the job; a folder with much more than code in it is linked instead, if it may be.

    ``to`` lies in the job's directory; that, and the folder of the jobs, may lie within ``folder``.

    Raises
    ------
    JobError
        When something in ``folder`` cannot be read.
    """
    jobs = {parent.resolve() for parent in to.parents[:2]}

    def is_code(path: Path) -> bool:
        if path.name in _NOT_CODE or path.resolve() in jobs or any((path / mark).exists() for mark in _MARKS):
            return False
        mode = os.lstat(path).st_mode
        return stat.S_ISDIR(mode) or stat.S_ISREG(mode) or stat.S_ISLNK(mode)  # a pipe or socket would be waited for

    total = 0
    for root, folders, files in os.walk(folder):
        with _reading():
            folders[:] = [name for name in folders if is_code(Path(root, name))]
        total += sum(os.lstat(os.path.join(root, name)).st_size for name in files)
        if total > _COPY_BYTES and may_link:
            to.symlink_to(folder.absolute(), target_is_directory=True)
            return

    def left_out(inside: str, names: list[str]) -> set[str]:
        return {name for name in names if not is_code(Path(inside, name))}

    with _reading():
        shutil.copytree(folder, to, ignore=left_out, symlinks=True)
    _keep_links(folder, to)


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    """Say which file it is, where one cannot be read; else it is the copy that cannot be written."""
    try:
        yield
    except OSError as error:
        failed = [str(of[0]) for of in error.args[0]] if isinstance(error, shutil.Error) else [str(error.filename)]
        for path in failed:
            place = path if os.path.lexists(path) else os.path.dirname(path)  # nothing is seen in a locked folder
            wanted = os.R_OK | (os.X_OK if os.path.isdir(place) else 0)
            if os.path.lexists(place) and not os.access(place, wanted, effective_ids=True):
                raise JobError(
                    "The script's code cannot be read: Permission denied.",
                    where=place,
                    do="give yourself the right to read it (chmod u+rX), or take it out of the folder",
                ) from error
        raise


def _keep_links(folder: Path, copy: Path) -> None:
    """Let relative links that lead out of the folder (``../photos``) mean the same from its copy."""
    for inside, folders, files in os.walk(copy):
        for link in (Path(inside, name) for name in (*folders, *files)):
            if link.is_symlink() and not os.path.isabs(os.readlink(link)):
                meant = Path(os.path.abspath(folder / link.relative_to(copy).parent / os.readlink(link)))
                if not meant.is_relative_to(folder.absolute()):
                    link.unlink()
                    link.symlink_to(meant)


def names_opt_ml(code: Path) -> bool:
    """Whether a script in the folder has the path ``/opt/ml`` in it."""
    scripts = [path for pattern in ("*.py", "*/*.py", "*.sh") for path in code.glob(pattern)]
    return any(b"/opt/ml" in path.read_bytes() for path in scripts if path.is_file() and os.access(path, os.R_OK))
