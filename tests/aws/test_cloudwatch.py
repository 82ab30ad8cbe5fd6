"""CloudWatch by boto3: the logs and the metrics of jobs, as the SDK waits for them and the command line tails them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from vizsla.aws.context import Context
from vizsla.jobs.directory import JobDirectory

exceptions = pytest.importorskip("botocore.exceptions")
GROUP = "/aws/sagemaker/TrainingJobs"
Clients = Callable[[str], Any]


@pytest.fixture
def job(ctx: Context) -> JobDirectory:
    """A job that is written to."""
    made = JobDirectory.create("train", "logged", {}, ctx.home)
    made.set_state("InProgress")
    return made


def refused(call: Any, **named: Any) -> tuple[str, str]:
    with pytest.raises(exceptions.ClientError) as caught:
        call(**named)
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]


def tail(logs: Any, job: str, ended: Callable[[], bool]) -> Iterator[str]:
    """The SDK's way (sagemaker 2, session._flush_log_streams and logs.log_stream)."""
    at, skip, stream = 0, 0, ""
    last = False
    while True:
        found = logs.describe_log_streams(
            logGroupName=GROUP, logStreamNamePrefix=f"{job}/", orderBy="LogStreamName", limit=1
        )["logStreams"]
        if found:
            stream = found[0]["logStreamName"]
            token: dict[str, str] = {}
            passed = skip
            while True:
                answer = logs.get_log_events(
                    logGroupName=GROUP, logStreamName=stream, startTime=at, startFromHead=True, **token
                )
                token = {"nextToken": answer["nextForwardToken"]}
                events = answer["events"]
                count = len(events)
                if count > passed:
                    events, passed = events[passed:], 0
                else:
                    passed, events = passed - count, []
                for event in events:
                    if event["timestamp"] == at:
                        skip += 1
                    else:
                        at, skip = event["timestamp"], 1
                    yield event["message"]
                if count == 0:
                    break
        if last:
            return
        last = ended()


def test_every_line_comes_once_and_in_order_while_the_log_grows(client: Clients, job: JobDirectory) -> None:
    lines = [f"epoch {i}: loss {i / 7}" for i in range(300)]
    done = threading.Event()

    def write() -> None:
        with open(job.logs, "w", buffering=1) as log:
            for number, line in enumerate(lines):
                log.write(line[:4])
                log.flush()
                log.write(line[4:] + "\n" * (1 + number % 3))
                if number % 20 == 0:
                    time.sleep(0.03)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    assert list(tail(client("logs"), job.name, done.is_set)) == lines
    writer.join()


def test_a_stream_and_its_events(client: Clients, job: JobDirectory) -> None:
    logs = client("logs")
    assert logs.describe_log_streams(logGroupName=GROUP, logStreamNamePrefix=f"{job.name}/")["logStreams"] == []
    job.logs.write_bytes(b"one\ntwo\xff\n\nthree\nnot yet whol")
    (stream,) = logs.describe_log_streams(logGroupName=GROUP, logStreamNamePrefix=f"{job.name}/")["logStreams"]
    created = datetime.fromisoformat(job.envelope.created).timestamp()
    assert stream["logStreamName"] == f"{job.name}/algo-1-{int(created)}"
    assert abs(stream["lastEventTimestamp"] / 1000 - time.time()) < 60
    name = {"logGroupName": GROUP, "logStreamName": stream["logStreamName"]}
    first = logs.get_log_events(**name, startFromHead=True, limit=2)
    assert [event["message"] for event in first["events"]] == ["one", "two\ufffd"]
    rest = logs.get_log_events(**name, nextToken=first["nextForwardToken"])
    assert [event["message"] for event in rest["events"]] == ["three"]
    end = logs.get_log_events(**name, nextToken=rest["nextForwardToken"])
    assert (end["events"], end["nextForwardToken"]) == ([], rest["nextForwardToken"])
    latest = logs.get_log_events(**name, limit=2)
    assert [event["message"] for event in latest["events"]] == ["two\ufffd", "three"]
    before = logs.get_log_events(**name, nextToken=latest["nextBackwardToken"])
    assert [event["message"] for event in before["events"]] == ["one"]
    job.set_state("Completed")
    last = logs.get_log_events(**name, nextToken=rest["nextForwardToken"])
    assert [event["message"] for event in last["events"]] == ["not yet whol"]
    shown = first["events"][0]["timestamp"]
    since = logs.get_log_events(**name, startFromHead=True, startTime=shown + 1)
    assert [event["message"] for event in since["events"]] == ["not yet whol"]
    assert logs.get_log_events(**name, startFromHead=True, endTime=shown)["events"] == []


