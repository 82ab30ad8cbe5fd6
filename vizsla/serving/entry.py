"""The script with which a model brings its own code, and whether it does."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from vizsla.archives import opened
from vizsla.errors import ModelError, SourceError, UsageError
from vizsla.models.artifact import BACKBONE, CARD, HEAD

CODE = "code"
DEFAULT = f"{CODE}/inference.py"
REQUIREMENTS = f"{CODE}/requirements.txt"
"""Where SageMaker's PyTorch toolkit looks for a model's own code, and for what it needs."""

MAX_ANSWER_BYTES = 25 * 2**20
"""Of one answer of own code: as much as a request's body has by default (``max_payload_mb``)."""

PROGRAM = "SAGEMAKER_PROGRAM"


def program() -> str:
    """What SAGEMAKER_PROGRAM names, as it is written there; ``inference.py`` when it is not set."""
    return os.environ.get(PROGRAM) or PurePosixPath(DEFAULT).name


def entry_script() -> str:
    """The script below a model: ``code/inference.py``, or the one in ``code/`` that SAGEMAKER_PROGRAM names, as a file
    or as a module (``serve.py``, ``serve``, ``dogs.serve``; the toolkit's environment.py).

    The toolkit does not look at SAGEMAKER_SUBMIT_DIRECTORY, which SageMaker's SDK sets to the model's ``code/``.

    Raises
    ------
    UsageError
        When it names no file in ``code/``.
    """
    named = program()
    path = PurePosixPath(named if named.endswith(".py") else named.replace(".", "/") + ".py")
    if path.is_absolute() or ".." in path.parts or not named.isprintable() or path.stem in ("", ".py"):
        raise UsageError(
            f"{named[:200]!r} cannot name the script of a model's own code.",
            where=PROGRAM,
            allowed="a file in the model's code/, such as inference.py",
        )
    return f"{CODE}/{path}"


def has_code(path: Path) -> bool:
    """Whether a model directory or archive brings its own code."""
    if path.is_dir():
        return model_and_code(path) is not None
    if not path.is_file():
        return False
    scripts = _scripts()
    seen: set[str] = set()
    try:
        with opened(path) as (members, _):
            for member in members:
                name = member.name.removeprefix("./")
                if name in scripts:
                    return True
                # Vizsla's own archives (their times are 0) put code before the backbone: no need to unpack that.
                if name == BACKBONE and member.mtime == 0 and seen >= {CARD, HEAD}:
                    return False
                seen.add(name)
    except SourceError as error:
        allowed = "a model directory, a job directory, or a model.tar.gz"
        raise ModelError(error.what, where=path, allowed=allowed, do=error.do) from error
    return False


def model_and_code(path: Path) -> tuple[Path, Path] | None:
    """The folders with the model's files and with its code, where there is code: ``code/`` in a model's folder, which
    may be the ``model`` of a job, or beside it, where a job keeps what it has run."""
    scripts = _scripts()

    def brings(folder: Path) -> bool:
        return any((folder / script).is_file() for script in scripts)

    for folder in (path, path / "model"):
        if brings(folder) and not _is_job(folder):
            return folder, folder / CODE
    job = path.parent if is_of_job(path) else path
    if _is_job(job) and brings(job):
        return job / "model", job / CODE
    return None


def is_of_job(path: Path) -> bool:
    """Whether that is the ``model`` of a job, of whatever kind."""
    return path.name == "model" and _is_job(path.parent)


def _is_job(folder: Path) -> bool:
    return (folder / "job.json").is_file()


def _scripts() -> set[str]:
    """What makes a model one with code. Who names another script is told when a model has only the usual one, or a file
    of that name which is not Python."""
    return {entry_script(), DEFAULT, f"{CODE}/{program()}"}
