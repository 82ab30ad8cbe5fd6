"""``vizsla.transform``: a saved model over a whole folder."""

from __future__ import annotations

import os
import sys
from typing import Literal

from vizsla.api.inputs import PathLike
from vizsla.jobs.events import Event, LogEvent
from vizsla.jobs.executors import open_executor
from vizsla.jobs.result import result_of
from vizsla.workflow.transform_request import TransformResult, request_of, submit


def transform(
    model: PathLike,
    source: PathLike,
    *,
    output: PathLike | None = None,
    table: Literal["parquet", "jsonl"] | None = None,
    accept: str | None = None,
    content_type: str | None = None,
    split_type: Literal["None", "Line"] | None = None,
    batch_strategy: Literal["MultiRecord", "SingleRecord"] | None = None,
    assemble_with: Literal["None", "Line"] | None = None,
    input_filter: str = "$",
    join_source: Literal["None", "Input"] = "None",
    output_filter: str = "$",
    max_concurrent_transforms: int | None = None,
    max_payload_in_mb: int | None = None,
    allow_code: bool = False,
    instance_type: str = "local",
    executor: str = "local",
    name: str | None = None,
    progress: bool = True,
) -> TransformResult:
    """Run a model over many pictures as a job: an answer for each. Ctrl-C stops the job.

    Parameters
    ----------
    model:
        What :func:`fit` returned, a model folder, a job, an archive, ``s3://bucket/key`` or ``models:/GROUP@ALIAS``.
    source:
        A folder, file, archive or manifest, or ``s3://bucket/prefix``.
    output:
        Where the ``.out`` files go; by default ``output/`` of the job.
    table:
        Instead of them one table, which ``result.dataframe()`` reads.
    accept, content_type, split_type, batch_strategy, assemble_with, input_filter, join_source, output_filter:
        SageMaker's fields of the same names (docs/transform.md).
    executor:
        ``local``: a process of its own; ``debug``: this one.

    Raises
    ------
    JobError
        When the job fails.
    VizslaError
        For anything that cannot be meant; there is no job then.

    Examples
    --------
    >>> answers = vizsla.transform("runs/fit-photos", "photos/valid", table="parquet")  # doctest: +SKIP
    >>> answers  # doctest: +SKIP
    TransformResult('transform-valid', 320 inputs, 1 failed, 131.0 images/s)
    >>> answers.dataframe()[["input", "label", "probability"]]  # doctest: +SKIP
    """
    job = request_of(
        os.fspath(model),
        os.fspath(source),
        name=name,
        output=None if output is None else os.fspath(output),
        table=table,
        accept=accept,
        content_type=content_type,
        split_type=split_type,
        batch_strategy=batch_strategy,
        assemble_with=assemble_with,
        input_filter=input_filter,
        join_source=join_source,
        output_filter=output_filter,
        max_concurrent_transforms=max_concurrent_transforms,
        max_payload_in_mb=max_payload_in_mb,
        allow_code=allow_code,
        instance_type=instance_type,
    )
    runs = open_executor(executor)

    def show(event: Event) -> None:
        if progress and isinstance(event, LogEvent) and not runs.echoes:
            sys.stderr.write(event.text)

    try:
        return TransformResult.of(result_of(runs, submit(runs, job), show).check())
    finally:
        runs.close()