def test_times_stay_when_the_server_starts_again(client: Clients, job: JobDirectory, ctx: Context) -> None:
    from vizsla.aws.logs import OPERATIONS

    job.logs.write_text("one\n")
    name = {"logGroupName": GROUP, "logStreamName": f"{job.name}/algo-1-{_seconds(job)}", "startFromHead": True}
    first = client("logs").get_log_events(**name)["events"]
    with open(job.logs, "a") as log:
        time.sleep(0.01)
        log.write("two\n")
    again = OPERATIONS["GetLogEvents"](Context(ctx.home), name)["events"]
    assert again[0] == first[0]
    assert again[1]["timestamp"] > first[0]["timestamp"]


def _seconds(job: JobDirectory) -> int:
    return int(datetime.fromisoformat(job.envelope.created).timestamp())


def test_a_long_log_comes_in_pages(client: Clients, job: JobDirectory) -> None:
    lines = [f"{i:07} " + "x" * 100 for i in range(25_000)] + ["y" * 700_000, "end"]
    job.logs.write_text("\n".join(lines) + "\n")
    logs = client("logs")
    name = {"logGroupName": GROUP, "logStreamName": f"{job.name}/algo-1-{_seconds(job)}"}
    found: list[str] = []
    answer = logs.get_log_events(**name, startFromHead=True)
    while answer["events"]:
        assert len(answer["events"]) <= 10_000
        found += [event["message"] for event in answer["events"]]
        answer = logs.get_log_events(**name, nextToken=answer["nextForwardToken"])
    assert "".join(found) == "".join(lines)
    assert found[:25_000] == lines[:25_000]
    assert max(map(len, found)) == 256 << 10
    back: list[str] = []
    answer = logs.get_log_events(**name)
    while answer["events"]:
        back = [event["message"] for event in answer["events"]] + back
        answer = logs.get_log_events(**name, nextToken=answer["nextBackwardToken"])
    assert back[:24_000] == lines[:24_000]


def test_filters(client: Clients, job: JobDirectory) -> None:
    logs = client("logs")
    job.logs.write_text("".join(f"{'ERROR' if i % 3 == 0 else 'info'} step {i}\n" for i in range(10)))

    def found(pattern: str, **more: Any) -> list[str]:
        pages = logs.get_paginator("filter_log_events").paginate(
            logGroupName=GROUP, logStreamNamePrefix=f"{job.name}/", filterPattern=pattern, **more
        )
        return [event["message"] for page in pages for event in page["events"]]

    every = [f"ERROR step {i}" for i in (0, 3, 6, 9)]
    assert found("ERROR") == every
    assert found("ERROR", PaginationConfig={"PageSize": 1}) == every
    assert found('"step 3"') == ["ERROR step 3"]
    assert found("ERROR -9") == every[:3]
    assert found("?3 ?4") == ["ERROR step 3", "info step 4"]
    assert len(found("")) == 10
    assert found("", endTime=1) == []
    code, words = refused(logs.filter_log_events, logGroupName=GROUP, filterPattern="{ $.a = 1 }")
    assert code == "InvalidParameterException"
    assert "give words" in words


def test_half_a_line_of_a_full_disk_loses_no_other_metric(client: Clients, ctx: Context) -> None:
    cloudwatch = client("cloudwatch")
    cloudwatch.put_metric_data(Namespace="torn", MetricData=[{"MetricName": "one", "Value": 1.0}])
    with open(ctx.state / "metrics/torn.jsonl", "a") as file:
        file.write('{"name": "ha')
    cloudwatch.put_metric_data(Namespace="torn", MetricData=[{"MetricName": "two", "Value": 2.0}])
    names = [metric["MetricName"] for metric in cloudwatch.list_metrics(Namespace="torn")["Metrics"]]
    assert names == ["one", "two"]


