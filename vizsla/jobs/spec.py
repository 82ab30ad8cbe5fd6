"""What a job is asked to do, in the field names of SageMaker's CreateTrainingJob.

The same document runs here, or can be sent to AWS, or be received from an AWS client: ``TrainingJobSpec`` reads and
writes it. Field meanings: the SageMaker API reference, CreateTrainingJob. What AWS needs and this machine does not
(roles, networks, encryption) is accepted and kept.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote, unquote, urlsplit

from pydantic import Field, ValidationError

from vizsla.document import Document
from vizsla.errors import JobError, UsageError
from vizsla.jobs.hyperparameters import decoded, encoded, is_users

CHANNEL_PATTERN = r"^\.*[A-Za-z0-9\-_][A-Za-z0-9.\-_]*$"
"""AWS's, but for names of dots alone: they would lead out of the folder of the channels."""
_LOCAL_INSTANCE = re.compile(r"local(?:-(?P<cpus>[1-9]\d*)cpu)?(?:-(?P<gpus>\d+)gpu)?(?:-(?P<gb>[1-9]\d*)gb)?")
BUILTIN = ("python", "-m", "vizsla.workflow.train")
"""The command of the built-in training; it runs in the job's directory and reads its channels wherever they lie."""
_PROGRAM = "sagemaker_program"
_SUBMIT_DIRECTORY = "sagemaker_submit_directory"


Word = Annotated[str, Field(pattern=r"^[^\x00]*$")]
"""What a program can be given: no argument and no variable holds a null byte."""
HyperParameterName = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^=\x00]+$")]
VariableName = Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[^=\x00]+$")]


class MetricDefinition(Document):
    """A metric found in the log by a regular expression with one group."""

    name: str = Field(min_length=1, max_length=255)
    regex: str = Field(min_length=1, max_length=500)


class AlgorithmSpecification(Document):
    """What runs: a command (``ContainerEntrypoint``), or a user's script named by the hyperparameters."""

    training_image: str | None = None
    algorithm_name: str | None = None
    training_input_mode: Literal["File", "Pipe", "FastFile"] = "File"
    metric_definitions: list[MetricDefinition] | None = Field(default=None, max_length=40)
    enable_sage_maker_metrics_time_series: bool | None = None
    container_entrypoint: list[Word] | None = Field(default=None, min_length=1)
    container_arguments: list[Word] | None = None
    training_image_config: dict[str, Any] | None = None

    @property
    def is_builtin(self) -> bool:
        """Whether work of our own runs: the built-in training, or another module of :mod:`vizsla.workflow`."""
        command = tuple(self.container_entrypoint or ())
        return command[:2] == BUILTIN[:2] and len(command) == 3 and command[2].startswith("vizsla.workflow.")


class S3DataSource(Document):
    """Where a channel's data lie: an ``s3://`` or a ``file://`` address."""

    s3_uri: str
    s3_data_type: Literal["ManifestFile", "S3Prefix", "AugmentedManifestFile", "Converse"] = "S3Prefix"
    s3_data_distribution_type: Literal["FullyReplicated", "ShardedByS3Key"] | None = None
    attribute_names: list[str] | None = None
    model_access_config: dict[str, Any] | None = None
    hub_access_config: dict[str, Any] | None = None
    instance_group_names: list[str] | None = None


class DataSource(Document):
    """The source of a channel."""

    s3_data_source: S3DataSource | None = None
    file_system_data_source: dict[str, Any] | None = None
    dataset_source: dict[str, Any] | None = None


class Channel(Document):
    """One named input: ``input/data/<ChannelName>`` and ``SM_CHANNEL_<NAME>``."""

    channel_name: str = Field(pattern=CHANNEL_PATTERN, max_length=64)
    data_source: DataSource
    content_type: str | None = None
    compression_type: str | None = None
    record_wrapper_type: str | None = None
    input_mode: str | None = None
    shuffle_config: dict[str, Any] | None = None

    @classmethod
    def of_path(cls, name: str, path: Path) -> Channel:
        """A channel of a local folder or file."""
        source = S3DataSource(s3_uri=file_uri(path), s3_data_distribution_type="FullyReplicated")
        return cls(channel_name=name, data_source=DataSource(s3_data_source=source))

    @property
    def uri(self) -> str:
        """The address of the data."""
        source = self.data_source.s3_data_source
        return "" if source is None else source.s3_uri

    @property
    def path(self) -> Path | None:
        """The local folder or file; None when the data lie elsewhere."""
        return local_path(self.uri)


