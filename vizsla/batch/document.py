"""What a batch transform is asked to do, in the field names of SageMaker's CreateTransformJob."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationError

from vizsla.document import Document
from vizsla.errors import UsageError
from vizsla.jobs.directory import NAME_PATTERN

PICTURE = "application/x-image"
TABLES = {"application/x-parquet": "predictions.parquet", "application/x-jsonlines-table": "predictions.jsonl"}
"""What ``Accept`` may ask for beside the endpoint's forms: one table of all inputs, by the name of its file."""


def is_picture(content_type: str) -> bool:
    """Whether it says that a body is a picture's own bytes."""
    return content_type.startswith(("image/", PICTURE, "application/octet-stream"))


class S3Input(Document):
    """Where the inputs lie: a path, a ``file://`` or an ``s3://`` address."""

    s3_uri: str = Field(min_length=1)
    s3_data_type: Literal["S3Prefix", "ManifestFile", "AugmentedManifestFile"] = "S3Prefix"


class InputSource(Document):
    """The source of the inputs."""

    s3_data_source: S3Input


class TransformInput(Document):
    """The inputs, and how each is split into records."""

    data_source: InputSource
    content_type: str | None = None
    compression_type: Literal["None", "Gzip"] | None = None
    split_type: Literal["None", "Line", "RecordIO", "TFRecord"] | None = None


class TransformOutput(Document):
    """Where the results go (by default ``output/`` of the job), and in which form."""

    s3_output_path: str | None = None
    accept: str | None = None
    assemble_with: Literal["None", "Line"] | None = None
    kms_key_id: str | None = None


class TransformResources(Document):
    """What the job needs: see :class:`vizsla.jobs.spec.ResourceConfig`."""

    instance_type: str | None = "local"
    instance_count: int | None = Field(default=1, ge=1)
    volume_kms_key_id: str | None = None
    transform_ami_version: str | None = None


class DataProcessing(Document):
    """What of a record goes to the model, whether the record goes into the result, and what of that is written."""

    input_filter: str = Field(default="$", max_length=63)
    output_filter: str = Field(default="$", max_length=63)
    join_source: Literal["Input", "None"] = "None"


class TransformJob(Document):
    """A CreateTransformJob document."""

    transform_job_name: str | None = Field(default=None, pattern=f"^{NAME_PATTERN.pattern}$")
    model_name: str = Field(min_length=1)
    """A model's folder, job, archive or address, or ``models:/group@alias``."""
    max_concurrent_transforms: int | None = Field(default=None, ge=0)
    max_payload_in_mb: int | None = Field(default=None, alias="MaxPayloadInMB", ge=0)
    batch_strategy: Literal["MultiRecord", "SingleRecord"] | None = None
    environment: dict[str, str] | None = None
    transform_input: TransformInput
    transform_output: TransformOutput = Field(default_factory=TransformOutput)
    transform_resources: TransformResources = Field(default_factory=TransformResources)
    data_processing: DataProcessing | None = None
    model_client_config: dict[str, Any] | None = None
    data_capture_config: dict[str, Any] | None = None
    tags: list[dict[str, str]] | None = None
    experiment_config: dict[str, Any] | None = None

    @classmethod
    def read(cls, document: dict[str, Any]) -> TransformJob:
        """The request in ``document``.

        Raises
        ------
        UsageError
            Naming the first field that cannot be used.
        """
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            if first["type"] == "extra_forbidden":
                raise UsageError(
                    f"There is no field {first['loc'][-1]!r} in a transform job.",
                    where=where,
                    allowed="the fields of SageMaker's CreateTransformJob",
                ) from error
            given = "" if first["type"] == "missing" else f" (given: {first.get('input')!r:.80})"
            raise UsageError(f"The job's request cannot be used: {first['msg']}{given}.", where=where) from error

    @property
    def address(self) -> str:
        """Where the inputs lie."""
        return self.transform_input.data_source.s3_data_source.s3_uri

    @property
    def splits_lines(self) -> bool:
        """Whether each line of an input is a record of its own."""
        return self.transform_input.split_type == "Line"

    @property
    def content_type(self) -> str:
        """What a record is said to be."""
        return self.transform_input.content_type or ("application/jsonlines" if self.splits_lines else PICTURE)

    @property
    def holds_records(self) -> bool:
        """Whether the inputs are files of records, and not pictures."""
        return self.splits_lines or not is_picture(self.content_type)

    @property
    def table(self) -> str | None:
        """The name of the one table that is written; None where each input has an output of its own."""
        return TABLES.get(self.transform_output.accept or "")

    @property
    def assembles_lines(self) -> bool:
        """Whether a line break follows each record's answer: where nothing is said, of inputs that are lines."""
        asked = self.transform_output.assemble_with
        return self.splits_lines if asked is None else asked == "Line"

    @property
    def processing(self) -> DataProcessing:
        """The filters and the join; by default none."""
        return self.data_processing or DataProcessing()
