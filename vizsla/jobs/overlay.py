"""An environment of its own for a process that runs somebody's code, so that what that installs changes no other.

It is a virtual environment that sees everything below it, and is empty at first. pip, however it is called
(``pip.main`` in the process, ``python -m pip``, ``pip``), installs into it, and leaves alone what lies outside; so does
uv, which finds it by VIRTUAL_ENV. Making one takes milliseconds and no network.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Iterable
from pathlib import Path

from vizsla.settings import settings

_BELOW = "vizsla_base.pth"
_PROGRAMS, _REQUIRED = "programs", "required"
"""Beside ``bin/``: links to launchers of what lies below, and of what the code requires."""
_LAUNCHER = """#!/bin/sh
# The program of this name, in the environment that this folder is linked into.
environment=${{0%/*}}
exec "${{environment%/*}}/bin/python" {programs}/"${{0##*/}}" "$@"
"""


class _Bare(venv.EnvBuilder):
    """Without the scripts that a shell activates it with."""

    def setup_scripts(self, context: object) -> None:
        """Nothing."""


def make(folder: Path) -> Path:
    """Make an environment over the one that runs this; what was in ``folder`` goes.

    Returns
    -------
    Its Python program.

    Raises
    ------
    OSError
        When the file system refuses.
    """
    shutil.rmtree(folder, ignore_errors=True)
    _Bare(symlinks=True).create(folder)
    _see(folder, below())
    _launch(folder / _PROGRAMS, Path(sysconfig.get_path("scripts")))
    return program(folder)


def lay_over(folder: Path, environment: Path) -> None:
    """Let the environment in ``folder`` lie over another one, which was made here too."""
    _see(folder, [str(_site_packages(environment))])
    _launch(folder / _REQUIRED, environment / "bin")


def program(folder: Path) -> Path:
    """The Python program of the environment in ``folder``."""
    return folder / "bin" / "python"


def variables(folder: Path, path: str) -> dict[str, str]:
    """What a process in the environment finds programs by; ``path`` is what PATH was."""
    first = [str(folder / name) for name in ("bin", _REQUIRED, _PROGRAMS)]
    return {"PATH": os.pathsep.join([*first, path]), "VIRTUAL_ENV": str(folder)}


def below() -> list[str]:
    """Where the packages are that this process sees."""
    return [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]


def _see(folder: Path, places: Iterable[str]) -> None:
    lines = "".join(f"import site; site.addsitedir({place!r})\n" for place in places)  # with their .pth files
    (_site_packages(folder) / _BELOW).write_text(lines)


def _site_packages(folder: Path) -> Path:
    return folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def _launch(link: Path, programs: Path) -> None:
    """Give the environment the Python programs of another (pip, torchrun), whose first lines name that one's Python.
    Their launchers are made once for all; without a cache, for each."""
    key = hashlib.sha256(f"{programs} {programs.stat().st_mtime_ns}".encode()).hexdigest()[:32]
    shared = settings().cache.absolute() / "environments" / f"programs-{key}"
    if link.is_symlink():
        link.unlink()
    shutil.rmtree(link, ignore_errors=True)
    try:
        if not shared.is_dir():
            shared.parent.mkdir(parents=True, exist_ok=True)
            staging = Path(tempfile.mkdtemp(dir=shared.parent, prefix=".programs-"))
            _write_launchers(staging, programs)
            try:
                staging.rename(shared)
            except OSError:  # another process was quicker
                shutil.rmtree(staging)
        link.symlink_to(shared, target_is_directory=True)
    except OSError:
        link.mkdir()
        _write_launchers(link, programs)


def _write_launchers(folder: Path, programs: Path) -> None:
    launcher = folder / ".launcher"
    launcher.write_text(_LAUNCHER.format(programs=shlex.quote(str(programs))))
    launcher.chmod(0o755)
    for entry in os.scandir(programs):
        if entry.is_file() and _is_python(entry.path):
            (folder / entry.name).symlink_to(launcher.name)


def _is_python(path: str) -> bool:
    """By its first lines: the second has it where the first would be too long for the system (as pip writes it)."""
    try:
        with open(path, "rb") as file:
            first = file.readline(512)
            return first.startswith(b"#!") and b"python" in first + file.readline(512)
    except OSError:
        return False
