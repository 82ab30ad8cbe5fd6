"""Experiments, trials, and trial components (what the SDK calls a run): what a notebook writes down about them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from vizsla.aws import tags
from vizsla.aws.context import Context, Operation
from vizsla.aws.errors import invalid
from vizsla.aws.records import Records, one_at_a_time
from vizsla.aws.requests import moment, now, page, present
from vizsla.aws.sagemaker.named import Resource

_LONGEST = 120
_TAKEN = "{words} names must be unique within an AWS account and region: {arn} already exists."
_MISSING = "ResourceNotFound"
EXPERIMENTS = Resource("experiment", "Experiment", "experiment", "ExperimentSummaries", _LONGEST, _TAKEN, _MISSING)
TRIALS = Resource("experiment-trial", "Trial", "trial", "TrialSummaries", _LONGEST, _TAKEN, _MISSING)
COMPONENTS = Resource(
    "experiment-trial-component", "TrialComponent", "trial component", "TrialComponentSummaries", _LONGEST, _TAKEN,
    _MISSING,
)  # fmt: skip
_MERGED = ("Parameters", "InputArtifacts", "OutputArtifacts")
"""Members of a component whose entries are replaced one by one."""
_OF_A_SUMMARY = ("Status", "StartTime", "EndTime")
_TRIALS_OF_A_COMPONENT = "Trials"


def create(kind: Resource) -> Operation:
    """CreateExperiment, CreateTrial, CreateTrialComponent."""

    def operation(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
        if kind is TRIALS:
            EXPERIMENTS.find(ctx, EXPERIMENTS.named_in(request))
        moment_of_now = {"LastModifiedTime": now()}
        return kind.create(ctx, {"DisplayName": request.get(kind.field)} | request | moment_of_now)

    return operation


def describe(kind: Resource) -> Operation:
    """DescribeExperiment, DescribeTrial, DescribeTrialComponent."""

    def operation(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
        return described(ctx, kind, kind.find(ctx, kind.named_in(_by_name(kind, request))))

    return operation


def described(ctx: Context, kind: Resource, document: dict[str, Any]) -> dict[str, Any]:
    """All that is known of one."""
    members = {name: value for name, value in document.items() if name not in ("Tags", _TRIALS_OF_A_COMPONENT)}
    if kind is COMPONENTS:
        members["Metrics"] = _metrics(ctx, document[kind.field])
    return members | kind.row(ctx, document)


def update(kind: Resource) -> Operation:
    """UpdateExperiment, UpdateTrial, UpdateTrialComponent."""

    @one_at_a_time
    def operation(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
        name = kind.named_in(request)
        document = kind.find(ctx, name)
        changes = {member: value for member, value in request.items() if not member.endswith("ToRemove")}
        for member in _MERGED:
            entries = (document.get(member) or {}) | (request.get(member) or {})
            for key in request.get(f"{member}ToRemove") or []:
                entries.pop(key, None)
            if entries or member in document:
                changes[member] = entries
        kind.table(ctx).replace(name, document | changes | {"LastModifiedTime": now()})
        return _arn(ctx, kind, name)

    return operation


def delete(kind: Resource) -> Operation:
    """DeleteExperiment, DeleteTrial, DeleteTrialComponent: of what nothing belongs to any more."""

    def operation(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
        name = kind.named_in(request)
        document = kind.find(ctx, name)
        if kind is EXPERIMENTS and any(one["ExperimentName"] == name for one in TRIALS.table(ctx).all()):
            raise invalid(f"The experiment {name} still has trials: delete them first.")
        if kind is TRIALS and any(_components(ctx, [name])):
            raise invalid(f"The trial {name} still has trial components: disassociate them first.")
        if document.get(_TRIALS_OF_A_COMPONENT):
            raise invalid(f"The trial component {name} is still associated with {document[_TRIALS_OF_A_COMPONENT][0]}.")
        kind.table(ctx).remove(name)
        _values(ctx).remove(name)
        return _arn(ctx, kind, name)

    return operation


def list_experiments(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """ListExperiments."""
    return _page(ctx, EXPERIMENTS, EXPERIMENTS.table(ctx).all(), request)


def list_trials(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """ListTrials: all, those of an experiment, or those of a component."""
    documents = list(TRIALS.table(ctx).all())
    if "ExperimentName" in request:
        name = EXPERIMENTS.find(ctx, EXPERIMENTS.named_in(request))["ExperimentName"]
        documents = [one for one in documents if one["ExperimentName"] == name]
    if "TrialComponentName" in request:
        of = COMPONENTS.find(ctx, COMPONENTS.named_in(request)).get(_TRIALS_OF_A_COMPONENT) or []
        documents = [one for one in documents if one["TrialName"] in of]
    return _page(ctx, TRIALS, iter(documents), request)


def list_components(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """ListTrialComponents: all, those of an experiment, or those of a trial."""
    trials = None
    if "TrialName" in request:
        trials = [TRIALS.find(ctx, TRIALS.named_in(request))["TrialName"]]
    elif "ExperimentName" in request:
        name = EXPERIMENTS.find(ctx, EXPERIMENTS.named_in(request))["ExperimentName"]
        trials = [one["TrialName"] for one in TRIALS.table(ctx).all() if one["ExperimentName"] == name]
    return _page(ctx, COMPONENTS, _components(ctx, trials), request)


def _components(ctx: Context, trials: list[str] | None) -> Iterator[dict[str, Any]]:
    for document in COMPONENTS.table(ctx).all():
        if trials is None or set(trials) & set(document.get(_TRIALS_OF_A_COMPONENT) or []):
            yield document


def _page(ctx: Context, kind: Resource, documents: Iterator[dict[str, Any]], request: dict[str, Any]) -> dict[str, Any]:
    members = ("DisplayName", *(_OF_A_SUMMARY if kind is COMPONENTS else ()))
    rows = [kind.row(ctx, one) | {name: one[name] for name in members if name in one} for one in documents]
    return page(rows, request, key=kind.key, name=kind.field)


def associate(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """AssociateTrialComponent."""
    return _associated(ctx, request, wanted=True)


def disassociate(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """DisassociateTrialComponent."""
    return _associated(ctx, request, wanted=False)


@one_at_a_time
def _associated(ctx: Context, request: dict[str, Any], *, wanted: bool) -> dict[str, Any]:
    trial, name = TRIALS.find(ctx, TRIALS.named_in(request))["TrialName"], COMPONENTS.named_in(request)
    document = COMPONENTS.find(ctx, name)
    others = [one for one in document.get(_TRIALS_OF_A_COMPONENT) or [] if one != trial]
    COMPONENTS.table(ctx).replace(name, document | {_TRIALS_OF_A_COMPONENT: [*others, trial] if wanted else others})
    return _arn(ctx, COMPONENTS, name) | _arn(ctx, TRIALS, trial)


def parents(ctx: Context, document: dict[str, Any]) -> list[dict[str, str]]:
    """The trials of a component, and their experiments."""
    found = (TRIALS.table(ctx).find(name) for name in document.get(_TRIALS_OF_A_COMPONENT) or [])
    return [{"TrialName": one["TrialName"], "ExperimentName": one["ExperimentName"]} for one in found if one]


def search_record(ctx: Context, document: dict[str, Any]) -> dict[str, Any]:
    """A component as Search answers it."""
    with_tags = {"Tags": tags.of(ctx, ctx.arn(COMPONENTS.kind, document[COMPONENTS.field]))}
    return described(ctx, COMPONENTS, document) | {"Parents": parents(ctx, document)} | with_tags


@one_at_a_time
def put_metrics(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """BatchPutMetrics of the service sagemaker-metrics: values of a component, summed up by name."""
    name = COMPONENTS.named_in(request)
    COMPONENTS.find(ctx, name)
    kept = _values(ctx).find(name) or {}
    for one in request.get("MetricData") or []:
        value = float(one["Value"])
        sums = kept.setdefault(one["MetricName"], {"Count": 0, "Sum": 0.0, "Squares": 0.0, "Min": value, "Max": value})
        sums["Count"] += 1
        sums["Sum"] += value
        sums["Squares"] += value * value
        sums["Min"], sums["Max"], sums["Last"] = min(sums["Min"], value), max(sums["Max"], value), value
        sums["TimeStamp"] = one["Timestamp"]
    _values(ctx).replace(name, kept)
    return {}


def _values(ctx: Context) -> Records:
    return Records(ctx.state / "trial-component-metrics")


def _metrics(ctx: Context, name: str) -> list[dict[str, Any]]:
    """Metrics[] of a component: of each name the last, least, largest and mean value."""
    rows = []
    for metric, sums in (_values(ctx).find(name) or {}).items():
        mean = sums["Sum"] / sums["Count"]
        rows.append(
            {
                "MetricName": metric,
                "SourceArn": ctx.arn(COMPONENTS.kind, name),
                "TimeStamp": moment(sums["TimeStamp"]),
                **{member: sums[member] for member in ("Max", "Min", "Last", "Count")},
                "Avg": mean,
                "StdDev": math.sqrt(max(0.0, sums["Squares"] / sums["Count"] - mean * mean)),
            }
        )
    return rows


def _by_name(kind: Resource, request: dict[str, Any]) -> dict[str, Any]:
    """The request with a name where it gives an ARN."""
    return request | present({kind.field: str(request.get(kind.field) or "").rpartition("/")[2] or None})


def _arn(ctx: Context, kind: Resource, name: str) -> dict[str, Any]:
    return {f"{kind.member}Arn": ctx.arn(kind.kind, name)}


OPERATIONS: dict[str, Operation] = {
    f"{verb}{kind.member}": make(kind)
    for kind in (EXPERIMENTS, TRIALS, COMPONENTS)
    for verb, make in (("Create", create), ("Describe", describe), ("Update", update), ("Delete", delete))
} | {
    "ListExperiments": list_experiments,
    "ListTrials": list_trials,
    "ListTrialComponents": list_components,
    "AssociateTrialComponent": associate,
    "DisassociateTrialComponent": disassociate,
}
