"""CloudWatch Metrics: the values that jobs log, and those that clients put."""

from __future__ import annotations

import base64
import math
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from vizsla.aws import metric_series
from vizsla.aws.context import Context, Operation
from vizsla.aws.errors import AwsError
from vizsla.aws.metric_series import Values

_MOST_POINTS = 1440
_MOST_VALUES = 100_800
_PAGE = 500


def get_metric_statistics(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Statistics of one metric, a point for each period that has values."""
    begin, end, period = _span(request)
    statistics = list(request.get("Statistics") or [])
    extended = list(request.get("ExtendedStatistics") or [])
    if not statistics and not extended:
        raise AwsError(
            "InvalidParameterCombination",
            "At least one of the parameters Statistics and ExtendedStatistics must be specified.",
        )
    if (end - begin) / period > _MOST_POINTS:
        raise AwsError(
            "InvalidParameterCombination",
            f"You have requested up to {math.ceil((end - begin) / period)} datapoints, which exceeds the limit of "
            f"{_MOST_POINTS}. You may reduce the datapoints by increasing Period, or decreasing the time range.",
        )
    name = str(request.get("MetricName", ""))
    found = list(metric_series.series(ctx, str(request.get("Namespace", "")), name, _dimensions(request)))
    unit = request.get("Unit") or next((point.unit for point in found), "None")
    points = metric_series.by_period((point for point in found if point.unit == unit), begin, end, period)
    datapoints = [
        {
            "Timestamp": datetime.fromtimestamp(at, UTC),
            "Unit": unit,
            **{statistic: values.statistic(_plain(statistic)) for statistic in statistics},
            **({"ExtendedStatistics": {each: values.statistic(each) for each in extended}} if extended else {}),
        }
        for at, values in points.items()
    ]
    return {"Label": name, "Datapoints": datapoints}


def get_metric_data(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Statistics of several metrics."""
    begin, end = _time(request, "StartTime"), _time(request, "EndTime")
    queries = request.get("MetricDataQueries") or []
    at = _opened(request.get("NextToken"))
    most = int(request.get("MaxDatapoints") or _MOST_VALUES) // max(1, len(queries)) or 1
    results = []
    more = False
    for query in queries:
        if not _true(query.get("ReturnData", True)):
            continue
        points = list(_of_query(ctx, query, begin, end).items())
        if request.get("ScanBy") != "TimestampAscending":
            points.reverse()
        page = points[at : at + most]
        whole = len(points) <= at + most
        more = more or not whole
        metric = query["MetricStat"]["Metric"]
        results.append(
            {
                "Id": query.get("Id", ""),
                "Label": query.get("Label") or metric.get("MetricName", ""),
                "Timestamps": [datetime.fromtimestamp(moment, UTC) for moment, _ in page],
                "Values": [values.statistic(str(query["MetricStat"].get("Stat", ""))) for _, values in page],
                "StatusCode": "Complete" if whole else "PartialData",
            }
        )
    return {"MetricDataResults": results, "Messages": []} | ({"NextToken": _sealed(at + most)} if more else {})


def _of_query(ctx: Context, query: Mapping[str, Any], begin: float, end: float) -> dict[float, Values]:
    chosen = query.get("MetricStat")
    if not isinstance(chosen, Mapping) or "Metric" not in chosen:
        raise AwsError(
            "ValidationError",
            f"The query {str(query.get('Id'))[:100]!r} has no MetricStat: expressions (metric math, SEARCH, SQL) are "
            "not offered here.",
        )
    metric = chosen["Metric"]
    points = metric_series.series(
        ctx, str(metric.get("Namespace", "")), str(metric.get("MetricName", "")), _dimensions(metric)
    )
    unit = chosen.get("Unit")
    return metric_series.by_period(
        (point for point in points if unit in (None, point.unit)), begin, end, _period(chosen)
    )


def list_metrics(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """The metrics there are, 500 at a time."""
    wanted = [(str(row.get("Name")), row.get("Value")) for row in request.get("Dimensions") or []]
    found = [
        (namespace, name, dimensions)
        for namespace, name, dimensions in metric_series.names(ctx)
        if request.get("Namespace") in (None, "", namespace)
        and request.get("MetricName") in (None, "", name)
        and all(key in dimensions and value in (None, dimensions[key]) for key, value in wanted)
    ]
    at = _opened(request.get("NextToken"))
    metrics = [
        {"Namespace": namespace, "MetricName": name, "Dimensions": [{"Name": k, "Value": v} for k, v in dims.items()]}
        for namespace, name, dims in found[at : at + _PAGE]
    ]
    return {"Metrics": metrics} | ({"NextToken": _sealed(at + _PAGE)} if len(found) > at + _PAGE else {})


def put_metric_data(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Keep what a client has measured."""
    namespace = str(request.get("Namespace", ""))
    if not 0 < len(namespace) <= 255 or namespace.startswith("AWS/"):
        raise AwsError("InvalidParameterValue", f"The value {namespace[:100]!r} for parameter Namespace is invalid.")
    metric_series.put(ctx, namespace, [_row(datum) for datum in request.get("MetricData") or []])
    return {}


def _row(datum: Mapping[str, Any]) -> dict[str, Any]:
    values = Values()
    if "Value" in datum:
        values.add(metric_series.single(_float(datum, "Value")))
    for value, count in _counted(datum):
        values.add(Values(count, value * count, value, value, [value] * min(int(count), 1000)))
    if isinstance(found := datum.get("StatisticValues"), Mapping):
        count, total, least, most = (_float(found, name) for name in ("SampleCount", "Sum", "Minimum", "Maximum"))
        values.add(Values(count, total, least, most))
    if values.count <= 0:
        raise AwsError(
            "MissingParameter",
            f"The metric {str(datum.get('MetricName'))[:100]!r} has no Value, Values or StatisticValues.",
        )
    return {
        "name": str(datum.get("MetricName", "")),
        "dimensions": _dimensions(datum),
        "time": _time(datum, "Timestamp") if datum.get("Timestamp") is not None else time.time(),
        "values": vars(values),
        "unit": datum.get("Unit") or "None",
    }


def _counted(datum: Mapping[str, Any]) -> Sequence[tuple[float, float]]:
    numbers = datum.get("Values") or []
    counts = datum.get("Counts") or [1] * len(numbers)
    if len(counts) != len(numbers):
        raise AwsError("InvalidParameterValue", "The parameters Values and Counts must have the same length.")
    return [
        (_float({"Values": value}, "Values"), _float({"Counts": count}, "Counts"))
        for value, count in zip(numbers, counts, strict=True)
    ]


def _dimensions(fields: Mapping[str, Any]) -> dict[str, str]:
    return {str(row.get("Name", "")): str(row.get("Value", "")) for row in fields.get("Dimensions") or []}


def _span(request: Mapping[str, Any]) -> tuple[float, float, int]:
    begin, end = _time(request, "StartTime"), _time(request, "EndTime")
    if begin >= end:
        raise AwsError("InvalidParameterValue", "The parameter StartTime must be less than the parameter EndTime.")
    return begin, end, _period(request)


def _period(fields: Mapping[str, Any]) -> int:
    period = _float(fields, "Period")
    if period not in (1, 5, 10, 30) and (period < 60 or period % 60):
        raise AwsError(
            "InvalidParameterValue",
            f"The parameter Period must be 1, 5, 10, 30 or a multiple of 60, not {period:g}.",
        )
    return int(period)


def _float(fields: Mapping[str, Any], name: str) -> float:
    """A number, also as text: forms have nothing else."""
    try:
        value = float(fields[name])
    except KeyError as error:
        raise AwsError("MissingParameter", f"The parameter {name} is required.") from error
    except (TypeError, ValueError) as error:
        raise AwsError(
            "InvalidParameterValue", f"The value {fields[name]!r:.80} for parameter {name} is invalid."
        ) from error
    if not math.isfinite(value):
        raise AwsError("InvalidParameterValue", f"The value {value} for parameter {name} is invalid.")
    return value


def _time(fields: Mapping[str, Any], name: str) -> float:
    """Seconds since 1970, from a number or from ISO 8601."""
    value = fields.get(name)
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, str) and not value.replace(".", "", 1).isdigit():
        try:
            moment = datetime.fromisoformat(value)
        except ValueError as error:
            raise AwsError(
                "InvalidParameterValue", f"The value {value[:80]!r} for parameter {name} is no time."
            ) from error
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return _float(fields, name)


def _true(value: object) -> bool:
    return str(value).lower() == "true"


def _plain(statistic: str) -> str:
    if statistic not in metric_series.STATISTICS:
        raise AwsError(
            "InvalidParameterValue",
            f"The value {statistic[:50]!r} for parameter Statistics is invalid: {', '.join(metric_series.STATISTICS)}.",
        )
    return statistic


def _sealed(at: int) -> str:
    return base64.urlsafe_b64encode(str(at).encode()).decode()


def _opened(token: str | None) -> int:
    if not token:
        return 0
    try:
        return max(0, int(base64.b64decode(token, altchars=b"-_", validate=True)))
    except ValueError as error:
        raise AwsError("InvalidNextToken", "The next token specified is invalid.") from error


OPERATIONS: dict[str, Operation] = {
    "GetMetricData": get_metric_data,
    "GetMetricStatistics": get_metric_statistics,
    "ListMetrics": list_metrics,
    "PutMetricData": put_metric_data,
}
