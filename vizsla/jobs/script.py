"""Script mode: a user's own training script, run the way SageMaker's training toolkit does.

Hyperparameters become ``--name value`` arguments, everything else the ``SM_*`` variables of the toolkit
(github.com/aws/sagemaker-training-toolkit, ENVIRONMENT_VARIABLES.md), and the job's directory is ``/opt/ml``.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from vizsla.errors import JobError
from vizsla.jobs import overlay, own_package
from vizsla.jobs.hyperparameters import decoded, is_number, is_users
from vizsla.jobs.isolate import OPT_ML
from vizsla.jobs.spec import TrainingJobSpec
from vizsla.parameters import spelled
from vizsla.settings import settings
from vizsla.version import PACKAGE, python_path

_HOST = "algo-1"
_LOG_LEVEL = 20  # logging.INFO, the toolkit's default
_CHECKPOINTS = OPT_ML / "checkpoints"
_SHELLS = ("sh", "bash", "dash", "ksh", "zsh")
_LONGEST_WORD = 128 << 10
FETCHED = "input/fetched"
"""Where in a job's directory the channels are that were fetched from a bucket; ``input/data`` links there."""
COMPATIBILITY = PACKAGE / "compat"
"""On the path of every job: what user scripts import from AWS (``smdebug``)."""
_STARTUP = PACKAGE / "jobs" / "startup"
"""On the path of every script: what its Python imports before it."""


def arguments(hyper_parameters: dict[str, str]) -> list[str]:
    """Hyperparameters as command line arguments, as the toolkit makes them (its mapping.py, ``to_cmd_args``).

    ``--name value``, or ``-n value`` for a name of one letter. One thing differs: a number keeps its spelling.
    """
    values = decoded(hyper_parameters)
    result: list[str] = []
    for name in sorted(values):
        if is_users(name):
            value, text = values[name], hyper_parameters[name]
            result += [f"-{name}" if len(name) == 1 else f"--{name}", _as_argument(value, text)]
    return result


def _as_argument(value: Any, text: str) -> str:
    if isinstance(value, dict):
        return ",".join(f"{k}={v}" for k, v in sorted(value.items()))
    return text if is_number(value) else "" if value is None else str(value)  # True, not true


def _as_variable(value: Any, text: str) -> str:
    if isinstance(value, str) or value is None:
        return value or ""
    return text if is_number(value) else json.dumps(value, sort_keys=True, separators=(",", ":"))


def command(program: str, spec: TrainingJobSpec, code: Path, python: Path) -> list[str]:
    """What is executed, in the folder ``code``."""
    runner = _shell(code / program) if program.endswith(".sh") else [str(python), "-u"]
    return [*runner, program, *arguments(dict(spec.hyper_parameters))]


def is_shell(argv: list[str]) -> bool:
    """Whether a shell runs it, perhaps by way of env: one hands no signal on to what it runs."""
    return any(Path(word).name in _SHELLS for word in argv[:2])


def prepared(argv: list[str], spec: TrainingJobSpec, code: Path, environment: Path) -> list[str]:
    """The command that fetches the channels that lie in a bucket, installs the requirements below the job's own
    ``environment`` and a package into it, and becomes ``argv``."""
    is_python = spec.script is not None and spec.script[1].endswith(".py")
    if is_python and ((code / own_package.SETUP).is_file() or own_package.hint(code) is not None):
        argv = before(argv, "own_package", str(overlay.program(environment)))
    if (code / "requirements.txt").is_file():
        argv = before(argv, "environment", str(environment), "requirements.txt")
    if spec.remote_channels and not spec.algorithm_specification.is_builtin:
        argv = before(argv, "channels")
    return argv


def before(argv: list[str], module: str, *words: str) -> list[str]:
    """The command of a module of :mod:`vizsla.jobs` that becomes ``argv`` when it is done.

    It looks neither at the folder it runs in nor at PYTHONPATH: a user's ``queue.py`` must not stand for Python's own.
    """
    boot = f"import sys; sys.path.insert(0, sys.argv[1]); from vizsla.jobs.{module} import main; main(sys.argv[2:])"
    return [sys.executable, "-EP", "-c", boot, str(PACKAGE.parent), *words, "--", *argv]


def _shell(script: Path) -> list[str]:
    """What the script's first line asks for, such as bash."""
    try:
        with open(script, "rb") as file:
            first = file.readline(256)
    except OSError:  # it was taken away from a folder that is linked: the shell says so
        first = b""
    return os.fsdecode(first[2:]).split() if first.startswith(b"#!") else ["/bin/sh"]


