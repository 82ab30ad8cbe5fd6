"""Jobs sent to SageMaker: against a service that speaks like it and a real S3 server, with real scripts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commandline import vizsla
from PIL import Image

from jobs.sagemaker_server import SageMaker
from vizsla.errors import JobError, StorageError, UsageError
from vizsla.jobs.conformance.scripts import Scripts, metrics_of, run_to_end, says, wait_for
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.events import LogEvent
from vizsla.jobs.executors.sagemaker import SageMakerExecutor
from vizsla.jobs.sagemaker_account import Account, problems
from vizsla.jobs.sagemaker_document import name_at_aws
from vizsla.models.model import load

pytestmark = pytest.mark.s3
TRAINS = """
    import argparse, os, time
    parser = argparse.ArgumentParser(); parser.add_argument("--lr", type=float)
    print("photos", sorted(os.listdir(os.environ["SM_CHANNEL_TRAINING"])), flush=True)
    for epoch in range(3):
        print(f"Testing Loss: {parser.parse_args().lr / (epoch + 1)}", flush=True)
    open(os.path.join(os.environ["SM_MODEL_DIR"], "w.bin"), "w").write("w")
"""


@pytest.fixture
def aws(tmp_path: Path, s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[SageMaker]:
    account = tmp_path / "account.toml"
    account.write_text(
        'role = "arn:aws:iam::123456789012:role/trainer"\nbucket = "photos/mine"\n'
        'image = "123.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:2.0.0-gpu-py310"\n'
        'fit_image = "123.dkr.ecr.us-east-1.amazonaws.com/vizsla-train:1"\n'
        'serving_image = "123.dkr.ecr.us-east-1.amazonaws.com/vizsla-serving:1"\ncurrency = "EUR"\n'
        '[prices]\n"ml.g4dn.xlarge" = 0.736\n'
    )
    monkeypatch.setenv("VIZSLA_SAGEMAKER", str(account))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "S3RVER")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "S3RVER")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_server)
    service = SageMaker(tmp_path / "aws")
    monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER", service.address)
    monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDWATCH_LOGS", service.address)
    yield service
    service.close()


@pytest.fixture
def executor(tmp_path: Path) -> SageMakerExecutor:
    return SageMakerExecutor(tmp_path / "runs", look_seconds=0.05)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "rose").mkdir(parents=True)
    for name in ("a.jpg", "b.jpg", "rose/c.jpg"):
        (folder / name).write_bytes(name.encode() * 10)
    return folder


def test_a_script_runs_there_and_its_model_comes_back(
    aws: SageMaker, executor: SageMakerExecutor, script_spec: Scripts, photos: Path
) -> None:
    spec = script_spec(
        TRAINS,
        {"lr": 0.5},
        data={"training": photos},
        metrics={"loss": r"Testing Loss: ([0-9\.]+)"},
        instance="ml.g4dn.xlarge",
        limit=3600,
    )
    handle = executor.submit(spec, "flowers")
    state, events = run_to_end(executor, handle)
    assert state.status == "Completed", state.reason
    log = "".join(event.text for event in events if isinstance(event, LogEvent))
    assert "photos ['a.jpg', 'b.jpg', 'rose']\nTesting Loss: 0.5\n" in log
    assert "3 files sent" in log
    assert metrics_of(events) == [("loss", 0.5), ("loss", 0.25), ("loss", pytest.approx(0.5 / 3))]
    assert (executor.fetch(handle, "model") / "w.bin").read_text() == "w"
    ((operation, sent),) = [request for request in aws.requests if request[0].startswith("Create")]
    assert operation == "CreateTrainingJob"
    assert sent["TrainingJobName"] == handle.name
    assert sent["RoleArn"].endswith("role/trainer")
    assert sent["ResourceConfig"] == {"InstanceType": "ml.g4dn.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 30}
    assert sent["StoppingCondition"] == {"MaxRuntimeInSeconds": 3600}
    assert sent["OutputDataConfig"]["S3OutputPath"] == "s3://photos/mine/jobs"
    assert sent["CheckpointConfig"]["S3Uri"] == f"s3://photos/mine/jobs/{handle.name}/checkpoints"
    assert sent["AlgorithmSpecification"]["MetricDefinitions"][0]["Name"] == "loss"
    assert json.loads(sent["HyperParameters"]["sagemaker_submit_directory"]).startswith("s3://photos/mine/code/")


def test_the_built_in_training_runs_there_in_its_own_container(
    aws: SageMaker, folder_of_photos: Callable[..., Path], executor: SageMakerExecutor
) -> None:
    from vizsla.jobs.spec_input import builtin_spec

    photos = folder_of_photos({"red": 20, "green": 20})
    values = {"backbone": "test_resnet", "random-init": True}
    spec = builtin_spec(str(photos), values, "ml.m5.large", None, "fit-there")
    handle = executor.submit(spec, "photos")
    state, _ = run_to_end(executor, handle, seconds=300)
    assert state.status == "Completed", executor.logs(handle)[0]
    (sent,) = [sent for operation, sent in aws.requests if operation == "CreateTrainingJob"]
    assert sent["AlgorithmSpecification"]["TrainingImage"].endswith("/vizsla-train:1")
    picture = next(photos.rglob("*.jpg"))
    assert load(handle.path / "model").predict(picture).label in ("red", "green")


def test_the_container_tells_why_it_failed(tmp_path: Path) -> None:
    place = tmp_path / "ml"
    (place / "input" / "config").mkdir(parents=True)
    (place / "input" / "data" / "training").mkdir(parents=True)
    code = "import sys; from pathlib import Path; from vizsla.workflow.container import train\n"
    code += "sys.exit(train(Path(sys.argv[1])))"
    done = subprocess.run([sys.executable, "-c", code, str(place)], capture_output=True, text=True)
    assert done.returncode == 1
    assert (place / "output" / "failure").read_text().splitlines()[0] in done.stderr


def test_only_what_changed_is_sent(
    aws: SageMaker, executor: SageMakerExecutor, script_spec: Scripts, photos: Path
) -> None:
    def sent() -> str:
        spec = script_spec(TRAINS, {"lr": 1}, data={"training": photos}, instance="ml.m5.large")
        handle = executor.submit(spec, "again")
        assert run_to_end(executor, handle)[0].status == "Completed"
        log = executor.logs(handle)[0]
        return log[log.index(": ") : log.index("removed")] + log[log.index("photos [") :].splitlines()[0]

    assert "3 files sent (0.0 MB), 0 unchanged, 0 " in sent()
    assert "0 files sent (0.0 MB), 3 unchanged, 0 " in sent()
    (photos / "a.jpg").write_bytes(b"another")
    (photos / "b.jpg").unlink()
    last = sent()
    assert "1 files sent (0.0 MB), 1 unchanged, 1 " in last
    assert last.endswith("photos ['a.jpg', 'rose']")


def test_a_file_whose_name_is_no_text_is_named(
    aws: SageMaker, executor: SageMakerExecutor, script_spec: Scripts, photos: Path
) -> None:
    (photos / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"latin")
    spec = script_spec(TRAINS, {"lr": 1}, data={"training": photos}, instance="ml.m5.large")
    state, _ = run_to_end(executor, executor.submit(spec, "odd"))
    assert state.status == "Failed"
    assert "A file's name is no text, as an object's must be: 'caf\\udce9.jpg'." in str(state.reason)


def test_a_failure_a_stop_and_another_attempt(
    aws: SageMaker, executor: SageMakerExecutor, script_spec: Scripts
) -> None:
    handle = executor.submit(script_spec("raise SystemExit('no data')", instance="ml.m5.large"), "fails")
    state, _ = run_to_end(executor, handle)
    assert (state.status, state.reason) == ("Failed", "AlgorithmError: ExecuteUserScriptError: ExitCode 1")
    assert "no data" in (handle.path / "output" / "failure").read_text()
    executor.resume(handle)
    assert run_to_end(executor, handle)[0].attempts == 2
    names = [sent["TrainingJobName"] for operation, sent in aws.requests if operation == "CreateTrainingJob"]
    assert names == [handle.name, f"{handle.name}-2"]
    long = executor.submit(
        script_spec("import time; print('up', flush=True); time.sleep(600)", instance="ml.m5.large"), "long"
    )
    wait_for(lambda: executor.poll([long]) and says(executor, long, "up"))
    SageMakerExecutor(executor.home).stop(long, reason="enough")
    state, _ = run_to_end(executor, long)
    assert (state.status, state.reason) == ("Stopped", "enough")


def test_another_process_takes_a_job_over(
    aws: SageMaker, executor: SageMakerExecutor, script_spec: Scripts, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    text = f"""
        import os, time
        for i in range(40):
            print(f"loss: {{i}}", flush=True)
            while i == 10 and not os.path.exists({str(go)!r}): time.sleep(0.02)
        """
    handle = executor.submit(script_spec(text, metrics={"loss": r"loss: (\d+)"}, instance="ml.m5.large"), "passes-on")
    wait_for(lambda: executor.poll([handle]) and says(executor, handle, "loss: 3"))
    executor.close()
    other = SageMakerExecutor(executor.home, look_seconds=0.05)
    other.resume(handle)
    go.touch()
    state, _ = run_to_end(other, handle)
    assert (state.status, state.attempts) == ("Completed", 1)
    assert other.logs(handle)[0].splitlines() == [f"loss: {i}" for i in range(40)], "each line once"


def test_credentials_that_expire_in_the_middle(
    aws: SageMaker, executor: SageMakerExecutor, script_spec: Scripts, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    text = f"import os, time; print('up', flush=True)\nwhile not os.path.exists({str(go)!r}): time.sleep(0.05)"
    handle = executor.submit(script_spec(text, instance="ml.m5.large"), "long")
    wait_for(lambda: executor.poll([handle]) and says(executor, handle, "up"))
    aws.refusal = "ExpiredTokenException", "The security token included in the request is expired"
    with pytest.raises(JobError, match="The AWS credentials have expired") as caught:
        run_to_end(executor, handle)
    assert f"`vizsla jobs resume {handle.name}` follows it again; the job itself goes on at AWS" in str(caught.value.do)
    executor.close()
    other = SageMakerExecutor(executor.home, look_seconds=0)
    assert other.state(handle).status == "InProgress", "who cannot ask says what was known"
    aws.refusal = None
    other.resume(handle)
    go.touch()
    assert run_to_end(other, handle)[0].status == "Completed"


def test_a_disk_that_is_full_when_the_model_comes_back(aws: SageMaker, script_spec: Scripts, small_disk: Path) -> None:
    text = "import os\nopen(os.environ['SM_MODEL_DIR'] + '/w.bin', 'wb').write(os.urandom(1 << 20))"
    executor = SageMakerExecutor(small_disk / "runs", look_seconds=0.05)
    handle = executor.submit(script_spec(text, instance="ml.m5.large"), "large")
    with pytest.raises(StorageError, match="The disk is full"):
        run_to_end(executor, handle)
    assert executor.state(handle).status == "InProgress", "it is looked at again, when there is room"


def test_a_batch_transform_runs_there(
    aws: SageMaker, executor: SageMakerExecutor, photos: Path, tmp_path: Path
) -> None:
    from vizsla.jobs.kinds import kind_of

    model = tmp_path / "trained" / "output"
    model.mkdir(parents=True)
    (model / "model.tar.gz").write_bytes(b"a model")
    document = {
        "ModelName": str(model.parent),
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3Uri": str(photos), "S3DataType": "S3Prefix"}},
            "ContentType": "image/jpeg",
        },
        "TransformOutput": {"Accept": "application/json"},
        "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 2},
        "DataProcessing": {"InputFilter": "$", "OutputFilter": "$", "JoinSource": "None"},
    }
    spec = kind_of("transform").spec(document | {"TransformResources": {"InstanceType": "ml.m5.large"}})
    handle = executor.submit(spec, "photos", kind="transform", document=document)
    state, _ = run_to_end(executor, handle)
    assert state.status == "Completed", state.reason
    assert json.loads((handle.path / "output" / "rose" / "c.jpg.out").read_text()) == {"bytes": 110 - 10}
    created = dict(aws.requests)
    assert created["CreateModel"]["PrimaryContainer"]["ModelDataUrl"].endswith("/model.tar.gz")
    assert created["CreateTransformJob"]["TransformResources"] == {"InstanceType": "ml.m5.large", "InstanceCount": 2}
    assert "answered" in executor.logs(handle)[0]


def test_a_dry_run_sends_nothing_and_tells_the_cost(aws: SageMaker, tmp_path: Path, photos: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text("print('loss: 0.5')")
    here = vizsla("train", "--script", script, "--metric", r"loss=loss: ([\d.]+)", "--name", "here")
    assert here.returncode == 0, here.stderr
    asked = ("train", "--script", script, "--data", photos, "--instance-type", "ml.g4dn.xlarge", "--minutes", 30)
    said = vizsla(*asked, "--executor", "sagemaker", "--dry-run")
    assert said.returncode == 0, said.stderr
    request = json.loads(said.stdout)
    assert problems("CreateTrainingJob", request) == []
    assert "cost    0.74 EUR an hour on 1 x ml.g4dn.xlarge, at most 0.37 within its time limit" in said.stderr
    assert "here    here took" in said.stderr
    assert "loss 0.5" in said.stderr
    told = json.loads(vizsla(*asked, "--executor", "sagemaker", "--dry-run", "--json").stdout)
    assert told["cost"] == {"hour": 0.736, "most": pytest.approx(0.368), "currency": "EUR"}
    assert aws.requests == []
    local = vizsla("train", "--script", script, "--dry-run")
    assert "The executor local sends no request: there is nothing to show." in local.stderr
    assert "--executor sagemaker" in local.stderr


def test_a_dry_run_of_the_built_in_training_tells_how_fast_it_was_here(
    aws: SageMaker, folder_of_photos: Callable[..., Path], paint: Callable[..., Image.Image]
) -> None:
    photos = folder_of_photos({"red": 20, "green": 20})
    paint(20_191).save(photos / "red" / "own.jpg")  # which no other test has left in the cache
    here = vizsla("fit", photos, "--backbone", "test_resnet", "--random-init", "--name", "here")
    assert here.returncode == 0, here.stderr
    asked = ("--executor", "sagemaker", "--instance-type", "ml.m5.large", "--dry-run", "--json")
    said = vizsla("train", photos, *asked)
    assert said.returncode == 0, said.stderr
    told = json.loads(said.stdout)["here"]
    assert told["job"] == "here"
    assert told["metrics"]["images_per_second"] > 0
    said = vizsla("train", folder_of_photos(name="others"), *asked)
    assert json.loads(said.stdout)["here"] is None


def test_prices_may_be_written_without_quotes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    account = tmp_path / "account.toml"
    account.write_text('[prices]\nml.m5.large = 0.12\n"ml.m5.xlarge" = 1\nml.g4dn.xlarge = 0.736\n')
    monkeypatch.setenv("VIZSLA_SAGEMAKER", str(account))
    assert Account.read().prices == {"ml.m5.large": 0.12, "ml.m5.xlarge": 1, "ml.g4dn.xlarge": 0.736}


def test_a_name_that_aws_has_given_already(
    aws: SageMaker, executor: SageMakerExecutor, script_spec: Scripts, tmp_path: Path
) -> None:
    """That of a job that was removed here, or of a colleague's."""
    for home in ("runs", "elsewhere"):
        runs = SageMakerExecutor(tmp_path / home, look_seconds=0.05)
        state, _ = run_to_end(runs, runs.submit(script_spec("print(1)", name="mine", instance="ml.m5.large"), "x"))
    assert state.status == "Failed"
    assert "AWS has one of this name already, and gives no name twice" in str(state.reason)


