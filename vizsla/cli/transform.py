"""``vizsla transform``: a saved model over a whole folder, as a job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from vizsla.cli.track import TrackingUri, record_on

app = typer.Typer(add_completion=False)

_RECORDS = "Records"
_JOB = "Job"


@app.command()
def transform(
    model: str | None = typer.Argument(
        None, help="A model's folder, a job, a model.tar.gz, s3://bucket/key, or models:/GROUP@ALIAS."
    ),
    source: str | None = typer.Argument(
        None, metavar="[INPUT]", help="A folder, file, archive or manifest of pictures; or s3://bucket/prefix of them."
    ),
    output: str | None = typer.Option(
        None, help="Write the .out files there: a folder or s3://bucket/prefix. Default: output/ of the job."
    ),
    table: str | None = typer.Option(
        None, help="Instead of .out files one table in output/ of the job: parquet or jsonl."
    ),
    accept: str | None = typer.Option(
        None, help="The form of the answers, as for the endpoint: application/json, text/csv."
    ),
    content_type: str | None = typer.Option(
        None, help="What the records are. Default: application/x-image, of lines application/jsonlines."
    ),
    split_type: str | None = typer.Option(
        None, help="None: an input is a record. Line: each line of it is.", rich_help_panel=_RECORDS
    ),
    batch_strategy: str | None = typer.Option(
        None, help="MultiRecord sends own code many lines at a time. Default: SingleRecord.", rich_help_panel=_RECORDS
    ),
    assemble_with: str | None = typer.Option(
        None, help="Line: a line break after each answer. Default: Line where inputs are.", rich_help_panel=_RECORDS
    ),
    input_filter: str | None = typer.Option(
        None, help="JSONPath: what of a record goes to the model.", rich_help_panel=_RECORDS
    ),
    join_source: str | None = typer.Option(
        None, help="Input: the record stands beside its answer.", rich_help_panel=_RECORDS
    ),
    output_filter: str | None = typer.Option(
        None, help="JSONPath: what of the answer, or of both, is written.", rich_help_panel=_RECORDS
    ),
    max_concurrent_transforms: int | None = typer.Option(
        None, min=1, help="At a time. Default: the cores; of own code 1.", rich_help_panel=_JOB
    ),
    max_payload_in_mb: int | None = typer.Option(None, min=1, help="Largest record in MiB.", rich_help_panel=_JOB),
    allow_code: bool = typer.Option(
        False, "--allow-code", help="Run the own code of a model that brings some.", rich_help_panel=_JOB
    ),
    instance_type: str | None = typer.Option(
        None, help="local (the default) is all of this machine, local-1cpu a share.", rich_help_panel=_JOB
    ),
    request: Path | None = typer.Option(
        None, help="A JSON file with a CreateTransformJob document, instead of all these.", rich_help_panel=_JOB
    ),
    name: str | None = typer.Option(None, help="The job's name. Default: transform-WHAT-TIME.", rich_help_panel=_JOB),
    executor: str = typer.Option(
        "local",
        help="local: a process of its own. debug: this one. ray, ray://HOST:PORT, sagemaker: as for train.",
        rich_help_panel=_JOB,
    ),
    tracking_uri: TrackingUri = None,
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object as the last line of stdout."),
) -> None:
    """Run a model over many pictures as a job: an answer for each, in INPUT.out below the job's output/.

    A picture that cannot be read has an error for its answer. Ctrl-C stops the job; `vizsla jobs resume` goes on.
    """
    from vizsla.cli.following import follow_to_end
    from vizsla.jobs.executors import open_executor
    from vizsla.workflow.transform_request import FACTS, read_request, request_of, submit

    record_on(tracking_uri)
    asked: dict[str, Any] = {
        "output": output,
        "table": table,
        "accept": accept,
        "content_type": content_type,
        "split_type": split_type,
        "batch_strategy": batch_strategy,
        "assemble_with": assemble_with,
        "input_filter": input_filter,
        "join_source": join_source,
        "output_filter": output_filter,
        "max_concurrent_transforms": max_concurrent_transforms,
        "max_payload_in_mb": max_payload_in_mb,
        "allow_code": allow_code or None,
        "instance_type": instance_type,
    }
    given = {option: value for option, value in asked.items() if value is not None}
    if request is not None:
        job = read_request(request, name, beside=[*filter(None, (model, source)), *given])
    else:
        job = request_of(model, source, name=name, **given)
    runs = open_executor(executor)
    follow_to_end(runs, submit(runs, job), as_json=as_json, facts=FACTS)
