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

from vizsla.jobs import overlay, own_package
from vizsla.jobs.hyperparameters import decoded, is_number, is_users
from vizsla.jobs.spec import TrainingJobSpec
from vizsla.settings import settings
from vizsla.version import PACKAGE, python_path

HOST = "algo-1"
_LOG_LEVEL = 20  # logging.INFO, the toolkit's default
_SHELLS = ("sh", "bash", "dash", "ksh", "zsh")
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
    result = _toolkit_variables(job, spec, cpus=cpus, gpus=len(gpus or ()), program=program)
    result |= {name: str(cpus) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "VIZSLA_THREADS")}
    if gpus is not None:
        result["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, gpus))
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    paths = {"PATH": path} if environment is None else overlay.variables(environment, path)
    own = dict(spec.environment or {})
    first = [str(_STARTUP), str(COMPATIBILITY)] if program else [str(COMPATIBILITY)]
    searched = [str(job / "code") if program else "", own.pop("PYTHONPATH", ""), os.environ.get("PYTHONPATH", "")]
    return result | {
        "VIZSLA_JOB_DIR": str(job),
        "TRAINING_JOB_NAME": job.name,
        "SMDEBUG_CONFIG_FILE_PATH": str(job / "input" / "config" / "debughookconfig.json"),
        "PYTHONPATH": python_path(*first, *searched),
        "PYTHONUNBUFFERED": "1",
        **paths,
        "VIZSLA_CACHE": settings().cache_address,
        **own,
    }


def _toolkit_variables(job: Path, spec: TrainingJobSpec, *, cpus: int, gpus: int, program: str) -> dict[str, str]:
    """The toolkit's own ``SM_*`` variables."""
    channels = [channel.channel_name for channel in spec.input_data_config]
    places = {name: str(job / "input" / "data" / name) for name in channels}
    values = spec.user_hyper_parameters
    module = Path(program).with_suffix("").as_posix().replace("/", ".") if program else ""
    resources = {
        "current_host": HOST,
        "current_instance_type": spec.resource_config.instance_type or "local",
        "current_group_name": "homogeneousCluster",
        "hosts": [HOST],
        "network_interface_name": "lo",
    }
    inputs = input_data_config(spec)
    user_arguments = arguments(dict(spec.hyper_parameters))
    sm: dict[str, Any] = {
        "SM_HOSTS": [HOST],
        "SM_CURRENT_HOST": HOST,
        "SM_CURRENT_INSTANCE_TYPE": resources["current_instance_type"],
        "SM_CURRENT_INSTANCE_GROUP": resources["current_group_name"],
        "SM_CURRENT_INSTANCE_GROUP_HOSTS": [HOST],
        "SM_INSTANCE_GROUPS": [resources["current_group_name"]],
        "SM_DISTRIBUTION_INSTANCE_GROUPS": [],
        "SM_IS_HETERO": False,
        "SM_MASTER_ADDR": HOST,
        "SM_NETWORK_INTERFACE_NAME": "lo",
        "SM_NUM_CPUS": cpus,
        "SM_NUM_GPUS": gpus,
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
        "SM_MODULE_DIR": str(job / "code"),
        "SM_USER_ENTRY_POINT": program,
    }
    sm["SM_TRAINING_ENV"] = _training_environment(sm, job, places)
    result = {name: value if isinstance(value, str) else json.dumps(value) for name, value in sm.items()}
    result |= {f"SM_CHANNEL_{name.upper()}": place for name, place in places.items()}
    result |= {
        f"SM_HP_{spelt}": _as_variable(value, spec.hyper_parameters[name])
        for name, value in values.items()
        for spelt in (name.upper().replace("-", "_"), name.upper())  # the toolkit's own is the second
    }
    return result


def _training_environment(sm: dict[str, Any], job: Path, places: dict[str, str]) -> dict[str, Any]:
    """The toolkit's ``SM_TRAINING_ENV``: the same facts in one JSON object, in lower case."""
    facts = {name.removeprefix("SM_").lower(): value for name, value in sm.items()}
    facts["hyperparameters"] = facts.pop("hps")
    facts["channel_input_dirs"] = places
    return facts | {
        "job_name": job.name,
        "is_master": True,
        "master_hostname": HOST,
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
