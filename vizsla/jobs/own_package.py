"""``setup.py`` of somebody's code: installed into the job's own environment, as SageMaker's toolkit does.

Put before a job's command (:func:`vizsla.jobs.script.before`), it runs ``pip install .`` in the folder of the code and
becomes the command. The toolkit does that for a ``setup.py`` alone (its _entry_point_type.py); of a ``pyproject.toml``
that describes a package it is said how to have it installed.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import sys
import tomllib
from pathlib import Path
from typing import Any, NoReturn

from vizsla.errors import JobError
from vizsla.jobs.installation import end_with, install

SETUP, PROJECT = "setup.py", "pyproject.toml"
_DO = (
    "correct it, or take it out of the folder where the script imports nothing of it; without a network, install what "
    "it asks for beforehand, beside Vizsla"
)
_NAME = re.compile(r"[\w.-]+")


def hint(code: Path) -> str | None:
    """Words on a package in the folder that is not installed; None where there is none."""
    project = _project(code)
    if (code / SETUP).exists() or "build-system" not in project or "project" not in project or _asks_for_itself(code):
        return None
    return (
        f"[vizsla: the package of {PROJECT} is not installed, as SageMaker's toolkit installs that of a {SETUP} alone; "
        "a line with a dot in requirements.txt has it installed]"
    )


def _asks_for_itself(code: Path) -> bool:
    try:
        lines = (code / "requirements.txt").read_text("utf-8", "replace").splitlines()
    except OSError:
        return False
    return any(line.split("#")[0].split()[-1:] == ["."] for line in lines)


def _project(code: Path) -> dict[str, Any]:
    try:
        return tomllib.loads((code / PROJECT).read_text("utf-8"))
    except (OSError, ValueError):  # pip says what is wrong with it
        return {}


def _build_options(code: Path) -> list[str]:
    """Without a network a build has what is installed; with one, pip fetches what is not."""
    wanted = _project(code).get("build-system", {}).get("requires", ["setuptools"])
    names = {match[0] for text in wanted if (match := _NAME.match(str(text)))} - {"wheel"}  # setuptools has its own
    return ["--no-build-isolation"] if all(map(_is_installed, names)) else []


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def main(arguments: list[str]) -> NoReturn:
    """Install the package that the present folder holds, or say that it is not, and become the command."""
    python, _, *command = arguments
    code = Path.cwd()
    if words := hint(code):
        print(words, file=sys.stderr, flush=True)
    if (code / SETUP).exists():
        try:
            install(Path(python), [*_build_options(code), "."], what=code / SETUP, do=_DO)
        except JobError as error:
            end_with(error)
    os.execvp(command[0], command)
