"""What a job leaves, where its document says: links in the folders of buckets, so that nothing is copied.

Developer guide, "Amazon SageMaker Training Storage Folders": ``<S3OutputPath>/<job>/output/model.tar.gz`` and
``output.tar.gz``, ``<DebugHookConfig.S3OutputPath>/<job>/debug-output``.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from pathlib import Path
from typing import Any

from vizsla.archives import pack
from vizsla.aws.errors import AwsError
from vizsla.aws.s3.objects import make_folders
from vizsla.aws.s3.places import ensure_bucket, path_of, split
from vizsla.errors import VizslaError
from vizsla.jobs import processing_folders
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.pack import ARCHIVE, holds_anything
from vizsla.profiling.layout import REPORT, REPORTS, output_of

KINDS = ("train", "process")
"""The jobs whose outputs are links in buckets."""
DEBUG_OUTPUT, PROFILER_OUTPUT, RULE_OUTPUT = "debug-output", "profiler-output", "rule-output"
_MARK = "published"
"""In ``.run`` of a job: its outputs lie in the buckets."""


def model_uri(document: dict[str, Any], job: str) -> str | None:
    """Where the model of a training will lie, or lies."""
    place = _output_path(document)
    return None if place is None else f"{place}/{job}/output/{ARCHIVE}"


def show_while_it_runs(home: Path, job: JobDirectory, document: dict[str, Any]) -> None:
    """Let what is read while a job runs appear in the buckets: what the debugger and the profiler record."""
    for config, folder, name in (
        ("DebugHookConfig", job.output / "debug", DEBUG_OUTPUT),
        ("ProfilerConfig", output_of(job.path), PROFILER_OUTPUT),
    ):
        address = (document.get(config) or {}).get("S3OutputPath") or ""
        if address.startswith("s3://"):
            root, place = _place(home, f"{address.rstrip('/')}/{job.name}/{name}")
            make_folders(root, str(place.parent))
            _link_folder(folder, place)


def publish(home: Path, job: JobDirectory) -> None:
    """Let the outputs of a job that has ended appear in the buckets that its document names; once.

    They are links to the job's own files: what is written over them later, or deleted there, stays in the job.
    """
    if (job.run / _MARK).exists():
        return
    with _alone(job):
        if (job.run / _MARK).exists():
            return
        document = job.document
        with contextlib.suppress(AwsError):  # no bucket of this machine
            _publish(home, job, document)
        (job.run / _MARK).touch()


def _publish(home: Path, job: JobDirectory, document: dict[str, Any]) -> None:
    for output in processing_folders.outputs(document):
        link_tree(job.path / output.place, *_place(home, output.address))
    if (address := _output_path(document)) is not None:
        root, folder = _place(home, f"{address}/{job.name}/output")
        link_file(job.output / ARCHIVE, root, folder / ARCHIVE)
        if (document.get("OutputDataConfig") or {}).get("CompressionType") == "NONE":
            link_tree(job.model, root, folder / "model")
        if holds_anything(job.output / "data"):
            make_folders(root, str(folder))
            pack(job.output / "data", folder / "output.tar.gz")
        for rule in document.get("ProfilerRuleConfigurations") or []:
            name = rule["RuleConfigurationName"]
            if name.startswith("ProfilerReport"):
                place = path_of(home, f"{address}/{job.name}/{RULE_OUTPUT}/{name}/{PROFILER_OUTPUT}")
                _link_report(job, root, place)


def _link_report(job: JobDirectory, root: Path, to: Path) -> None:
    """The profiler's report, and what each of its rules says, written first where nobody has done so yet."""
    profile = output_of(job.path)
    if not (profile / REPORT).is_file():
        from vizsla.workflow.profile import profile_job  # with all that judges and draws

        with contextlib.suppress(VizslaError):  # nothing was recorded
            profile_job(job)
    link_file(profile / REPORT, root, to / REPORT)
    link_tree(profile / REPORTS, root, to / REPORTS)


def _output_path(document: dict[str, Any]) -> str | None:
    address = (document.get("OutputDataConfig") or {}).get("S3OutputPath") or ""
    return address.rstrip("/") if address.startswith("s3://") else None


def _place(home: Path, address: str) -> tuple[Path, Path]:
    """The bucket of an address, which is made where there is none, and the path."""
    return ensure_bucket(home, split(address)[0]), path_of(home, address)


def link_tree(folder: Path, root: Path, to: Path) -> None:
    """Let the files of a folder appear in another, in the bucket ``root``."""
    for inside, _, names in os.walk(folder):
        for name in names:
            link_file(Path(inside, name), root, to / Path(inside).relative_to(folder) / name)


def link_file(file: Path, root: Path, to: Path) -> None:
    """Let a file appear under another name too, in the bucket ``root``: as a link, on another disk as a copy. Nothing
    where there is none."""
    if not file.is_file():
        return
    make_folders(root, str(to.parent))
    draft = to.with_name(f".{to.name}.{os.getpid()}.tmp")
    draft.unlink(missing_ok=True)
    try:
        os.link(file.resolve(), draft)
    except OSError:
        shutil.copyfile(file, draft)
    os.replace(draft, to)
    with contextlib.suppress(FileNotFoundError):  # of two names of one file rename leaves both
        draft.unlink()


def _link_folder(folder: Path, to: Path) -> None:
    with contextlib.suppress(FileExistsError):
        to.symlink_to(folder.absolute(), target_is_directory=True)


@contextlib.contextmanager
def _alone(job: JobDirectory) -> Any:
    with open(job.run / f"{_MARK}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