def test_what_cannot_be_sent_is_said_before_there_is_a_job(
    aws: SageMaker, executor: SageMakerExecutor, script_spec: Scripts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="There is no instance type 'local' at AWS"):
        executor.submit(script_spec("print(1)", instance="local"), "x")
    spec = script_spec("print(1)", instance="ml.m5.large").model_copy(update={"vpc_config": {"Subnets": ["subnet-1"]}})
    with pytest.raises(UsageError, match=r"SageMaker would refuse the request: .*SecurityGroupIds"):
        executor.submit(spec, "x")
    monkeypatch.delenv("VIZSLA_SAGEMAKER")
    with pytest.raises(UsageError, match="It is not said which bucket takes code, data and results"):
        executor.submit(script_spec("print(1)", instance="ml.m5.large"), "x")
    wrong = tmp_path / "wrong.toml"
    monkeypatch.setenv("VIZSLA_SAGEMAKER", str(wrong))
    for text, words in (
        ("roles = 1", "'roles' cannot be meant"),
        ("role = 1", "'role' cannot be meant"),
        ("[prices]\nx = 'y'", "The price of 'x' cannot be 'y'"),
        ("[prices]\nml.m5.large = true", "The price of 'ml.m5.large' cannot be True"),
        ("[prices]\nx = nan", "The price of 'x' cannot be nan"),
        ("[prices]\nx = -1", "The price of 'x' cannot be -1"),
    ):
        wrong.write_text(text)
        with pytest.raises(UsageError, match=words):
            executor.submit(script_spec("print(1)", instance="ml.m5.large"), "x")
    assert not executor.home.exists()


def test_names_there_are_given_once() -> None:
    name = "train-" + "x" * 57
    assert name_at_aws(name, 1) == name
    assert name_at_aws(name, 12) == name[:60] + "-12"
    assert len(name_at_aws(name, 12)) == 63
    assert not JobDirectory(Path(name)).path.exists()
