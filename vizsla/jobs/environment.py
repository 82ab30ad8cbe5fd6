"""``requirements.txt`` of somebody's code: installed once for its content, into an environment of its own.

Put before a job's command (:func:`vizsla.jobs.script.before`), it makes the environment, or finds it, lays the job's
own (:mod:`vizsla.jobs.overlay`) over it and becomes the command. The environment sees all packages of the one that runs
Vizsla, so that only what is missing is installed, and nothing is ever installed into that one; nor is, by what the job
itself installs, into this one, which others share.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from vizsla.errors import JobError
from vizsla.files import write_json
from vizsla.jobs import overlay
from vizsla.jobs.installation import end_with, install
from vizsla.profiling.startup import preparing
from vizsla.settings import settings

_READY = "ready"
_INCLUDE = re.compile(r"(?:-r|-c|--requirement|--constraint)[ =]?\s*(\S+)")
_PLACE = re.compile(r"^(?:(?:-e|--editable)[ =]\s*|[\w.-]+(?:\[[^]]*\])?\s*@\s*)")


def environment(requirements: Path, cache: Path) -> Path:
    """The folder of the environment for these requirements. What pip says goes to stderr.

    Raises
    ------
    JobError
        When pip cannot install them, with its last lines.
    """
    content = requirements.read_bytes()
    files = [(str(path), what) for path, what in _named(requirements, set())]
    base = overlay.below()
    packages = [sorted(p.name for p in Path(path).glob("*.dist-info")) for path in base]  # what it was made beside
    key_text = json.dumps([sys.version, sys.prefix, base, packages, files]).encode()
    key = hashlib.sha256(key_text + b"\0" + content).hexdigest()[:32]
    folder = cache / "environments" / key
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two jobs with the same requirements: the second waits
        if (folder / _READY).exists():
            return folder
        program = overlay.make(folder)  # in place of one that was killed
        do = "correct it, or install the packages yourself and leave it out"
        install(program, ["-r", str(requirements)], what=requirements, do=do)
        write_json(folder / _READY, {"requirements": content.decode(errors="replace")})
    return folder


def _named(requirements: Path, seen: set[Path]) -> Iterator[tuple[Path, str]]:
    """The files that a requirements file names, and what tells one content of them from another.

    Those included by ``-r`` and ``-c`` by their bytes, and what they name in turn; a package on this machine by the
    names, sizes and times of its files.
    """
    for line in requirements.read_text(errors="replace").splitlines():
        line = line.split(" #")[0].split(";")[0].strip()
        if not line or line.startswith("#"):
            continue
        included = _INCLUDE.match(line)
        text = included[1] if included else _PLACE.sub("", line)
        if text.startswith("-") or ("://" in text and not text.startswith("file://")):
            continue
        place = requirements.parent / text.removeprefix("file://").partition("[")[0].strip()
        if place in seen:
            continue
        seen.add(place)
        if included and place.is_file():
            yield place, hashlib.sha256(place.read_bytes()).hexdigest()
            yield from _named(place, seen)
        elif place.exists():
            files = [place] if place.is_file() else sorted(p for p in place.rglob("*") if p.is_file())
            stats = [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in files if "__pycache__" not in p.parts]
            yield place, hashlib.sha256(json.dumps(stats).encode()).hexdigest()


def main(arguments: list[str]) -> NoReturn:
    """Make the environment, lay the job's own over it, and become the command."""
    own, requirements, _, *command = arguments
    try:
        with preparing("requirements"):
            overlay.lay_over(Path(own), environment(Path(requirements).absolute(), settings().cache))
    except JobError as error:
        end_with(error)
    os.execvp(command[0], command)
