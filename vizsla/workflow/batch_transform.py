"""A batch transform in its job's directory.

Started again after a kill it goes on with the record that was not finished.
"""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from typing import Any

from vizsla.batch.answering import Answerer
from vizsla.batch.document import TransformJob
from vizsla.batch.inputs import open_inputs
from vizsla.batch.models import Answering, check_code, form_of, open_model
from vizsla.batch.outputs import Bucket, Folder
from vizsla.batch.processing import Processing
from vizsla.batch.run import Output, Run, Summary, opened_journal
from vizsla.batch.table import write_jsonl, write_parquet
from vizsla.cluster import connect
from vizsla.errors import JobError, StorageError, UsageError
from vizsla.files import check_folder, write_json
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.mirror import ANSWERS
from vizsla.jobs.spec import local_path
from vizsla.parameters import spelled
from vizsla.settings import settings
from vizsla.workflow.cluster_transform import ClusterRun
from vizsla.workflow.models import locate_model

SUMMARY = "transform.json"
_SECONDS_BETWEEN_LINES = 5.0


def check(job: TransformJob) -> None:
    """That a request can be meant, before there is a job.

    Raises
    ------
    VizslaError
        For a model or an input that is not there, a filter that is none, a form that there is not.
    """
    Processing.of(job.processing)
    if not check_code(job, locate_model(job.model_name)):
        form_of(job)
    source = job.transform_input
    if source.split_type not in (None, "None", "Line"):
        raise UsageError(
            f"Inputs are not split by {source.split_type} here.", parameter="split_type", allowed="None, Line"
        )
    if source.compression_type == "Gzip":
        raise UsageError(
            "Compressed inputs are not read here.", where="TransformInput.CompressionType", do="unpack them first"
        )
    if not job.holds_records and (job.processing.join_source != "None" or job.processing.input_filter != "$"):
        joins = job.processing.join_source != "None"
        raise UsageError(
            "A picture has no parts: it cannot be " + ("joined with its answer." if joins else "filtered."),
            parameter="join_source" if joins else "input_filter",
            allowed="inputs that are JSON or CSV",
            do="leave it out: each output is named after its picture, and a table has the names in a column",
        )
    place = local_path(job.address)
    if place is not None and not place.expanduser().exists():
        raise UsageError("There is no such input.", where=job.address, allowed="a folder, file, archive or manifest")
    target = local_path(job.transform_output.s3_output_path or "")
    if target is not None:
        check_folder(target)


def transform_in(directory: JobDirectory, job: TransformJob) -> Summary:
    """Run the job in its directory; what is finished already is not done again.

    Raises
    ------
    VizslaError
        When the model, the inputs or the output cannot be used, or no input has an answer.
    """
    threads = settings().threads
    os.environ |= {
        "SAGEMAKER_BATCH": "true",
        "SAGEMAKER_MAX_PAYLOAD_IN_MB": str(job.max_payload_in_mb or 6),
        "SAGEMAKER_BATCH_STRATEGY": "MULTI_RECORD" if job.batch_strategy == "MultiRecord" else "SINGLE_RECORD",
        "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS": str(job.max_concurrent_transforms or 1),
    }
    log = _Log(directory)
    source = job.transform_input.data_source.s3_data_source
    inputs = open_inputs(
        job.address, is_manifest=source.s3_data_type != "S3Prefix", records=job.holds_records, on_progress=log.listing
    )
    for note in inputs.notes:
        log.line(f"note: {note}")
    log.total = None if job.splits_lines else inputs.count
    output = _output(directory, job)
    model = open_model(job, locate_model(job.model_name), threads)
    try:
        _check_same_model(directory, model)
        with opened_journal(directory.checkpoints / "journal.jsonl") as journal:
            answerer = Answerer(job, model, settings().max_image_bytes)
            join = b"\n" if job.assembles_lines else b""
            run: Run
            if _is_on_cluster(directory) and inputs.has_addresses and not job.holds_records:
                run = ClusterRun(connect(), job, _for_nodes(output), answerer, journal, join, log.progress)
            else:
                run = Run(
                    answerer,
                    journal,
                    output,
                    directory.checkpoints / "parts",
                    lines=job.splits_lines,
                    join=join,
                    is_remote=isinstance(output, Bucket),
                    on_progress=log.progress,
                )
            log.begin(run.summary.records)
            summary = run.run(inputs)
            if job.table is not None:
                _write_table(directory, job, model, journal.lines)
    finally:
        model.close()
    log.end(summary)
    write_json(directory.output / SUMMARY, _facts(directory, job, summary))
    return summary


def _is_on_cluster(directory: JobDirectory) -> bool:
    """Whether the job runs on a Ray cluster, all of whose cores may answer."""
    return directory.executor.partition("://")[0] == "ray"