def test_groups_and_streams_that_are_not_there(client: Clients, ctx: Context) -> None:
    logs = client("logs")
    code, words = refused(logs.describe_log_streams, logGroupName="/aws/lambda/x")
    assert (code, words) == ("ResourceNotFoundException", "The specified log group does not exist.")
    for stream in ("none/algo-1-1", "../../etc/passwd", "none"):
        code, words = refused(logs.get_log_events, logGroupName=GROUP, logStreamName=stream)
        assert (code, words) == ("ResourceNotFoundException", "The specified log stream does not exist.")
    assert (
        refused(logs.describe_log_streams, logGroupName="/aws/sagemaker/Endpoints/..")[0] == "ResourceNotFoundException"
    )
    groups = [row["logGroupName"] for row in logs.describe_log_groups()["logGroups"]]
    assert groups == ["/aws/sagemaker/ProcessingJobs", GROUP, "/aws/sagemaker/TransformJobs"]
    code, words = refused(logs.describe_log_streams, logGroupName=GROUP, nextToken="nonsense")
    assert "nextToken is invalid" in words


def test_an_endpoints_log(client: Clients, ctx: Context) -> None:
    folder = ctx.home / "endpoints/flowers"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "log.txt").write_text("served\n")
    logs = client("logs")
    group = "/aws/sagemaker/Endpoints/flowers"
    assert logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"][0]["logGroupName"] == group
    events = logs.filter_log_events(logGroupName=group, logStreamNamePrefix="AllTraffic/")["events"]
    assert [event["message"] for event in events] == ["served"]
    (folder / "config.json").unlink()


def test_each_kind_of_job_has_its_group(client: Clients, ctx: Context) -> None:
    for kind, group in (("transform", "TransformJobs"), ("bias", "ProcessingJobs"), ("evaluate", "ProcessingJobs")):
        made = JobDirectory.create(kind, "x", {}, ctx.home, name=f"kind-{kind}")
        made.logs.write_text("x\n")
        for name in ("TransformJobs", "ProcessingJobs", "TrainingJobs"):
            found = client("logs").describe_log_streams(
                logGroupName=f"/aws/sagemaker/{name}", logStreamNamePrefix=f"kind-{kind}/"
            )
            assert len(found["logStreams"]) == (1 if name == group else 0)


def around(seconds: float = 3600) -> dict[str, datetime]:
    now = datetime.now(UTC)
    return {"StartTime": now - timedelta(seconds=seconds), "EndTime": now + timedelta(seconds=60)}


def test_the_metrics_of_a_job(client: Clients, job: JobDirectory) -> None:
    for step, value in enumerate([4.0, 2.0, 1.0, float("nan"), 1.0]):
        job.append_metric("validation:loss", value, step=step)
    job.append_metric("accuracy", 0.5, step=1)
    job.close()
    cloudwatch = client("cloudwatch")
    named = {"Name": "TrainingJobName", "Value": job.name}
    answer = cloudwatch.get_metric_statistics(
        Namespace=GROUP,
        MetricName="validation:loss",
        Dimensions=[named],
        Period=3600 * 24,
        Statistics=["Average", "Sum", "Minimum", "Maximum", "SampleCount"],
        **around(),
    )
    points = answer["Datapoints"]
    assert sum(point["SampleCount"] for point in points) == 4
    assert sum(point["Sum"] for point in points) == 8
    assert (min(p["Minimum"] for p in points), max(p["Maximum"] for p in points)) == (1, 4)
    assert answer["Label"] == "validation:loss"
    listed = cloudwatch.list_metrics(Namespace=GROUP, Dimensions=[named])["Metrics"]
    assert [row["MetricName"] for row in listed] == ["validation:loss", "accuracy"]
    assert listed[0]["Dimensions"] == [named]
    query = {
        "Id": "a1",
        "MetricStat": {
            "Metric": {"Namespace": GROUP, "MetricName": "validation:loss", "Dimensions": [named]},
            "Period": 3600 * 24,
            "Stat": "p50",
        },
    }
    data = cloudwatch.get_metric_data(MetricDataQueries=[query], **around())["MetricDataResults"]
    assert data[0]["StatusCode"] == "Complete"
    assert data[0]["Values"][0] in (1.0, 1.5, 2.0)
    assert (
        cloudwatch.get_metric_statistics(
            Namespace=GROUP, MetricName="none", Dimensions=[named], Period=60, Statistics=["Average"], **around()
        )["Datapoints"]
        == []
    )


