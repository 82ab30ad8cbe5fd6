"""``input/`` of a job: the configuration files, and a link a channel, as SageMaker's containers find them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from vizsla.errors import JobError
from vizsla.files import storage
from vizsla.jobs.handover import FETCHED
from vizsla.jobs.isolate import OPT_ML
from vizsla.jobs.script import HOST, arguments, input_data_config, variables
from vizsla.jobs.spec import Channel, TrainingJobSpec, local_path
from vizsla.parameters import spelled

_CHECKPOINTS = OPT_ML / "checkpoints"
_LONGEST_WORD = 128 << 10


def write_input(job: Path, spec: TrainingJobSpec) -> None:
    """Fill ``input/``.

    Raises
    ------
    JobError
        When a channel's data are not there, or not in a form that can be given, or two channels have one name but for
        upper and lower case.
    StorageError
        When the folder of the checkpoints cannot be made.
    MissingExtraError
        For a channel in a bucket, when nothing that speaks to S3 is installed.
    """
    _check_modes(spec)
    _check_length(job, spec)
    _check_channels(spec)
    _write_configuration(job / "input" / "config", spec)
    for channel in spec.input_data_config:
        _link_channel(job, channel, spec)
    for folder in ("data", "intermediate"):
        (job / "output" / folder).mkdir(exist_ok=True)
    _place_checkpoints(job, spec)
    _link_checkpoints(job, spec)


def _check_channels(spec: TrainingJobSpec) -> None:
    if spec.remote_channels:
        from vizsla import s3_session  # with all that reads data: only where it is wanted

        s3_session.obstore()
        for channel in spec.remote_channels:
            s3_session.parse(channel.uri)
    places: dict[str, str] = {}
    for channel in spec.input_data_config:
        name = channel.channel_name
        other = places.setdefault(name.upper(), name)
        if other is not name:
            raise JobError(
                f"The channels {other!r} and {name!r} would have the same variable, SM_CHANNEL_{name.upper()}.",
                where="InputDataConfig",
                allowed="names that differ in more than upper and lower case",
                do="rename one of them",
            )


def _write_configuration(folder: Path, spec: TrainingJobSpec) -> None:
    files: dict[str, Any] = {
        "hyperparameters.json": dict(spec.hyper_parameters),
        "inputdataconfig.json": input_data_config(spec),
        "resourceconfig.json": {"current_host": HOST, "hosts": [HOST], "network_interface_name": "lo"},
        "checkpointconfig.json": spec.checkpoint_config and spec.checkpoint_config.to_dict(),
        "debughookconfig.json": spec.debug_hook_config.to_dict() if spec.debug_hook_config else {},
        "tensorboardoutputconfig.json": spec.tensor_board_output_config,
        "profilerconfig.json": spec.profiler_config and spec.profiler_config.to_dict(),
    }
    for name, value in files.items():
        if value is not None:
            (folder / name).write_text(json.dumps(value, indent=2))


def _link_channel(job: Path, channel: Channel, spec: TrainingJobSpec) -> None:
    source, place = channel.path, job / "input" / "data" / channel.channel_name
    if source is None and spec.algorithm_specification.is_builtin:
        return
    if channel in spec.remote_channels:  # a folder to be filled when the job starts, at its place at once
        (job / FETCHED / channel.channel_name).mkdir(parents=True)
        place.symlink_to(Path("..", "..", FETCHED, channel.channel_name), target_is_directory=True)
        return
    if source is None:
        raise JobError(
            f"The data of channel {channel.channel_name!r} cannot be had from there.",
            where=channel.uri or "InputDataConfig.DataSource",
            allowed="a local folder or file, a file:// or an s3:// address",
            do="fetch the data first and name the local folder",
        )
    if not source.exists():
        raise JobError(
            f"There are no data for channel {channel.channel_name!r}.",
            where=source,
            do=f"correct the path in {spelled('data')}",
        )
    if source.is_dir():
        place.symlink_to(source.resolve(), target_is_directory=True)
    else:
        place.mkdir()
        (place / source.name).symlink_to(source.resolve())


def _place_checkpoints(job: Path, spec: TrainingJobSpec) -> None:
    """``CheckpointConfig.S3Uri``: a folder of this machine takes the place of ``checkpoints/``. What lies there is gone
    on from, and what is written is there at once."""
    address = spec.checkpoint_config.s3_uri if spec.checkpoint_config else None
    folder = local_path(address or "")
    if folder is None:
        return
    with storage(folder):
        folder.mkdir(parents=True, exist_ok=True)
    (job / "checkpoints").rmdir()
    (job / "checkpoints").symlink_to(folder.absolute(), target_is_directory=True)


def _link_checkpoints(job: Path, spec: TrainingJobSpec) -> None:
    """``CheckpointConfig.LocalPath``: another name below /opt/ml for ``checkpoints/``."""
    path = Path(spec.checkpoint_config.local_path if spec.checkpoint_config else _CHECKPOINTS)
    inside = path.relative_to(OPT_ML) if path.is_relative_to(OPT_ML) else None
    if inside is None or ".." in inside.parts or not inside.parts or (job / inside.parts[0]).exists():
        if path == _CHECKPOINTS:
            return
        raise JobError(
            f"Checkpoints cannot lie in {str(path)!r}.",
            where="CheckpointConfig.LocalPath",
            allowed="/opt/ml/checkpoints, or another new folder below /opt/ml",
        )
    place = job / inside
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(Path(*[".."] * (len(inside.parts) - 1), "checkpoints"), target_is_directory=True)


def _check_modes(spec: TrainingJobSpec) -> None:
    """A script that waits for a named pipe, or for what a manifest lists, must not find something else there."""
    by_all = "AlgorithmSpecification.TrainingInputMode"
    modes: list[tuple[str, str | None]] = [(by_all, spec.algorithm_specification.training_input_mode)]
    modes += [(f"InputDataConfig, channel {c.channel_name!r}", c.input_mode) for c in spec.input_data_config]
    for where, mode in modes:
        if mode not in (None, "File", "FastFile"):
            raise JobError(
                f"Input mode {mode!r} is not offered: channels are folders here.",
                where=where,
                allowed="File, FastFile",
                do="read the files below SM_CHANNEL_<NAME>",
            )
    for channel in spec.input_data_config:
        source = channel.data_source.s3_data_source
        if source is not None and source.s3_data_type != "S3Prefix":
            raise JobError(
                f"Channel {channel.channel_name!r} is a {source.s3_data_type}, which is not offered.",
                where="DataSource.S3DataSource.S3DataType",
                allowed="S3Prefix: a folder or file",
                do="name the folder of the files instead of their manifest",
            )


def _check_length(job: Path, spec: TrainingJobSpec) -> None:
    """What Linux gives no program: an argument or variable of over 128 KiB, or very much of them (execve(2))."""
    algorithm = spec.algorithm_specification
    words = [*(algorithm.container_entrypoint or []), *(algorithm.container_arguments or [])]
    words += arguments(dict(spec.hyper_parameters))
    words += [f"{name}={value}" for name, value in variables(job, spec, cpus=1, gpus=(), program="x.py").items()]
    sizes = [len(os.fsencode(text)) + 1 for text in words]
    inherited = sum(len(os.fsencode(f"{name}={value}")) + 1 for name, value in os.environ.items())
    if max(sizes) <= _LONGEST_WORD and sum(sizes) + inherited <= os.sysconf("SC_ARG_MAX") - _LONGEST_WORD:
        return
    raise JobError(
        f"The hyperparameters are too long to be given to a program: {max(sizes):,} bytes in one variable.",
        where="HyperParameters",
        allowed=f"{_LONGEST_WORD:,} bytes for all of them: SM_TRAINING_ENV holds them twice",
        do="put long values into a file in a channel, or beside the script",
    )
