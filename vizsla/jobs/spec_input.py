"""The spec of a job from what a person types or a program says: channels, metric definitions, a JSON file."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vizsla.errors import JobError, UsageError
from vizsla.jobs.envelope import Envelope
from vizsla.jobs.hyperparameter_input import HyperparameterInput, read_hyperparameters
from vizsla.jobs.spec import (
    BUILTIN,
    CHANNEL_PATTERN,
    AlgorithmSpecification,
    Channel,
    MetricDefinition,
    ResourceConfig,
    RuleConfiguration,
    StoppingCondition,
    TrainingJobSpec,
    script_hyper_parameters,
)
from vizsla.parameters import spelled

DEFAULT_CHANNEL = "training"


def channels(texts: Sequence[str]) -> list[Channel]:
    """Channels from ``name=path``; a path alone is the channel ``training``.

    Raises
    ------
    UsageError
        For a name that is not allowed or given twice, or a path where nothing is.
    """
    result: dict[str, Channel] = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not equals or not re.fullmatch(CHANNEL_PATTERN, name):
            name, path = DEFAULT_CHANNEL, text
        if name in result:
            raise UsageError(f"Channel {name!r} is given twice.", parameter="data", allowed="each channel once")
        result[name] = channel(name, path)
    return list(result.values())


def part_channels(texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """Channels, and the rest, of texts that hold both: ``train=photos/train val=photos/val lr=0.1..1``.

    A ``name=path`` is a channel where a folder is at the path, or where it is the address of a bucket. The first text
    is one unless it can be nothing but a value.
    """
    parts: tuple[list[str], list[str]] = ([], [])
    for at, text in enumerate(texts):
        name, equals, place = text.partition("=")
        is_place = place.startswith(("s3://", "file://")) or bool(place and Path(place).is_dir())
        first = at == 0 and (not equals or os.sep in place or Path(place).is_file())
        named = bool(re.fullmatch(CHANNEL_PATTERN, name))
        parts[0 if first or (is_place and named) else 1].append(text)
    return parts


def names_no_place(text: str) -> bool:
    """Whether a ``name=value`` looks like a channel's, and nothing is there."""
    _, equals, place = text.partition("=")
    return bool(equals) and os.sep in place and "," not in place and not Path(place).exists()


def channel(name: str, place: str) -> Channel:
    """The channel ``name`` with the data at a path or an address.

    Raises
    ------
    UsageError
        For a name that is not allowed, or a path where nothing is.
    """
    if not re.fullmatch(CHANNEL_PATTERN, name) or len(name) > 64:
        raise UsageError(f"{name!r} cannot be the name of a channel.", allowed="1 to 64 letters, digits, '.', '_', '-'")
    if "://" in place:
        return Channel.model_validate({"ChannelName": name, "DataSource": {"S3DataSource": {"S3Uri": place}}})
    if not place or not Path(place).exists():
        raise UsageError(
            f"There are no data for channel {name!r}.", where=place or "an empty path", do="correct the path"
        )
    return Channel.of_path(name, Path(place))


def with_actions(spec: TrainingJobSpec, texts: Sequence[str]) -> TrainingJobSpec:
    """The spec with what follows when a rule of the debugger speaks, from ``RULE=ACTION[:VALUE]``.

    Raises
    ------
    UsageError
        For a rule or an action that there is not.
    """
    if not texts:
        return spec
    from vizsla.debugging.configuration import action_configurations

    own = [RuleConfiguration.model_validate(entry) for entry in action_configurations(texts)]
    return spec.model_copy(update={"debug_rule_configurations": [*(spec.debug_rule_configurations or []), *own]})


def metric_definitions(texts: Sequence[str]) -> list[MetricDefinition]:
    """Definitions from ``name=regular expression``; the first ``=`` parts them.

    Raises
    ------
    UsageError
        For an expression that cannot be read or has no group.
    """
    for text in texts:
        if "=" not in text:
            raise _no_metric(text, "it has no '='")
    parted = (text.partition("=") for text in texts)
    return [metric_definition(name, regex) for name, _, regex in parted]


def metric_definition(name: str, regex: str) -> MetricDefinition:
    """The metric ``name``, whose values are the first group of ``regex`` in the log.

    Raises
    ------
    UsageError
        For an expression that cannot be read or has no group.
    """
    if not name:
        raise _no_metric(f"={regex}", "it has no name")
    try:
        groups = re.compile(regex).groups
    except re.error as error:
        raise UsageError(f"The regular expression of metric {name!r} cannot be read: {error}.", where=regex) from error
    if not groups:
        raise _no_metric(f"{name}={regex}", "its regular expression has no group")
    return MetricDefinition(name=name, regex=regex)


