"""What a job at SageMaker gives back: its log while it runs, its model and outputs at its end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from vizsla.archives import Bounds, unpack
from vizsla.files import storage
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.pack import ARCHIVE
from vizsla.jobs.sagemaker_account import code_of

_GROUPS = {"CreateTrainingJob": "/aws/sagemaker/TrainingJobs", "CreateTransformJob": "/aws/sagemaker/TransformJobs"}


def read_logs(logs: Any, operation: str, name: str, cursors: dict[str, str]) -> Iterator[str]:
    """The lines that came after ``cursors``, which are moved on; of several machines each line says which."""
    group = _GROUPS[operation]
    try:
        streams = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{name}/")["logStreams"]
    except Exception as error:
        if code_of(error) == "ResourceNotFoundException":  # nothing was logged yet
            return
        raise
    for stream in sorted(entry["logStreamName"] for entry in streams):
        host = f"[{stream.rpartition('/')[2].rpartition('-')[0]}] " if len(streams) > 1 else ""
        while True:
            at = {"nextToken": cursors[stream]} if stream in cursors else {}
            page = logs.get_log_events(logGroupName=group, logStreamName=stream, startFromHead=True, **at)
            if page["events"]:
                yield "".join(f"{host}{event['message']}\n" for event in page["events"])
            if page["nextForwardToken"] == cursors.get(stream):
                break
            cursors[stream] = page["nextForwardToken"]


def fetch_outputs(s3: Any, job: JobDirectory, description: dict[str, Any]) -> None:
    """Bring back the model of a training, unpacked as well, and ``output.tar.gz``; of a transform its outputs.

    Raises
    ------
    StorageError
        When the disk is full.
    """
    with storage(job.output):
        _fetch_model(s3, job, description.get("ModelArtifacts", {}).get("S3ModelArtifacts"))
        _fetch_answers(s3, job, description.get("TransformOutput", {}).get("S3OutputPath"))


def _fetch_model(s3: Any, job: JobDirectory, address: str | None) -> None:
    if not address:
        return
    if _fetch(s3, address, job.output / ARCHIVE):
        unpack(job.output / ARCHIVE, job.model, Bounds())
    archive = job.output / "output.tar.gz"
    if _fetch(s3, address.removesuffix(ARCHIVE) + archive.name, archive):
        unpack(archive, job.output / "data", Bounds())


def _fetch_answers(s3: Any, job: JobDirectory, place: str | None) -> None:
    if not place:
        return
    bucket, prefix = _parts(place)
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix.rstrip("/") + "/"):
        for entry in page.get("Contents", ()):
            name = entry["Key"][len(prefix.rstrip("/")) + 1 :]
            target = (job.output / name).resolve()
            if name and target.is_relative_to(job.output.resolve()):
                target.parent.mkdir(parents=True, exist_ok=True)
                s3.download_file(bucket, entry["Key"], str(target))


def _fetch(s3: Any, address: str, to: Path) -> bool:
    """Whether there was such an object."""
    bucket, key = _parts(address)
    try:
        s3.download_file(bucket, key, str(to))
    except Exception as error:
        if code_of(error) in ("404", "NoSuchKey", "NotFound"):
            return False
        raise
    return True


def _parts(address: str) -> tuple[str, str]:
    parts = urlsplit(address)
    return parts.netloc, parts.path.lstrip("/")
