"""Search: trainings, searches, packages, endpoints and runs by what is known of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from vizsla.aws import tags
from vizsla.aws.context import Context
from vizsla.aws.errors import invalid
from vizsla.aws.requests import page
from vizsla.aws.sagemaker import endpoints, experiments, packages, training
from vizsla.aws.sagemaker.named import Resource
from vizsla.errors import VizslaError

Row = dict[str, Any]
_NOT_OF_A_TRAINING = ("ProfilerRuleConfigurations", "ProfilerRuleEvaluationStatuses", "ProfilingStatus",
                      "RemoteDebugConfig", "InfraCheckConfig")  # fmt: skip
"""What DescribeTrainingJob tells and Search does not."""


def search(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Search: trainings and others for which an expression holds."""
    resource = request.get("Resource")
    if resource not in _RESOURCES:
        raise invalid(f"Search looks for {', '.join(_RESOURCES)} here, not for {resource}.")
    member, name, rows_of = _RESOURCES[resource]
    expression = request.get("SearchExpression") or {}
    rows = (_tagged(ctx, row, known, row[f"{member}Arn"]) for row, known in rows_of(ctx))
    found = [(row, known) for row, known in rows if _matches(known, expression)]
    by = request.get("SortBy") or "LastModifiedTime"
    found.sort(key=lambda pair: _order(next(_values(pair[1], name if by == "Name" else by), None)))
    if request.get("SortOrder") != "Ascending":
        found.reverse()
    return page([{member: row} for row, _ in found], request, key="Results", name=None)


def _tagged(ctx: Context, row: Row, known: Row, arn: str) -> tuple[Row, Row]:
    """With its tags, which are looked for as ``Tags.KEY``."""
    its = tags.of(ctx, arn)
    return row | {"Tags": its}, known | {"Tags": {one["Key"]: one["Value"] for one in its}}


def _matches(known: Row, expression: dict[str, Any]) -> bool:
    """Whether all (or, by ``Operator`` Or, some) parts of an expression hold; one without parts does."""
    parts = [
        *(_holds(known, one) for one in expression.get("Filters") or []),
        *(_nested(known, one) for one in expression.get("NestedFilters") or []),
        *(_matches(known, one) for one in expression.get("SubExpressions") or []),
    ]
    return any(parts) if parts and expression.get("Operator") == "Or" else all(parts)


def _nested(known: Row, nested: dict[str, Any]) -> bool:
    """Whether some member of a list holds all filters."""
    prefix = nested["NestedPropertyName"] + "."
    filters = [one | {"Name": one["Name"].removeprefix(prefix)} for one in nested.get("Filters") or []]
    members = [*_values(known, prefix.rstrip("."))]
    return any(all(_holds(member, one) for one in filters) for member in members)


def _holds(row: Row, one: dict[str, Any]) -> bool:
    operator, wanted = str(one.get("Operator", "Equals")), str(one.get("Value", ""))
    found = list(_values(row, one["Name"]))
    if operator in ("Exists", "NotExists"):
        return bool(found) == (operator == "Exists")
    if operator not in _COMPARED:
        raise invalid(f"Search compares by {', '.join([*_COMPARED, 'Exists', 'NotExists'])} here, not by {operator}.")
    return any(_COMPARED[operator](value, wanted) for value in found)


_COMPARED: dict[str, Callable[[Any, str], bool]] = {
    "Equals": lambda value, wanted: str(value) == wanted,
    "NotEquals": lambda value, wanted: str(value) != wanted,
    "Contains": lambda value, wanted: wanted.lower() in str(value).lower(),
    "In": lambda value, wanted: str(value) in [one.strip() for one in wanted.split(",")],
    "GreaterThan": lambda value, wanted: _order(value) > _order(wanted),
    "GreaterThanOrEqualTo": lambda value, wanted: _order(value) >= _order(wanted),
    "LessThan": lambda value, wanted: _order(value) < _order(wanted),
    "LessThanOrEqualTo": lambda value, wanted: _order(value) <= _order(wanted),
}


def _values(value: Any, path: str) -> Iterator[Any]:
    """What lies at ``Parents.ExperimentName``, ``HyperParameters.lr``, ``Metrics.loss``, ``Tags.owner``."""
    if isinstance(value, list):
        for one in value:
            yield from _values(one, path)
        return
    if not path:
        yield value
    elif isinstance(value, dict):
        for name, part in value.items():
            if path == name or path.startswith(f"{name}."):
                yield from _values(part, path[len(name) + 1 :])


def _order(value: Any) -> tuple[int, float, str]:
    """Numbers by size and before texts; what is not there comes first."""
    if value is None:
        return 0, 0.0, ""
    if hasattr(value, "timestamp"):
        return 1, value.timestamp(), ""
    try:
        return 1, float(value), ""
    except (TypeError, ValueError):
        return 2, 0.0, str(value)


def _trainings(ctx: Context) -> Iterator[tuple[Row, Row]]:
    """Their metrics are looked for as ``Metrics.NAME``."""
    for one in training.each(ctx, "train"):
        try:
            told = training.described(ctx, training.find(ctx, one.name))
        except VizslaError:  # damaged, or removed meanwhile
            continue
        row = {name: value for name, value in told.items() if name not in _NOT_OF_A_TRAINING}
        yield row, row | {"Metrics": {one["MetricName"]: one["Value"] for one in row.get("FinalMetricDataList") or []}}


def _endpoints(ctx: Context) -> Iterator[tuple[Row, Row]]:
    for row in endpoints.rows(ctx):
        row |= {"EndpointConfigName": endpoints.describe(ctx, row)["EndpointConfigName"]}
        yield row, row


def _components(ctx: Context) -> Iterator[tuple[Row, Row]]:
    for document in experiments.COMPONENTS.table(ctx).all():
        row = experiments.search_record(ctx, document)
        yield row, row | {"Metrics": {one["MetricName"]: one for one in row["Metrics"]}}


def _plain(rows: Callable[[Context], Iterable[Row]]) -> Callable[[Context], Iterator[tuple[Row, Row]]]:
    return lambda ctx: ((row, row) for row in rows(ctx))


def _named(kind: Resource) -> Callable[[Context], Iterator[tuple[Row, Row]]]:
    return _plain(lambda ctx: [experiments.described(ctx, kind, document) for document in kind.table(ctx).all()])


_RESOURCES: dict[str, tuple[str, str, Callable[[Context], Iterator[tuple[Row, Row]]]]] = {
    "TrainingJob": ("TrainingJob", "TrainingJobName", _trainings),
    "ModelPackageGroup": ("ModelPackageGroup", "ModelPackageGroupName", _plain(packages.every_group)),
    "ModelPackage": ("ModelPackage", "ModelPackageArn", _plain(packages.every)),
    "Endpoint": ("Endpoint", "EndpointName", _endpoints),
    "Experiment": ("Experiment", "ExperimentName", _named(experiments.EXPERIMENTS)),
    "ExperimentTrial": ("Trial", "TrialName", _named(experiments.TRIALS)),
    "ExperimentTrialComponent": ("TrialComponent", "TrialComponentName", _components),
}
"""What can be looked for: the member of a result, the member that is its name, and all rows, each with what is known
of it to be searched."""