def _no_metric(text: str, why: str) -> UsageError:
    return UsageError(
        f"'{text:.120}' is not a metric: {why}.",
        parameter="metrics",
        allowed="name=regular expression, with a group around the number: 'loss=Testing Loss: ([0-9.]+)'",
    )


def script_spec(
    script: str,
    *,
    source_dir: Path | None = None,
    data: Sequence[Channel] = (),
    hyperparameters: HyperparameterInput = (),
    metrics: Sequence[MetricDefinition] = (),
    instance_type: str = "local",
    minutes: float | None = None,
    name: str | None = None,
) -> TrainingJobSpec:
    """A job that runs a user's script.

    Raises
    ------
    UsageError
        For anything that cannot be meant.
    JobError
        When the script does not exist.
    """
    program, folder = script, source_dir
    if folder is None:
        folder, program = Path(script).parent, Path(script).name
        if not os.path.isfile(script):
            raise JobError(
                f"There is no script {script!r}.", where=Path(script).absolute(), do=f"correct {spelled('script')}"
            )
    return _spec(
        name,
        AlgorithmSpecification(metric_definitions=list(metrics) or None),
        script_hyper_parameters(program, folder, read_hyperparameters(hyperparameters)),
        list(data),
        instance_type,
        minutes,
    )


def typed_script_spec(
    script: str,
    source_dir: Path | None,
    data: Sequence[str],
    hyperparameters: Sequence[str],
    metrics: Sequence[str],
    **others: Any,
) -> TrainingJobSpec:
    """:func:`script_spec`, from channels, hyperparameters and metrics as they are typed."""
    return script_spec(
        script,
        source_dir=source_dir,
        data=channels(data),
        hyperparameters=hyperparameters,
        metrics=metric_definitions(metrics),
        **others,
    )


def builtin_spec(
    source: str, hyperparameters: HyperparameterInput, instance_type: str, minutes: float | None, name: str | None
) -> TrainingJobSpec:
    """A job that runs the built-in training on a folder of pictures or an address; ``weights`` is a path.

    ``minutes`` is a hyperparameter there: within them the training comes to an honest result, and is not stopped.

    Raises
    ------
    UsageError
        For anything that cannot be meant.
    """
    values = read_hyperparameters(hyperparameters) | ({} if minutes is None else {"minutes": minutes})
    texts = [source, *([f"weights={values.pop('weights')}"] if "weights" in values else [])]
    return _spec(
        name,
        AlgorithmSpecification(container_entrypoint=list(BUILTIN)),
        {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()},
        channels(texts),
        instance_type,
    )


def read_spec(path: Path, name: str | None) -> TrainingJobSpec:
    """The CreateTrainingJob document in a file, or of a ``job.json``; ``name`` takes the place of its own name.

    Raises
    ------
    UsageError
        When it cannot be read.
    """
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"The request cannot be read: {error}.", where=path, allowed="a JSON file") from error
    if not isinstance(document, dict):
        raise UsageError("The request is not a JSON object.", where=path)
    if "kind" in document:  # the job.json of a training
        document = Envelope.of(document).document
    return TrainingJobSpec.read(document | ({"TrainingJobName": name} if name else {}))


def _spec(
    name: str | None,
    algorithm: AlgorithmSpecification,
    values: dict[str, str],
    inputs: list[Channel],
    instance_type: str,
    minutes: float | None = None,
) -> TrainingJobSpec:
    if minutes is not None and not minutes > 0:
        raise UsageError(
            f"minutes={minutes!r} leaves no time.", parameter="minutes", allowed="a number above 0, such as 5"
        )
    seconds = None if minutes is None else math.ceil(60 * minutes)
    draft = TrainingJobSpec.model_construct(
        training_job_name=name,
        algorithm_specification=algorithm,
        hyper_parameters=values,
        input_data_config=inputs,
        resource_config=ResourceConfig(instance_type=instance_type),
        stopping_condition=None if seconds is None else StoppingCondition(max_runtime_in_seconds=seconds),
    )
    return TrainingJobSpec.read(draft.to_dict())  # checked, with errors in words