def test_metrics_that_clients_put(client: Clients) -> None:
    cloudwatch = client("cloudwatch")
    begin = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)
    place = {"MetricName": "seconds", "Dimensions": [{"Name": "step", "Value": "fit"}], "Unit": "Seconds"}
    cloudwatch.put_metric_data(
        Namespace="my/own ü",
        MetricData=[
            place | {"Value": 2.0, "Timestamp": begin + timedelta(seconds=10)},
            place | {"Values": [1.0, 3.0], "Counts": [1.0, 2.0], "Timestamp": begin + timedelta(seconds=20)},
            place
            | {
                "StatisticValues": {"SampleCount": 4, "Sum": 8, "Minimum": 0.5, "Maximum": 4},
                "Timestamp": begin + timedelta(seconds=70),
            },
        ],
    )
    answer = cloudwatch.get_metric_statistics(
        Namespace="my/own ü",
        MetricName="seconds",
        Dimensions=place["Dimensions"],
        StartTime=begin,
        EndTime=begin + timedelta(minutes=5),
        Period=60,
        Statistics=["SampleCount", "Average", "Minimum", "Maximum"],
    )
    rows = sorted(answer["Datapoints"], key=lambda row: row["Timestamp"])
    assert [(row["SampleCount"], row["Average"], row["Minimum"], row["Maximum"], row["Unit"]) for row in rows] == [
        (4, 2.25, 1, 3, "Seconds"),
        (4, 2, 0.5, 4, "Seconds"),
    ]
    assert [row["Timestamp"] for row in rows] == [begin, begin + timedelta(minutes=1)]
    assert cloudwatch.list_metrics(Namespace="my/own ü")["Metrics"][0]["MetricName"] == "seconds"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"Period": 61}, "must be 1, 5, 10, 30 or a multiple of 60"),
        ({"EndTime": datetime(2000, 1, 1, tzinfo=UTC)}, "StartTime must be less than the parameter EndTime"),
        ({"Period": 1, "StartTime": datetime(2020, 1, 1, tzinfo=UTC)}, "exceeds the limit of 1440"),
        ({"Statistics": None}, "At least one of the parameters Statistics and ExtendedStatistics"),
        ({"Statistics": None, "ExtendedStatistics": ["p101"]}, "p0 to p100"),
    ],
)
def test_questions_that_cannot_be_meant(client: Clients, job: JobDirectory, change: dict[str, Any], words: str) -> None:
    job.append_metric("a", 1.0)
    job.close()
    question = {
        "Namespace": GROUP,
        "MetricName": "a",
        "Dimensions": [{"Name": "TrainingJobName", "Value": job.name}],
        "Period": 60,
        "Statistics": ["Average"],
        **around(),
    }
    asked = {name: value for name, value in (question | change).items() if value is not None}
    assert words in refused(client("cloudwatch").get_metric_statistics, **asked)[1]


def test_metric_math_is_said_to_be_missing(client: Clients) -> None:
    query = {"Id": "e1", "Expression": "SUM(METRICS())"}
    code, words = refused(client("cloudwatch").get_metric_data, MetricDataQueries=[query], **around())
    assert code == "ValidationError"
    assert "expressions (metric math, SEARCH, SQL) are not offered here" in words
    assert "is invalid" in refused(client("cloudwatch").put_metric_data, Namespace="AWS/EC2", MetricData=[])[1]


def test_a_log_is_read_by_its_path_only_below_the_home(ctx: Context, tmp_path: Path) -> None:
    from vizsla.aws.log_streams import streams

    (tmp_path / "logs.txt").write_text("secret\n")
    found = streams(ctx, GROUP, f"../{tmp_path.name}/")
    assert found is not None
    assert list(found) == []
