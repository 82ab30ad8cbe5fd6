"""pip for somebody's code, and what it says when it fails."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from itertools import dropwhile, takewhile
from pathlib import Path
from typing import NoReturn

from vizsla.errors import JobError

_LAST_LINES = 12
_BUILD, _END_OF_BUILD = re.compile(r".*\[\d+ lines of output\]$"), "[end of output]"
_BUILD_ERROR = re.compile(r"error: |[\w.]*(?:Error|Exception)\b")


def install(python: Path, words: Sequence[str], *, what: Path, do: str) -> None:
    """Run ``pip install`` in the environment of a Python program. What pip says goes to stderr.

    Parameters
    ----------
    words:
        What follows ``pip install``.
    what:
        The file that asks for it, for the words of the error.

    Raises
    ------
    JobError
        When pip cannot install them, with its last lines.
    """
    lines: list[str] = []
    with subprocess.Popen(
        [str(python), "-P", "-m", "pip", "install", "--disable-pip-version-check", "--no-input", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},  # the user's queue.py
    ) as pip:
        assert pip.stdout is not None
        for line in pip.stdout:  # as it comes: what is large takes minutes
            sys.stderr.write(line)
            sys.stderr.flush()
            lines.append(line.rstrip("\n"))
    if pip.returncode:
        cause = _cause(lines) or f"pip ended with {pip.returncode} and said nothing"
        raise JobError(
            f"{what.name} could not be installed: {cause}\n" + "\n".join(lines[-_LAST_LINES:]), where=what, do=do
        )


def _cause(output: Sequence[str]) -> str:
    """What pip says was wrong, and what the build of a package said, which pip quotes before it sums up."""
    lines = [line.strip() for line in output if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")][-1:]
    built = list(takewhile(lambda line: line != _END_OF_BUILD, dropwhile(lambda line: not _BUILD.match(line), lines)))
    errors += [line for line in built if _BUILD_ERROR.match(line)][-1:] or built[1:][-1:]
    return ": ".join(errors) or "".join(lines[-1:])


def end_with(error: JobError) -> NoReturn:
    """End the process of a job that cannot begin, and leave the reason where it is looked for."""
    print(f"vizsla: {error}", file=sys.stderr)
    if job := os.environ.get("VIZSLA_JOB_DIR"):
        Path(job, "output", "failure").write_text(str(error))
    sys.exit(1)