def variables(
    job: Path,
    spec: TrainingJobSpec,
    *,
    cpus: int,
    gpus: tuple[int, ...] | None,
    program: str = "",
    environment: Path | None = None,
) -> dict[str, str]:
    """The environment of a job, besides what the controller's own environment gives.

    Parameters
    ----------
    job:
        The job's directory.
    cpus:
        Threads that the job may use.
    gpus:
        The GPUs it may use; None leaves all as they are.
    environment:
        The environment that it may install packages into (:mod:`vizsla.jobs.overlay`).
    """
    channels = [channel.channel_name for channel in spec.input_data_config]
    places = {name: str(job / "input" / "data" / name) for name in channels}
    values = spec.user_hyper_parameters
    module = Path(program).with_suffix("").as_posix().replace("/", ".") if program else ""
    code = str(job / "code")
    resources = {
        "current_host": _HOST,
        "current_instance_type": spec.resource_config.instance_type or "local",
        "current_group_name": "homogeneousCluster",
        "hosts": [_HOST],
        "network_interface_name": "lo",
    }
    inputs = input_data_config(spec)
    user_arguments = arguments(dict(spec.hyper_parameters))
    known: dict[str, Any] = {
        "SM_HOSTS": [_HOST],
        "SM_CURRENT_HOST": _HOST,
        "SM_CURRENT_INSTANCE_TYPE": resources["current_instance_type"],
        "SM_CURRENT_INSTANCE_GROUP": resources["current_group_name"],
        "SM_CURRENT_INSTANCE_GROUP_HOSTS": [_HOST],
        "SM_INSTANCE_GROUPS": [resources["current_group_name"]],
        "SM_DISTRIBUTION_INSTANCE_GROUPS": [],
        "SM_IS_HETERO": False,
        "SM_MASTER_ADDR": _HOST,
        "SM_NETWORK_INTERFACE_NAME": "lo",
        "SM_NUM_CPUS": cpus,
        "SM_NUM_GPUS": len(gpus or ()),
        "SM_NUM_NEURONS": 0,
        "SM_CHANNELS": sorted(channels),
        "SM_INPUT_DIR": str(job / "input"),
        "SM_INPUT_CONFIG_DIR": str(job / "input" / "config"),
        "SM_INPUT_DATA_CONFIG": inputs,
        "SM_MODEL_DIR": str(job / "model"),
        "SM_OUTPUT_DIR": str(job / "output"),
        "SM_OUTPUT_DATA_DIR": str(job / "output" / "data"),
        "SM_OUTPUT_INTERMEDIATE_DIR": str(job / "output" / "intermediate"),
        "SM_CHECKPOINT_DIR": str(job / "checkpoints"),
        "SM_RESOURCE_CONFIG": resources,
        "SM_HPS": values,
        "SM_USER_ARGS": user_arguments,
        "SM_LOG_LEVEL": _LOG_LEVEL,
        "SM_FRAMEWORK_MODULE": "",
        "SM_FRAMEWORK_PARAMS": {},
        "SM_MODULE_NAME": module,
        "SM_MODULE_DIR": code,
        "SM_USER_ENTRY_POINT": program,
    }
    known["SM_TRAINING_ENV"] = _training_environment(known, job, places)
    result = {name: value if isinstance(value, str) else json.dumps(value) for name, value in known.items()}
    result |= {f"SM_CHANNEL_{name.upper()}": place for name, place in places.items()}
    result |= {
        f"SM_HP_{spelt}": _as_variable(value, spec.hyper_parameters[name])
        for name, value in values.items()
        for spelt in (name.upper().replace("-", "_"), name.upper())  # the toolkit's own is the second
    }
    result |= {name: str(cpus) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "VIZSLA_THREADS")}
    if gpus is not None:
        result["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, gpus))
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    found = {"PATH": path} if environment is None else overlay.variables(environment, path)
    asked = dict(spec.environment or {})
    first = [str(_STARTUP), str(COMPATIBILITY)] if program else [str(COMPATIBILITY)]
    searched = [code if program else "", asked.pop("PYTHONPATH", ""), os.environ.get("PYTHONPATH", "")]
    return result | {
        "VIZSLA_JOB_DIR": str(job),
        "TRAINING_JOB_NAME": job.name,
        "SMDEBUG_CONFIG_FILE_PATH": str(job / "input" / "config" / "debughookconfig.json"),
        "PYTHONPATH": python_path(*first, *searched),
        "PYTHONUNBUFFERED": "1",
        **found,
        "VIZSLA_CACHE": str(settings().cache.absolute()),
        **asked,
    }


def _training_environment(known: dict[str, Any], job: Path, places: dict[str, str]) -> dict[str, Any]:
    """The toolkit's ``SM_TRAINING_ENV``: the same facts in one JSON object, in lower case."""
    facts = {name.removeprefix("SM_").lower(): value for name, value in known.items()}
    facts["hyperparameters"] = facts.pop("hps")
    facts["channel_input_dirs"] = places
    return facts | {
        "job_name": job.name,
        "is_master": True,
        "master_hostname": _HOST,
        "additional_framework_parameters": {},
    }


def input_data_config(spec: TrainingJobSpec) -> dict[str, Any]:
    """``inputdataconfig.json``: SageMaker's developer guide, How Amazon SageMaker provides training information."""
    return {
        channel.channel_name: {
            "TrainingInputMode": "File",
            "S3DistributionType": "FullyReplicated",
            "RecordWrapperType": channel.record_wrapper_type or "None",
            **({"ContentType": channel.content_type} if channel.content_type else {}),
        }
        for channel in spec.input_data_config
    }


def _link_checkpoints(job: Path, spec: TrainingJobSpec) -> None:
    """``CheckpointConfig.LocalPath``: another name below /opt/ml for ``checkpoints/``."""
    asked = Path(spec.checkpoint_config.local_path if spec.checkpoint_config else _CHECKPOINTS)
    inside = asked.relative_to(OPT_ML) if asked.is_relative_to(OPT_ML) else None
    if inside is None or ".." in inside.parts or not inside.parts or (job / inside.parts[0]).exists():
        if asked == _CHECKPOINTS:
            return
        raise JobError(
            f"Checkpoints cannot lie in {str(asked)!r}.",
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
    given = [*(algorithm.container_entrypoint or []), *(algorithm.container_arguments or [])]
    given += arguments(dict(spec.hyper_parameters))
    given += [f"{name}={value}" for name, value in variables(job, spec, cpus=1, gpus=(), program="x.py").items()]
    sizes = [len(os.fsencode(text)) + 1 for text in given]
    inherited = sum(len(os.fsencode(f"{name}={value}")) + 1 for name, value in os.environ.items())
    if max(sizes) <= _LONGEST_WORD and sum(sizes) + inherited <= os.sysconf("SC_ARG_MAX") - _LONGEST_WORD:
        return
    raise JobError(
        f"The hyperparameters are too long to be given to a program: {max(sizes):,} bytes in one variable.",
        where="HyperParameters",
        allowed=f"{_LONGEST_WORD:,} bytes for all of them: SM_TRAINING_ENV holds them twice",
        do="put long values into a file in a channel, or beside the script",
    )


def write_input(job: Path, spec: TrainingJobSpec) -> None:
    """Fill ``input/``: the configuration files and a link a channel.

    Raises
    ------
    JobError
        When a channel's data are not there, or not in a form that can be given, or two channels have one name but for
        upper and lower case.
    MissingExtraError
        For a channel in a bucket, when nothing that speaks to S3 is installed.
    """
    _check_modes(spec)
    _check_length(job, spec)
    if spec.remote_channels:
        from vizsla.data import s3_session  # with all that reads data: only where it is wanted

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
    config = job / "input" / "config"
    files: dict[str, Any] = {
        "hyperparameters.json": dict(spec.hyper_parameters),
        "inputdataconfig.json": input_data_config(spec),
        "resourceconfig.json": {"current_host": _HOST, "hosts": [_HOST], "network_interface_name": "lo"},
        "checkpointconfig.json": spec.checkpoint_config and spec.checkpoint_config.to_dict(),
        "debughookconfig.json": spec.debug_hook_config.to_dict() if spec.debug_hook_config else {},
        "tensorboardoutputconfig.json": spec.tensor_board_output_config,
        "profilerconfig.json": spec.profiler_config and spec.profiler_config.to_dict(),
    }
    for name, value in files.items():
        if value is not None:
            (config / name).write_text(json.dumps(value, indent=2))
    for channel in spec.input_data_config:
        source, place = channel.path, job / "input" / "data" / channel.channel_name
        if source is None and spec.algorithm_specification.is_builtin:
            continue
        if channel in spec.remote_channels:  # a folder to be filled when the job starts, at its place at once
            (job / FETCHED / channel.channel_name).mkdir(parents=True)
            place.symlink_to(Path("..", "..", FETCHED, channel.channel_name), target_is_directory=True)
            continue
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
    for folder in ("data", "intermediate"):
        (job / "output" / folder).mkdir(exist_ok=True)
    _link_checkpoints(job, spec)