def _output(directory: JobDirectory, job: TransformJob) -> Output | None:
    address = job.transform_output.s3_output_path
    if address is None and settings().bucket is not None:
        address = _place(directory, job)
    if job.table is not None:
        if job.transform_output.s3_output_path is not None:
            raise UsageError(
                "A table is written to the job's output only.",
                parameter="output",
                do="leave it out, and copy the table",
            )
        return None
    if address is None:
        return Folder(directory.output)
    if address.startswith("s3://"):
        return Bucket(address)
    place = local_path(address)
    if place is None:
        raise StorageError("Outputs cannot be written there.", where=address, allowed="a path or an s3:// address")
    return Folder(place.expanduser())


def _for_nodes(output: Output | None) -> str | None:
    """Where the answers go, for other machines."""
    if isinstance(output, Folder):
        return str(output.root.absolute())
    return output.address if isinstance(output, Bucket) else None


def _place(directory: JobDirectory, job: TransformJob) -> str:
    """Where the answers go: where that is asked, else to the job's output, which may be in a bucket."""
    bucket = settings().bucket
    own = str(directory.output) if bucket is None else f"{bucket}/{directory.name}/{ANSWERS}"
    return job.transform_output.s3_output_path or own


def _table_place(directory: JobDirectory, job: TransformJob) -> str:
    bucket = settings().bucket
    folder = str(directory.output) if bucket is None else f"{bucket}/{directory.name}/output"
    return f"{folder}/{job.table}"


def _check_same_model(directory: JobDirectory, model: Answering) -> None:
    """A job that goes on does so with the model that it began with."""
    path = directory.checkpoints / "model.json"
    if not path.exists():
        write_json(path, {"identity": model.identity})
    elif json.loads(path.read_bytes())["identity"] != model.identity:
        raise JobError(
            "The model is another one than when this job began: its results would be mixed.",
            where=directory.path,
            do=f"start a new job, with {spelled('name')} for its name",
        )


def _write_table(directory: JobDirectory, job: TransformJob, model: Answering, lines: Any) -> None:
    path = directory.output / str(job.table)
    if path.suffix == ".jsonl":
        return write_jsonl(path, lines())
    classes = None if Processing.of(job.processing).changes_output else model.classes
    return write_parquet(path, lines(), classes, split=job.splits_lines)


def _facts(directory: JobDirectory, job: TransformJob, summary: Summary) -> dict[str, Any]:
    return {
        "model": job.model_name,
        "input": job.address,
        "output": _place(directory, job) if job.table is None else _table_place(directory, job),
        "inputs": summary.records,
        "failed": summary.failed,
        "errors": dict(summary.errors),
        "images_per_second": round(summary.per_second, 2),
    }


class _Log:
    """Lines of the job's log, and its metrics."""

    def __init__(self, directory: JobDirectory) -> None:
        self._directory = directory
        self._began = self._written = time.monotonic()
        self._first = 0
        self.total: int | None = None

    def line(self, text: str) -> None:
        stamp = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        print(f"{stamp} {text}", flush=True)

    def listing(self, done: int, total: int | None) -> None:
        if self._due():
            self.line(f"fetching: {done:,}")

    def begin(self, before: int) -> None:
        self._began = self._written = time.monotonic()
        self._first = before
        of = "" if self.total is None else f" {self.total:,} inputs"
        self.line(f"transforming{of}" + (f"; {before:,} are done already" if before else ""))

    def progress(self, summary: Summary) -> None:
        if not self._due():
            return
        rate = summary.done_now / (time.monotonic() - self._began)
        left = "" if self.total is None else f" of {self.total:,}"
        time_left = "" if self.total is None else f", {(self.total - summary.records) / rate:,.0f} s left"
        failed = f", {summary.failed:,} failed" if summary.failed else ""
        self.line(f"{summary.records:,}{left}, {rate:,.1f} images/s{time_left}{failed}")
        self._metrics(summary, rate)

    def end(self, summary: Summary) -> None:
        self._metrics(summary, summary.per_second)
        failed = f", {summary.failed:,} failed" if summary.failed else ""
        self.line(f"{summary.records:,} done{failed}, {summary.per_second:,.1f} images/s")

    def _metrics(self, summary: Summary, rate: float) -> None:
        for name, value in (("images_per_second", rate), ("inputs", summary.records), ("failed", summary.failed)):
            self._directory.append_metric(name, float(value), step=summary.records)

    def _due(self) -> bool:
        now = time.monotonic()
        due = now - self._written > _SECONDS_BETWEEN_LINES
        self._written = now if due else self._written
        return due