class ResourceConfig(Document):
    """What the job needs. ``InstanceType`` ``local`` is a whole machine; ``local-1cpu``, ``local-2cpu-1gpu``,
    ``local-2cpu-8gb`` a share."""

    instance_type: str | None = "local"
    instance_count: int | None = Field(default=1, ge=1)
    volume_size_in_gb: int | None = Field(default=None, alias="VolumeSizeInGB", ge=0)
    volume_kms_key_id: str | None = None
    keep_alive_period_in_seconds: int | None = None
    instance_groups: list[dict[str, Any]] | None = None
    training_plan_arn: str | None = None
    instance_placement_config: dict[str, Any] | None = None
    instance_preferences: Any = None
    selected_instance_type: str | None = None
    selected_instance_count: int | None = None

    def asked(self) -> tuple[int | None, int | None, int]:
        """CPUs, GPUs and bytes of memory by the type; None where it takes all that a machine has.

        A type that is not local (``ml.g4dn.xlarge``) takes the whole machine.

        Raises
        ------
        UsageError
            When a local type is misspelt, or more than one instance is asked for.
        """
        groups = [group.get("InstanceCount", 1) for group in self.instance_groups or []]
        if (count := sum(groups) if groups else self.instance_count or 1) > 1:
            raise UsageError(
                f"The job asks for {count} instances; there is one, this machine.",
                where="ResourceConfig.InstanceGroups" if groups else "ResourceConfig.InstanceCount",
                allowed="1",
                do="share this machine among jobs with InstanceType local-1cpu, local-2cpu-1gpu, ...",
            )
        text = self.instance_type or "local"
        if text.startswith("ml."):
            return None, None, 0
        match = _LOCAL_INSTANCE.fullmatch(text.replace("local_gpu", "local"))
        if not match:
            raise UsageError(
                f"There is no instance type {text!r}.",
                where="ResourceConfig.InstanceType",
                allowed="local, local-Ncpu, local-Ncpu-Mgpu, and -Ggb behind them on a cluster; ml.* means local",
            )
        cpus = int(match["cpus"]) if match["cpus"] else None
        gpus = int(match["gpus"]) if match["gpus"] else (0 if match["cpus"] else None)
        return cpus, gpus, int(match["gb"] or 0) * 10**9

    def share(self, cpus: int, gpus: int) -> tuple[int, int]:
        """CPUs and GPUs that the job takes of a machine with ``cpus`` and ``gpus``.

        Raises
        ------
        UsageError
            As :meth:`asked`, and when it asks for more than there is.
        """
        asked_cpus, asked_gpus, _ = self.asked()
        wanted = cpus if asked_cpus is None else asked_cpus, gpus if asked_gpus is None else asked_gpus
        if wanted[0] > cpus or wanted[1] > gpus:
            raise UsageError(
                f"{self.instance_type!r} is more than this machine has: {cpus} CPUs and {gpus} GPUs.",
                where="ResourceConfig.InstanceType",
                allowed=f"local, or local-Ncpu or local-Ncpu-Mgpu with N <= {cpus} and M <= {gpus}; ml.* means local",
            )
        return wanted


class StoppingCondition(Document):
    """The wall-clock limit."""

    max_runtime_in_seconds: int | None = Field(default=None, ge=1)
    max_wait_time_in_seconds: int | None = None
    max_pending_time_in_seconds: int | None = None


class CheckpointConfig(Document):
    """Where checkpoints go: ``checkpoints/`` of the job, or the folder that ``s3_uri`` names on this machine."""

    s3_uri: str | None = None
    local_path: str = "/opt/ml/checkpoints"


class CollectionConfiguration(Document):
    """One collection of tensors of the debugger."""

    collection_name: str | None = None
    collection_parameters: dict[str, str] | None = None


class DebugHookConfig(Document):
    """What the debugger's hook saves."""

    s3_output_path: str | None = None
    local_path: str | None = None
    hook_parameters: dict[str, str] | None = None
    collection_configurations: list[CollectionConfiguration] | None = None


class RuleConfiguration(Document):
    """One rule of the debugger or the profiler."""

    rule_configuration_name: str
    rule_evaluator_image: str | None = None
    rule_parameters: dict[str, str] | None = None
    local_path: str | None = None
    s3_output_path: str | None = None
    instance_type: str | None = None
    volume_size_in_gb: int | None = Field(default=None, alias="VolumeSizeInGB")


class ProfilerConfig(Document):
    """What the profiler samples."""

    s3_output_path: str | None = None
    profiling_interval_in_milliseconds: int | None = None
    profiling_parameters: dict[str, str] | None = None
    disable_profiler: bool | None = None


class OutputDataConfig(Document):
    """Where results go; here always the job's directory. With ``CompressionType`` ``NONE`` the model is not packed."""

    s3_output_path: str | None = None
    kms_key_id: str | None = None
    compression_type: Literal["NONE", "GZIP"] | None = None


class Tag(Document):
    """A name and a value, shown in the tracking pages."""

    key: str = Field(min_length=1, max_length=128)
    value: str = Field(max_length=256)


HyperParameterValue = Annotated[str, Field(max_length=2500, pattern=r"^[^\x00]*$")]


