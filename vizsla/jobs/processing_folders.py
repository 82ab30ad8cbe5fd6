"""The folders of a processing job: each input and output has a place of its own below ``/opt/ml/processing``.

Put before a job's command (:func:`vizsla.jobs.script.before`), it makes those of the job that ``VIZSLA_JOB_DIR`` names
and becomes the command. An input's folders are real, its files links to the channel's: what a script unpacks beside
them stays in the job. Developer guide, "How Amazon SageMaker Processing Configures Input and Output".
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from vizsla.errors import JobError
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.isolate import OPT_ML

_PROCESSING = OPT_ML / "processing"


@dataclass(frozen=True)
class Input:
    """Data that a job finds at ``place`` in its directory; ``name`` is their channel."""

    name: str
    address: str
    place: Path
    data_type: str
    mode: str | None


@dataclass(frozen=True)
class Output:
    """What a job leaves at ``place`` in its directory, and the address where it belongs."""

    place: Path
    address: str


def inputs(document: dict[str, Any]) -> list[Input]:
    """What a CreateProcessingJob gives its command.

    Raises
    ------
    JobError
        For what is no folder or file of a bucket, and for a place where none can be.
    """
    found = []
    for entry in document.get("ProcessingInputs") or []:
        name = entry["InputName"]
        where = f"ProcessingInputs, {name!r}"
        source = entry.get("S3Input")
        if not source:
            raise JobError("An input is a folder or file of a bucket.", where=where, allowed="S3Input")
        found.append(
            Input(
                name,
                source["S3Uri"],
                _inside(source.get("LocalPath"), where),
                source.get("S3DataType") or "S3Prefix",
                source.get("S3InputMode"),
            )
        )
    return found


def outputs(document: dict[str, Any]) -> list[Output]:
    """What a CreateProcessingJob expects of its command.

    Raises
    ------
    JobError
        As :func:`inputs`.
    """
    found = []
    for entry in (document.get("ProcessingOutputConfig") or {}).get("Outputs") or []:
        where = f"ProcessingOutputConfig, {entry['OutputName']!r}"
        target = entry.get("S3Output")
        if not target:
            raise JobError("An output goes to a bucket.", where=where, allowed="S3Output")
        found.append(Output(_inside(target.get("LocalPath"), where), target["S3Uri"]))
    return found


def _inside(path: str | None, where: str) -> Path:
    """Where that is in the job's directory."""
    place = Path(path or "")
    if not place.is_relative_to(_PROCESSING) or ".." in place.parts:
        raise JobError(
            f"A processing job has no folder {path!r}.",
            where=f"{where}, LocalPath",
            allowed=f"paths below {_PROCESSING}",
        )
    return place.relative_to(OPT_ML)


def make(job: JobDirectory) -> None:
    """Make the folders, and the file that tells a script of its job; what is there already stays."""
    for one in inputs(job.document):
        _link_files(job.path / "input" / "data" / one.name, job.path / one.place)
    for output in outputs(job.document):
        (job.path / output.place).mkdir(parents=True, exist_ok=True)
    (job.path / "config").mkdir(exist_ok=True)
    (job.path / "config" / "processingjobconfig.json").write_text(json.dumps(job.document, indent=2))


def _link_files(source: Path, place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    for folder, _, names in os.walk(source, followlinks=True):
        to = place / Path(folder).relative_to(source)
        to.mkdir(parents=True, exist_ok=True)
        for name in names:
            with contextlib.suppress(FileExistsError):
                (to / name).symlink_to(Path(folder, name))


def main(arguments: list[str]) -> NoReturn:
    """Make the folders, and become the command."""
    make(JobDirectory.open(Path(os.environ["VIZSLA_JOB_DIR"])))
    _, *command = arguments
    sys.stdout.flush()
    os.execvp(command[0], command)
