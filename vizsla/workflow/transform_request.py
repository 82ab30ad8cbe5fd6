"""A batch transform from what a person says: the request, checked and submitted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from vizsla.batch.document import TransformJob
from vizsla.batch.models import ALLOW_CODE
from vizsla.errors import UsageError
from vizsla.jobs.events import Handle
from vizsla.jobs.executors.base import Executor
from vizsla.jobs.handover import load
from vizsla.jobs.kinds import kind_of
from vizsla.jobs.result import JobResult
from vizsla.jobs.states import State
from vizsla.optional import require
from vizsla.parameters import spelled
from vizsla.registry import reading
from vizsla.registry.package import SCHEME
from vizsla.settings import settings
from vizsla.workflow.batch_transform import SUMMARY, check
from vizsla.workflow.models import locate_model

FACTS = f"output/{SUMMARY}"
"""The file of a job that holds what it came to."""
_TABLES = {"parquet": "application/x-parquet", "jsonl": "application/x-jsonlines-table"}
_CHOICES = {
    "split_type": ("None", "Line"),
    "batch_strategy": ("MultiRecord", "SingleRecord"),
    "assemble_with": ("None", "Line"),
    "join_source": ("None", "Input"),
    "table": tuple(_TABLES),
}


@dataclass(frozen=True)
class TransformResult:
    """What a batch transform left: ``output`` is the folder or address of its ``.out`` files, or its table; ``errors``
    counts the inputs without an answer by kind."""

    job: Path
    state: State
    output: str
    inputs: int
    failed: int
    errors: dict[str, int]
    images_per_second: float

    @classmethod
    def of(cls, ended: JobResult) -> TransformResult:
        """Of the job that has run."""
        facts = load(ended.job / FACTS) or {}
        counts = (facts.get("inputs", 0), facts.get("failed", 0), facts.get("errors", {}))
        return cls(ended.job, ended.state, facts.get("output", ""), *counts, facts.get("images_per_second", 0.0))

    def __repr__(self) -> str:
        counts = f"{self.inputs:,} inputs, {self.failed:,} failed, {self.images_per_second:.1f} images/s"
        return f"TransformResult({self.job.name!r}, {counts})"

    def dataframe(self) -> Any:
        """The table, a row an input, where one was asked for.

        Raises
        ------
        UsageError
            Where the answers are files of their own.
        MissingExtraError
            Without pandas.
        """
        pandas = require("pandas", extra="notebook", feature="A table as a pandas DataFrame")
        if self.output.endswith(".parquet"):
            return pandas.read_parquet(self.output)
        if self.output.endswith(".jsonl"):
            return pandas.read_json(self.output, lines=True)
        raise UsageError(
            "The answers are files of their own.",
            where=self.output,
            parameter="table",
            do=f"run it with {spelled('table', 'parquet')}",
        )


def _model(name: str) -> str:
    """A model as the job will find it: of an alias the version that it means now, so that a restart asks the same."""
    if name.startswith(SCHEME):
        found = reading.find(name)
        return f"{SCHEME}{found.group}/{found.version}"
    if "://" in name:
        return name
    place = locate_model(name)
    is_of_bucket = settings().bucket is not None and place.parent == settings().home.absolute()
    return place.name if is_of_bucket else str(place)  # of a bucket each machine has a mirror at a place of its own


def request_of(
    model: str | None,
    source: str | None,
    *,
    name: str | None = None,
    output: str | None = None,
    table: str | None = None,
    accept: str | None = None,
    content_type: str | None = None,
    split_type: str | None = None,
    batch_strategy: str | None = None,
    assemble_with: str | None = None,
    input_filter: str = "$",
    join_source: str = "None",
    output_filter: str = "$",
    max_concurrent_transforms: int | None = None,
    max_payload_in_mb: int | None = None,
    allow_code: bool = False,
    instance_type: str = "local",
) -> TransformJob:
    """The request; names of options are those of SageMaker's fields.

    Raises
    ------
    UsageError
        For a value that cannot be meant.
    """
    if not model or not source:
        raise UsageError(
            "Nothing to transform: MODEL and INPUT are needed.",
            do="vizsla transform runs/fit-photos photos/valid",
        )
    values = locals()
    for option, allowed in _CHOICES.items():
        if (value := values[option]) is not None and value not in allowed:
            raise UsageError(f"{value!r:.80} is no choice.", parameter=option, allowed=", ".join(allowed))
    if table and accept:
        raise UsageError("A table has a form of its own.", parameter="accept", do="leave it out")
    manifest = PurePosixPath(source).suffix.lower() == ".manifest"
    return TransformJob.read(
        {
            "TransformJobName": name,
            "ModelName": _model(model),
            "MaxConcurrentTransforms": max_concurrent_transforms,
            "MaxPayloadInMB": max_payload_in_mb,
            "BatchStrategy": batch_strategy,
            "Environment": {ALLOW_CODE: "1"} if allow_code else None,
            "TransformInput": {
                "DataSource": {
                    "S3DataSource": {
                        "S3Uri": _absolute(source),
                        "S3DataType": "ManifestFile" if manifest else "S3Prefix",
                    }
                },
                "ContentType": content_type,
                "SplitType": split_type,
            },
            "TransformOutput": {
                "S3OutputPath": None if output is None else _absolute(output),
                "Accept": _TABLES[table] if table else accept,
                "AssembleWith": assemble_with,
            },
            "TransformResources": {"InstanceType": instance_type},
            "DataProcessing": {
                "InputFilter": input_filter,
                "OutputFilter": output_filter,
                "JoinSource": join_source,
            },
        }
    )


def _absolute(place: str) -> str:
    """The same from whatever folder a job runs in."""
    return place if "://" in place else str(Path(place).expanduser().absolute())


def read_request(file: Path, name: str | None, *, beside: Sequence[str] = ()) -> TransformJob:
    """The request in a file with a CreateTransformJob document; ``name`` is its job's name, where given.

    Raises
    ------
    UsageError
        When it cannot be read, or options were given ``beside`` it.
    """
    if beside:
        raise UsageError(
            f"{', '.join(beside)} would have no effect here.",
            parameter="request",
            allowed="the name of the job, the executor and the tracking address beside a document",
            do="write it into the document",
        )
    try:
        document: Any = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise UsageError(f"The request cannot be read: {error}.", where=file) from error
    if not isinstance(document, dict):
        raise UsageError("The request is no JSON object.", where=file, allowed="a CreateTransformJob document")
    return TransformJob.read(document | ({"TransformJobName": name} if name else {}))


def submit(executor: Executor, job: TransformJob) -> Handle:
    """Check a request, and make it a job.

    Raises
    ------
    VizslaError
        When it cannot run; there is no job then.
    """
    check(job)
    document = job.to_dict()
    about = PurePosixPath(job.address.rstrip("/")).name or "inputs"
    return executor.submit(kind_of("transform").spec(document), about, kind="transform", document=document)
