"""What the supervisor of an attempt is told to run, made on the machine where it runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from vizsla.jobs import overlay, script, source_code
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.handover import ENVIRONMENT, GRACE_SECONDS, Command
from vizsla.jobs.logs import HEAD_BYTES, TAIL_BYTES
from vizsla.jobs.profiled import sampling_interval
from vizsla.jobs.spec import TrainingJobSpec


def command_of(
    job: JobDirectory,
    spec: TrainingJobSpec,
    attempt: int,
    *,
    cpus: int,
    gpus: tuple[int, ...] | None,
    log_bytes: tuple[int, int] = (HEAD_BYTES, TAIL_BYTES),
    slots: Sequence[int] = (),
    ends_with_parent: bool = False,
) -> Command:
    """The command of a job; what is not the built-in training runs in an environment of its own, which is made.

    Parameters
    ----------
    attempt:
        Its number, from 1.
    cpus, gpus, slots:
        What the job was given; see :func:`vizsla.jobs.script.variables` and :class:`vizsla.jobs.slots.Share`.
    log_bytes:
        How much of the beginning and of the end of the log are kept.
    ends_with_parent:
        See :class:`~vizsla.jobs.handover.Command`.
    """
    user = spec.script
    program = user[1] if user else ""
    algorithm = spec.algorithm_specification
    python, environment = Path(sys.executable), None
    if not algorithm.is_builtin:
        environment = job.path.absolute() / ENVIRONMENT
        python = overlay.make(environment)
    if user:
        argv = script.command(program, spec, job.code, python)
    else:
        argv = [*(algorithm.container_entrypoint or []), *(algorithm.container_arguments or [])]
        argv[0] = str(python) if argv[0] == "python" else argv[0]
    shell = script.is_shell(argv)
    if job.kind == "process":
        argv = script.before(argv, "processing_folders")
    if environment is not None:
        argv = script.prepared(argv, spec, job.code, environment)
    condition = spec.stopping_condition
    return Command(
        attempt=attempt,
        argv=argv,
        shell=shell,
        folder=str(job.code if user else job.path),
        environment=script.variables(job.path, spec, cpus=cpus, gpus=gpus, program=program, environment=environment),
        metrics=[(definition.name, definition.regex) for definition in algorithm.metric_definitions or []],
        limit=None if condition is None else condition.max_runtime_in_seconds,
        grace=GRACE_SECONDS,
        opt_ml=job.kind == "process"
        or (user is not None and (source_code.names_opt_ml(job.code) or "/opt/ml" in str(spec.to_dict()))),
        log_head=log_bytes[0],
        log_tail=log_bytes[1],
        pack=spec.output_data_config is None or spec.output_data_config.compression_type != "NONE",
        slots=list(slots),
        sampled=sampling_interval(spec),
        ends_with_parent=ends_with_parent,
    )
