"""A client's document as it runs on this machine: ``s3://`` addresses become the folders that buckets are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from vizsla.aws import images
from vizsla.aws.context import Context
from vizsla.aws.errors import AwsError, invalid
from vizsla.aws.s3.keys import names_of
from vizsla.aws.s3.places import check_bucket_name, ensure_bucket, path_of, split
from vizsla.jobs.hyperparameters import decoded
from vizsla.jobs.spec import file_uri, local_path

_ROLE = re.compile(r"arn:aws[a-z\-]*:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+")
_OUTPUT = re.compile(r"s3://([^/]+)/?(.*)")
_PROGRAM, _SUBMIT_DIRECTORY = "sagemaker_program", "sagemaker_submit_directory"
_DRIVERS, _CODE = "sm_drivers", "code"
_DRIVERS_SETTINGS = "sourcecode.json"
_DATA = "/opt/ml/input/data/"


def local_address(ctx: Context, address: str) -> str:
    """The ``file://`` address of what an ``s3://`` address means here; any other as it is.

    Raises
    ------
    AwsError
        When there is no such bucket on this machine.
    """
    if not address.startswith("s3://"):
        return address
    try:
        return file_uri(path_of(ctx.home, address))
    except AwsError as error:
        if ctx.pass_through and error.code == "NoSuchBucket":
            return address
        raise invalid(f"{error.message} ({address})") from error


def check_output(address: str, member: str) -> None:
    """That what a job writes could lie there.

    Raises
    ------
    AwsError
        In AWS's words.
    """
    if address.startswith("file://"):
        return
    if not _OUTPUT.fullmatch(address):
        raise invalid(
            f"1 validation error detected: Value '{address}' at '{member}' failed to satisfy constraint: "
            f"Member must satisfy regular expression pattern: {_OUTPUT.pattern}"
        )
    bucket, key = split(address)
    try:
        check_bucket_name(bucket)
        names_of(key)
    except AwsError as error:
        raise invalid(f"{error.message} ({member} {address})") from error


def output_address(ctx: Context, address: str, member: str) -> str:
    """The same as :func:`local_address` for what is written there: a bucket that is not here is made.

    Raises
    ------
    AwsError
        When nothing can be called so.
    """
    check_output(address, member)
    if address.startswith("s3://"):
        ensure_bucket(ctx.home, split(address)[0])
    return local_address(ctx, address)


def local_file(ctx: Context, address: str) -> Path:
    """The path of what an address means here.

    Raises
    ------
    AwsError
        When nothing is there.
    """
    path = local_path(local_address(ctx, address))
    if path is None or not path.exists():
        raise invalid(f"Could not find model data at {address}.")
    return path


def model_data(container: dict[str, Any]) -> str | None:
    """The address of a container's model; None where it names none."""
    source = ((container.get("ModelDataSource") or {}).get("S3DataSource") or {}).get("S3Uri")
    return container.get("ModelDataUrl") or source


def checked_role(request: dict[str, Any], field: str = "RoleArn") -> None:
    """That a role could be one.

    Raises
    ------
    AwsError
        In AWS's words.
    """
    role = request.get(field)
    if role is not None and not _ROLE.fullmatch(str(role)):
        member = field[:1].lower() + field[1:]
        raise invalid(
            f"1 validation error detected: Value '{role}' at '{member}' failed to satisfy constraint: "
            f"Member must satisfy regular expression pattern: ^{_ROLE.pattern}$"
        )