class TrainingJobSpec(Document):
    """A CreateTrainingJob document."""

    training_job_name: str | None = None
    algorithm_specification: AlgorithmSpecification = Field(default_factory=AlgorithmSpecification)
    hyper_parameters: dict[HyperParameterName, HyperParameterValue] = Field(default_factory=dict)
    input_data_config: list[Channel] = Field(default_factory=list, max_length=20)
    output_data_config: OutputDataConfig | None = None
    resource_config: ResourceConfig = Field(default_factory=ResourceConfig)
    stopping_condition: StoppingCondition | None = None
    checkpoint_config: CheckpointConfig | None = None
    debug_hook_config: DebugHookConfig | None = None
    debug_rule_configurations: list[RuleConfiguration] | None = None
    tensor_board_output_config: dict[str, Any] | None = None
    profiler_config: ProfilerConfig | None = None
    profiler_rule_configurations: list[RuleConfiguration] | None = None
    environment: dict[VariableName, Word] | None = None
    tags: list[Tag] | None = None
    role_arn: str | None = None
    vpc_config: dict[str, Any] | None = None
    experiment_config: dict[str, Any] | None = None
    retry_strategy: dict[str, Any] | None = None
    remote_debug_config: dict[str, Any] | None = None
    infra_check_config: dict[str, Any] | None = None
    session_chaining_config: dict[str, Any] | None = None
    serverless_job_config: dict[str, Any] | None = None
    mlflow_config: dict[str, Any] | None = None
    model_package_config: dict[str, Any] | None = None
    enable_network_isolation: bool | None = None
    enable_inter_container_traffic_encryption: bool | None = None
    enable_managed_spot_training: bool | None = None

    @classmethod
    def read(cls, document: dict[str, Any]) -> TrainingJobSpec:
        """The spec in ``document``, a CreateTrainingJob request.

        Raises
        ------
        UsageError
            Naming the first field that cannot be used.
        """
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            raise _in_words(error) from error

    @property
    def script(self) -> tuple[str, str] | None:
        """Where the user's code is, and the script in it; None for a job with a command of its own."""
        hyper = decoded(self.hyper_parameters)
        program, folder = hyper.get(_PROGRAM), hyper.get(_SUBMIT_DIRECTORY)
        if not isinstance(program, str) or self.algorithm_specification.container_entrypoint:
            return None
        address = str(folder or "")
        if local_path(address) is None and not address.startswith("s3://"):
            raise UsageError(
                f"The user's code cannot be had from there: {folder!r}.",
                where=f"HyperParameters.{_SUBMIT_DIRECTORY}",
                allowed="a folder or a .tar.gz: a path, a file:// or an s3:// address",
            )
        return address, program

    def check_program(self) -> None:
        """That there is something to run.

        Raises
        ------
        JobError
            Otherwise.
        """
        if self.script is None and not self.algorithm_specification.container_entrypoint:
            raise JobError(
                "The job says nothing that could be run.",
                where="AlgorithmSpecification",
                allowed=f"a ContainerEntrypoint, or the hyperparameters {_PROGRAM} and {_SUBMIT_DIRECTORY}",
            )

    @property
    def remote_channels(self) -> list[Channel]:
        """The channels whose data lie in a bucket."""
        return [channel for channel in self.input_data_config if channel.uri.startswith("s3://")]

    @property
    def user_hyper_parameters(self) -> dict[str, Any]:
        """The hyperparameters that are the script's own, decoded; not those that tell SageMaker what to run."""
        return {k: v for k, v in decoded(self.hyper_parameters).items() if is_users(k)}


def script_hyper_parameters(program: str, folder: Path, values: dict[str, Any]) -> dict[str, str]:
    """The ``HyperParameters`` of a script job, as SageMaker's Python SDK writes them."""
    return encoded(values) | {_PROGRAM: json.dumps(program), _SUBMIT_DIRECTORY: json.dumps(str(folder.absolute()))}


def file_uri(path: Path) -> str:
    """The ``file://`` address of a path."""
    return "file://" + quote(str(path.absolute()), errors="surrogateescape")


def local_path(uri: str) -> Path | None:
    """The path of a ``file://`` address or a plain path; None for any other address."""
    if uri.startswith("file://"):
        return Path(unquote(urlsplit(uri).path, errors="surrogateescape"))
    return Path(uri) if uri and "://" not in uri else None


def _in_words(error: ValidationError) -> UsageError:
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    count = error.error_count()
    more = f" ({count - 1} more)" if count > 1 else ""
    if first["type"] == "extra_forbidden":
        return UsageError(
            f"There is no field {first['loc'][-1]!r} in a training job.{more}",
            where=where,
            allowed="the fields of SageMaker's CreateTrainingJob",
        )
    if first["loc"][-1] == "[key]":
        return UsageError(
            f"{first['loc'][-2]!r:.80} cannot be a name there.{more}",
            where=".".join(str(part) for part in first["loc"][:-2]),
            allowed="1 to 256 characters (512 in Environment), none of them '=' or a null byte",
        )
    value = "" if first["type"] == "missing" else f" (given: {first.get('input')!r:.80})"
    return UsageError(f"The job's request cannot be used: {first['msg']}{value}.{more}", where=where)
