"""Training jobs through boto3 against a real server: real scripts run, outputs lie in the buckets."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.aws.conftest import IMAGE, until
from vizsla.aws.context import Context
from vizsla.jobs import controller
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.executors import open_executor
from vizsla.jobs.spec_input import typed_script_spec

Clients = Callable[[str], Any]
Training = Callable[..., dict[str, Any]]


def _ended(client: Clients, name: str) -> dict[str, Any]:
    return until(
        lambda: client("sagemaker").describe_training_job(TrainingJobName=name),
        "TrainingJobStatus",
        "InProgress",
        "Stopping",
    )


def test_a_script_from_a_bucket_runs_and_its_model_lies_in_the_bucket(
    client: Clients, training: Training, ctx: Context
) -> None:
    request = training("first", HyperParameters={"lr": "0.1", "name": '"res net"', "flag": "true"})
    answer = client("sagemaker").create_training_job(**request)
    assert answer["TrainingJobArn"] == "arn:aws:sagemaker:us-east-1:000000000000:training-job/first"
    job = _ended(client, "first")
    assert job["TrainingJobStatus"] == job["SecondaryStatus"] == "Completed"
    assert job["ModelArtifacts"]["S3ModelArtifacts"] == "s3://bucket/out/first/output/model.tar.gz"
    assert [one["Status"] for one in job["SecondaryStatusTransitions"]][-1] == "Completed"
    assert all(one["StatusMessage"] for one in job["SecondaryStatusTransitions"])
    assert [(m["MetricName"], m["Value"]) for m in job["FinalMetricDataList"]] == [("loss", 0.5)]
    for member in ("HyperParameters", "InputDataConfig", "ResourceConfig", "StoppingCondition", "RoleArn"):
        assert job[member] == request[member], member
    assert job["OutputDataConfig"] == {"S3OutputPath": "s3://bucket/out/", "KmsKeyId": ""}
    assert job["TrainingTimeInSeconds"] >= 1
    body = client("s3").get_object(Bucket="bucket", Key="out/first/output/model.tar.gz")["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        assert tar.getnames() == ["model.txt"]
    output = client("s3").get_object(Bucket="bucket", Key="out/first/output/output.tar.gz")["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(output)) as tar:
        assert tar.getnames() == ["notes.txt"]
    log = (ctx.home / "first" / "logs.txt").read_text()
    assert "['--flag', 'True', '--lr', '0.1', '--name', 'res net']" in log


def test_a_job_of_a_client_is_one_of_vizsla_and_the_other_way_round(
    client: Clients, training: Training, ctx: Context, tmp_path: Any
) -> None:
    client("sagemaker").create_training_job(**training("shared"))
    _ended(client, "shared")
    summary = next(one for one in controller.summaries(ctx.home) if one.name == "shared")
    assert (summary.kind, summary.status) == ("train", "Completed")
    script = tmp_path / "mine.py"
    script.write_text("print('loss: 0.25')")
    executor = open_executor("local", ctx.home)
    spec = typed_script_spec(str(script), None, [], ["lr=0.5"], ["loss=loss: ([0-9.]+)"], name="mine")
    handle = executor.submit(spec, "mine")
    controller.follow(executor, handle)
    job = client("sagemaker").describe_training_job(TrainingJobName="mine")
    assert job["TrainingJobStatus"] == "Completed"
    assert job["HyperParameters"]["lr"] == "0.5"
    assert job["FinalMetricDataList"][0]["Value"] == 0.25
    names = [one["TrainingJobName"] for one in client("sagemaker").list_training_jobs()["TrainingJobSummaries"]]
    assert {"mine", "shared"} <= set(names)


def test_a_failure_is_told_in_words(client: Clients, training: Training) -> None:
    client("sagemaker").create_training_job(**training("broken", "raise ValueError('no such class')"))
    job = _ended(client, "broken")
    assert job["TrainingJobStatus"] == job["SecondaryStatus"] == "Failed"
    assert "no such class" in job["FailureReason"]
    assert job["SecondaryStatusTransitions"][-1]["StatusMessage"] == job["FailureReason"]


def test_a_job_is_stopped_once(client: Clients, training: Training) -> None:
    sagemaker = client("sagemaker")
    sagemaker.create_training_job(**training("long", "import time\nprint('begun', flush=True)\ntime.sleep(60)"))
    sagemaker.stop_training_job(TrainingJobName="long")
    job = _ended(client, "long")
    assert job["TrainingJobStatus"] == job["SecondaryStatus"] == "Stopped"
    with pytest.raises(ClientError, match="is in status Stopped") as caught:
        sagemaker.stop_training_job(TrainingJobName="long")
    assert caught.value.response["Error"]["Code"] == "ValidationException"


def test_the_end_of_its_time_is_told(client: Clients, training: Training) -> None:
    script = "import time\nprint('begun', flush=True)\ntime.sleep(60)"
    client("sagemaker").create_training_job(**training("late", script, StoppingCondition={"MaxRuntimeInSeconds": 1}))
    job = _ended(client, "late")
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"TrainingJobName": "first-of-two"}, "ResourceInUse", "already exists"),
        ({"RoleArn": "arn:aws:iam::1:role/nobody-knows-it"}, "ValidationException", "regular expression pattern"),
        ({"TrainingJobName": "under_score"}, "ValidationException", r"\[a-zA-Z0-9\]\(-\*\[a-zA-Z0-9\]\)"),
        ({"HyperParameters": {}}, "ValidationException", "vizsla aws image add"),
        (
            {
                "InputDataConfig": [
                    {
                        "ChannelName": "train",
                        "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://elsewhere/x"}},
                    }
                ]
            },
            "ValidationException",
            "vizsla aws run --pass-through.*s3://elsewhere/x",
        ),
        (
            {"OutputDataConfig": {"S3OutputPath": "/tmp/out"}},
            "ValidationException",
            "at 'outputDataConfig.s3OutputPath'",
        ),
        ({"OutputDataConfig": {"S3OutputPath": "s3:///out"}}, "ValidationException", "regular expression pattern"),
        ({"OutputDataConfig": {"S3OutputPath": "s3://a_b/out"}}, "ValidationException", "bucket is not valid: 'a_b'"),
        ({"OutputDataConfig": {"S3OutputPath": "s3://bucket/../x"}}, "ValidationException", "may not be '..'"),
        (
            {"DebugHookConfig": {"S3OutputPath": "s3://a_b"}},
            "ValidationException",
            "debugHookConfig.s3OutputPath s3://a_b",
        ),
        ({"CheckpointConfig": {"S3Uri": "here"}}, "ValidationException", "at 'checkpointConfig.s3Uri'"),
        (
            {"ResourceConfig": {"InstanceCount": 2, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}},
            "ValidationException",
            "there is one, this machine",
        ),
    ],
)
def test_what_cannot_run_is_refused_in_words(
    client: Clients, training: Training, ctx: Context, change: dict[str, Any], code: str, words: str
) -> None:
    sagemaker = client("sagemaker")
    if code == "ResourceInUse":
        sagemaker.create_training_job(**training("first-of-two"))
    request = training("refused") | change
    with pytest.raises(ClientError, match=words) as caught:
        sagemaker.create_training_job(**request)
    assert caught.value.response["Error"]["Code"] == code
    assert not (ctx.home / "refused").exists()


def test_an_unknown_job(client: Clients) -> None:
    with pytest.raises(ClientError, match="Requested resource not found") as caught:
        client("sagemaker").describe_training_job(TrainingJobName="nobody")
    assert caught.value.response["Error"]["Code"] == "ValidationException"


def test_lists_come_in_pages_filtered_and_sorted(client: Clients, training: Training) -> None:
    sagemaker = client("sagemaker")
    for at in range(3):
        sagemaker.create_training_job(**training(f"page-{at}", "print('done')"))
    for at in range(3):
        _ended(client, f"page-{at}")
    options = {"NameContains": "page", "StatusEquals": "Completed", "SortBy": "Name", "SortOrder": "Ascending"}
    first = sagemaker.list_training_jobs(MaxResults=2, **options)
    assert [one["TrainingJobName"] for one in first["TrainingJobSummaries"]] == ["page-0", "page-1"]
    rest = sagemaker.list_training_jobs(MaxResults=2, NextToken=first["NextToken"], **options)
    assert [one["TrainingJobName"] for one in rest["TrainingJobSummaries"]] == ["page-2"]
    assert "NextToken" not in rest
    pages = sagemaker.get_paginator("list_training_jobs").paginate(PaginationConfig={"PageSize": 1}, **options)
    assert sum(len(one["TrainingJobSummaries"]) for one in pages) == 3
    with pytest.raises(ClientError, match=r"at 'maxResults' failed to satisfy.*less than or equal to 100"):
        sagemaker.list_training_jobs(MaxResults=101)
    with pytest.raises(ClientError, match="Invalid NextToken"):
        sagemaker.list_training_jobs(NextToken="LTE=")


def test_a_custom_image_runs_the_script_of_the_table(
    client: Clients, training: Training, ctx: Context, tmp_path: Any
) -> None:
    from vizsla.aws import images

    name = "000000000000.dkr.ecr.us-east-1.amazonaws.com/dog-breed-hpo:latest"
    (tmp_path / "hpo-container.py").write_text("import sys\nprint('loss: 2', sys.argv[1:])")
    images.add(ctx.state, "dog-breed-hpo", tmp_path, "hpo-container.py")
    request = training("custom") | {
        "HyperParameters": {"model-type": "resnet18"},
        "AlgorithmSpecification": {"TrainingImage": name, "TrainingInputMode": "File"},
    }
    client("sagemaker").create_training_job(**request)
    job = _ended(client, "custom")
    assert job["TrainingJobStatus"] == "Completed"
    assert job["AlgorithmSpecification"]["TrainingImage"] == name
    assert job["HyperParameters"] == {"model-type": "resnet18"}
    assert "loss: 2 ['--model-type', 'resnet18']" in (ctx.home / "custom" / "logs.txt").read_text()


def test_what_the_sdk_asks_of_the_profiler_with_every_job(client: Clients, training: Training, ctx: Context) -> None:
    """FrameworkProfile(num_steps=10), whose texts are no JSON, comes back as it is; the report lies in the bucket."""
    steps = '{"StartStep": 0, "NumSteps": 10, }'
    config = {
        "S3OutputPath": "s3://bucket/out/",
        "ProfilingIntervalInMilliseconds": 500,
        "ProfilingParameters": {"DetailedProfilingConfig": steps, "DataloaderProfilingConfig": steps},
    }
    rules = [
        {
            "RuleConfigurationName": name,
            "RuleEvaluatorImage": "503895931360.dkr.ecr.us-east-1.amazonaws.com/sagemaker-debugger-rules:latest",
            "RuleParameters": {"rule_to_invoke": name},
        }
        for name in ("LowGPUUtilization", "ProfilerReport", "StepOutlier")
    ]
    rules[1]["RuleParameters"] |= {"StepOutlier_scan_interval_us": "60000000"}
    rules[2]["RuleParameters"] |= {"stddev": "3", "mode": "None", "n_outliers": "10", "scan_interval_us": "60000000"}
    request = training("profiled", "import time\ntime.sleep(2)\nprint('loss: 1')")
    request |= {"ProfilerConfig": config, "ProfilerRuleConfigurations": rules}
    client("sagemaker").create_training_job(**request)
    job = _ended(client, "profiled")
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert job["ProfilerConfig"] == config
    told = {one["RuleConfigurationName"]: one["RuleEvaluationStatus"] for one in job["ProfilerRuleEvaluationStatuses"]}
    assert set(told) == {"LowGPUUtilization", "ProfilerReport", "StepOutlier"}
    assert told["ProfilerReport"] in ("NoIssuesFound", "IssuesFound")
    key = "out/profiled/rule-output/ProfilerReport/profiler-output/profiler-report.html"
    assert b"<html" in client("s3").get_object(Bucket="bucket", Key=key)["Body"].read()[:500]
    listed = client("s3").list_objects_v2(Bucket="bucket", Prefix="out/profiled/profiler-output/system/")
    assert listed["KeyCount"] > 0


def test_tags(client: Clients, training: Training) -> None:
    sagemaker = client("sagemaker")
    arn = sagemaker.create_training_job(**training("tagged", Tags=[{"Key": "a", "Value": "1"}]))["TrainingJobArn"]
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "b", "Value": "2"}])
    assert {tag["Key"]: tag["Value"] for tag in sagemaker.list_tags(ResourceArn=arn)["Tags"]} == {"a": "1", "b": "2"}
    sagemaker.delete_tags(ResourceArn=arn, TagKeys=["a"])
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "b", "Value": "2"}]


def test_tags_that_many_add_at_once_are_all_kept(client: Clients) -> None:
    sagemaker, arn = client("sagemaker"), "arn:aws:sagemaker:us-east-1:000000000000:model/tagged-by-many"
    with ThreadPoolExecutor(8) as threads:
        for number in range(24):
            threads.submit(sagemaker.add_tags, ResourceArn=arn, Tags=[{"Key": f"key-{number}", "Value": ""}])
    assert len(sagemaker.list_tags(ResourceArn=arn)["Tags"]) == 24


def test_version_3_of_the_sdk_runs_its_entry_script_without_its_drivers(client: Clients, training: Training) -> None:
    """What ModelTrainer sends: a shell in the container, drivers and code in channels (traced)."""
    s3 = client("s3")
    s3.put_object(Bucket="bucket", Key="v3/code/train.py", Body=b"import sys\nprint('loss: 3', sys.argv[1:])")
    settings = b'{"source_dir": "code", "entry_script": "train.py", "requirements": null, "command": null}'
    s3.put_object(Bucket="bucket", Key="v3/sm_drivers/sourcecode.json", Body=settings)
    channels = [
        {
            "ChannelName": name,
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://bucket/v3/{name}"}},
        }
        for name in ("code", "sm_drivers")
    ]
    request = training("v3") | {
        "HyperParameters": {"s": "res net", "lr": "0.1"},
        "AlgorithmSpecification": {
            "TrainingImage": IMAGE,
            "TrainingInputMode": "File",
            "ContainerEntrypoint": ["/bin/bash"],
            "ContainerArguments": ["-c", "chmod +x /opt/ml/input/data/sm_drivers/sm_train.sh && ..."],
            "MetricDefinitions": [{"Name": "loss", "Regex": "loss: ([0-9.]+)"}],
        },
        "InputDataConfig": channels,
    }
    client("sagemaker").create_training_job(**request)
    job = _ended(client, "v3")
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert job["AlgorithmSpecification"]["ContainerEntrypoint"] == ["/bin/bash"]
    assert job["FinalMetricDataList"][0]["Value"] == 3


def test_code_that_is_a_channel_because_the_job_has_no_network(client: Clients, training: Training) -> None:
    """What the SDK sends with ``enable_network_isolation=True``."""
    request = training("isolated", "import os\nprint('loss:', len(os.listdir(os.environ['SM_CHANNEL_TRAIN'])))")
    packed = {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/isolated/source/sourcedir.tar.gz"}
    request["InputDataConfig"].append({"ChannelName": "code", "DataSource": {"S3DataSource": packed}})
    request["HyperParameters"]["sagemaker_submit_directory"] = '"/opt/ml/input/data/code/sourcedir.tar.gz"'
    client("sagemaker").create_training_job(**request, EnableNetworkIsolation=True)
    job = _ended(client, "isolated")
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert job["FinalMetricDataList"][0]["Value"] == 1


def test_what_a_job_leaves_is_its_own(client: Clients, training: Training, ctx: Context) -> None:
    """A notebook that writes over the model in the bucket changes nothing in the job."""
    client("sagemaker").create_training_job(**training("kept"))
    _ended(client, "kept")
    s3, key = client("s3"), "out/kept/output/model.tar.gz"
    model = JobDirectory.open(ctx.home / "kept").output / "model.tar.gz"
    before = model.read_bytes()
    s3.put_object(Bucket="bucket", Key=key, Body=b"another")
    assert model.read_bytes() == before
    s3.delete_object(Bucket="bucket", Key=key)
    assert model.read_bytes() == before


def test_outputs_below_an_address_that_is_an_object_itself(client: Clients, training: Training) -> None:
    client("s3").put_object(Bucket="bucket", Key="both", Body=b"an object")
    request = training("below", OutputDataConfig={"S3OutputPath": "s3://bucket/both"})
    client("sagemaker").create_training_job(**request | {"DebugHookConfig": {"S3OutputPath": "s3://bucket/both"}})
    assert _ended(client, "below")["TrainingJobStatus"] == "Completed"
    assert client("s3").head_object(Bucket="bucket", Key="both/below/output/model.tar.gz")["ContentLength"] > 0
    assert client("s3").get_object(Bucket="bucket", Key="both")["Body"].read() == b"an object"


def test_a_job_whose_outputs_cannot_be_put_into_the_bucket_is_told_all_the_same(
    client: Clients, training: Training, ctx: Context, capfd: pytest.CaptureFixture[str]
) -> None:
    client("s3").create_bucket(Bucket="odd")
    (ctx.home / "buckets/odd/.s3@out").mkdir()
    (ctx.home / "buckets/odd/out").write_text("no folder, and none can be made")
    client("sagemaker").create_training_job(
        **training("unpublished", OutputDataConfig={"S3OutputPath": "s3://odd/out"})
    )
    assert _ended(client, "unpublished")["TrainingJobStatus"] == "Completed"
    assert _ended(client, "unpublished")["TrainingJobStatus"] == "Completed"
    assert capfd.readouterr().err.count("vizsla: ") == 1


def test_checkpoints_lie_in_the_bucket_while_a_job_runs_and_the_next_job_goes_on(
    client: Clients, training: Training
) -> None:
    script = (
        "import os, time\nfolder = os.environ['SM_CHECKPOINT_DIR']\nprint('found', sorted(os.listdir(folder)))\n"
        "open('/opt/ml/checkpoints/epoch-1', 'w').write('one')\n"
        "while not os.path.exists(folder + '/go'):\n    time.sleep(0.02)\n"
    )
    s3, sagemaker, config = client("s3"), client("sagemaker"), {"S3Uri": "s3://kept-elsewhere/runs/one/"}
    sagemaker.create_training_job(**training("spot", script, CheckpointConfig=config))

    def keys() -> dict[str, Any]:
        listed = s3.list_objects_v2(Bucket="kept-elsewhere", Prefix="runs/one/")
        return {"are": [one["Key"] for one in listed.get("Contents", [])]}

    until(keys, "are", [])
    assert keys()["are"] == ["runs/one/epoch-1"]
    job = sagemaker.describe_training_job(TrainingJobName="spot")
    assert (job["TrainingJobStatus"], job["CheckpointConfig"]) == ("InProgress", config)
    s3.put_object(Bucket="kept-elsewhere", Key="runs/one/go", Body=b"")
    assert _ended(client, "spot")["TrainingJobStatus"] == "Completed"
    sagemaker.create_training_job(**training("spot-again", script, CheckpointConfig=config))
    assert _ended(client, "spot-again")["TrainingJobStatus"] == "Completed"
    group, stream = "/aws/sagemaker/TrainingJobs", "spot-again/"
    (told,) = client("logs").filter_log_events(logGroupName=group, logStreamNamePrefix=stream, filterPattern="found")[
        "events"
    ]
    assert told["message"] == "found ['epoch-1', 'go']"
