"""pip for somebody's code, and what it says when it fails."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from vizsla.errors import JobError

_LAST_LINES = 12


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
    done = subprocess.run(
        [str(python), "-P", "-m", "pip", "install", "--disable-pip-version-check", "--no-input", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},  # the user's queue.py
    )
    sys.stderr.write(done.stdout)
    sys.stderr.flush()
    if done.returncode:
        said = done.stdout.splitlines()
        lines_said = [line.strip() for line in reversed(said) if line.strip()]
        errors = [line.removeprefix("ERROR: ") for line in lines_said if line.startswith("ERROR: ")]
        cause = [*errors, *lines_said, f"pip ended with {done.returncode} and said nothing"][0]
        raise JobError(
            f"{what.name} could not be installed: {cause}\n" + "\n".join(said[-_LAST_LINES:]), where=what, do=do
        )


def end_with(error: JobError) -> NoReturn:
    """End the process of a job that cannot begin, and leave the reason where it is looked for."""
    print(f"vizsla: {error}", file=sys.stderr)
    if job := os.environ.get("VIZSLA_JOB_DIR"):
        Path(job, "output", "failure").write_text(str(error))
    sys.exit(1)