def training_document(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """A CreateTrainingJob request as this machine runs it.

    Raises
    ------
    AwsError
        When a bucket is not here, or nothing says what to run.
    """
    document: dict[str, Any] = json.loads(json.dumps(request))
    document.pop("EnableSageMakerMetricsTimeSeries", None)
    for channel in document.get("InputDataConfig") or []:
        source = (channel.get("DataSource") or {}).get("S3DataSource")
        if source:
            source["S3Uri"] = local_address(ctx, source["S3Uri"])
    for config in ("OutputDataConfig", "DebugHookConfig", "ProfilerConfig"):
        if address := (document.get(config) or {}).get("S3OutputPath"):
            check_output(address, f"{config[0].lower()}{config[1:]}.s3OutputPath")
    checkpoints = document.get("CheckpointConfig") or {}
    if checkpoints.get("S3Uri"):
        checkpoints["S3Uri"] = output_address(ctx, checkpoints["S3Uri"], "checkpointConfig.s3Uri")
    values = document.setdefault("HyperParameters", {})
    drivers = _channel(document, _DRIVERS)
    if _PROGRAM in values:
        folder = str(decoded(values).get(_SUBMIT_DIRECTORY) or "")
        values[_SUBMIT_DIRECTORY] = json.dumps(_from_channel(document, folder) or local_address(ctx, folder))
        if drivers is not None:
            _run_without_drivers(document, str(decoded(values)[_PROGRAM]))
    elif drivers is not None:
        _run_source_code(document, drivers)
    elif not document.get("AlgorithmSpecification", {}).get("ContainerEntrypoint"):
        _run_image(ctx, document)
    return document


def processing_document(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """A CreateProcessingJob request as this machine runs it: the image is a name, the command is the request's own.

    Raises
    ------
    AwsError
        When a bucket is not here, or nothing says what to run.
    """
    document: dict[str, Any] = json.loads(json.dumps(request))
    for entry in document.get("ProcessingInputs") or []:
        if source := entry.get("S3Input"):
            source["S3Uri"] = local_address(ctx, source["S3Uri"])
    for entry in (document.get("ProcessingOutputConfig") or {}).get("Outputs") or []:
        if target := entry.get("S3Output"):
            output_address(ctx, target["S3Uri"], "processingOutputConfig.outputs.s3Output.s3Uri")
    application = document["AppSpecification"]
    if not application.get("ContainerEntrypoint"):
        image = _image(ctx, application.get("ImageUri"))
        runner = "sh" if image.program.endswith(".sh") else "python"
        application["ContainerEntrypoint"] = [runner, str(Path(image.folder, image.program))]
    return document


def _channel(document: dict[str, Any], name: str) -> Path | None:
    for channel in document.get("InputDataConfig") or []:
        if channel["ChannelName"] == name:
            return local_path(channel["DataSource"]["S3DataSource"]["S3Uri"])
    return None


def _from_channel(document: dict[str, Any], folder: str) -> str | None:
    """Code that a job without network has as a channel: ``/opt/ml/input/data/code/sourcedir.tar.gz``."""
    if not folder.startswith(_DATA):
        return None
    name, _, inside = folder.removeprefix(_DATA).partition("/")
    channel = _channel(document, name)
    return None if channel is None else str(channel if channel.is_file() else channel / inside)


def _run_source_code(document: dict[str, Any], drivers: Path) -> None:
    """Script mode of version 3 of the SDK: its shell script and drivers are for a container; here they are not run."""
    code = _channel(document, _CODE)
    try:
        settings = json.loads((drivers / _DRIVERS_SETTINGS).read_bytes())
        program = settings["entry_script"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise invalid(f"The channel {_DRIVERS} holds no {_DRIVERS_SETTINGS} with an entry_script: {error}.") from error
    if program is None or code is None:
        raise invalid(
            "SourceCode.command is not run on this machine: its paths are those of a container. Name an entry_script."
        )
    document["HyperParameters"] |= {_PROGRAM: json.dumps(program), _SUBMIT_DIRECTORY: json.dumps(str(code))}
    _run_without_drivers(document, program)


def _run_without_drivers(document: dict[str, Any], program: str) -> None:
    """The script itself, with the variables that the drivers would have set."""
    for field in ("ContainerEntrypoint", "ContainerArguments"):
        document["AlgorithmSpecification"].pop(field, None)
    document["Environment"] = {
        "SM_SOURCE_DIR": "/opt/ml/input/data/code",
        "SM_ENTRY_SCRIPT": program,
        "SM_OUTPUT_FAILURE": "/opt/ml/output/failure",
        "SM_HOST_COUNT": "1",
        "SM_CURRENT_HOST_RANK": "0",
        "SM_MASTER_PORT": "7777",
    } | (document.get("Environment") or {})


def _run_image(ctx: Context, document: dict[str, Any]) -> None:
    """What the table says of an image that brings its own entry point."""
    image = _image(ctx, (document.get("AlgorithmSpecification") or {}).get("TrainingImage"))
    document["HyperParameters"] |= {
        _PROGRAM: json.dumps(image.program),
        _SUBMIT_DIRECTORY: json.dumps(image.folder),
    }


def _image(ctx: Context, name: str | None) -> images.Image:
    image = None if name is None else images.find(ctx.state, str(name))
    if image is None:
        raise invalid(
            f"Nobody knows what the image {name!r} runs: there are no containers here, and the request names no "
            f"script. Say it once: vizsla aws image add {name} FOLDER SCRIPT"
        )
    return image
