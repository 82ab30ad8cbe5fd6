"""What a job is asked to do: as it was typed, as a document; what cannot be meant or kept is refused in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.jobs.conftest import MakeSpec, run_to_end
from vizsla.errors import JobError, SourceError, StorageError, UsageError
from vizsla.jobs import spec_input
from vizsla.jobs.executors.local import LocalExecutor
from vizsla.jobs.hyperparameter_input import read_hyperparameters
from vizsla.jobs.spec import ResourceConfig, TrainingJobSpec, decoded, encoded, file_uri
from vizsla.jobs.spec_input import channels, metric_definitions


@pytest.mark.parametrize("value", ["plain", "7", '"7"', "0.10", "true", "a\nb", '"', "{}", "", None, 3, 1e-5, [1, "x"]])
def test_values_survive_the_strings_of_the_document(value: object) -> None:
    (text,) = encoded({"x": value}).values()
    (back,) = decoded({"x": text}).values()
    assert back == value or (isinstance(value, str) and text == value)


def test_a_null_byte_in_a_hyperparameter_is_refused(script_spec: MakeSpec) -> None:
    with pytest.raises(UsageError, match="cannot be used"):
        TrainingJobSpec.read({"HyperParameters": {"x": "a\0b"}})


def test_a_name_that_exists_is_refused(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    first = executor.submit(script_spec("print(1)", name="mine"), "x")
    with pytest.raises(JobError, match="There is a job named 'mine' already") as caught:
        executor.submit(script_spec("print(2)", name="mine"), "x")
    assert "vizsla jobs resume mine" in str(caught.value.do)
    state, _ = run_to_end(executor, first)
    assert state.status == "Completed"
    assert (first.path / "logs.txt").read_text() == "1\n"


@pytest.mark.parametrize("name", ["", "-a", "a b", "a/b", "ü", "x" * 64, "../x"])
def test_names_that_are_not_allowed(executor: LocalExecutor, script_spec: MakeSpec, name: str) -> None:
    with pytest.raises(JobError, match="cannot be the name of a job") as caught:
        executor.submit(script_spec("print(1)", name=name), "x")
    assert "1 to 63 letters" in str(caught.value.allowed)


def test_channels_whose_data_are_missing_or_elsewhere(
    tmp_path: Path, executor: LocalExecutor, script_spec: MakeSpec
) -> None:
    with pytest.raises(JobError, match="There are no data for channel 'train'"):
        executor.submit(script_spec("print(1)", data={"train": tmp_path / "nowhere"}), "x")
    elsewhere = script_spec("print(1)").model_copy(update={"input_data_config": channels(["t=gs://bucket/p"])})
    with pytest.raises(JobError, match="The data of channel 't' cannot be had from there") as caught:
        executor.submit(elsewhere, "x")
    assert caught.value.where == "gs://bucket/p"
    assert "s3://" in str(caught.value.allowed)
    nameless = script_spec("print(1)").model_copy(update={"input_data_config": channels(["t=s3:///p"])})
    with pytest.raises(SourceError, match="names no bucket"):
        executor.submit(nameless, "x")
    assert not list((tmp_path / "runs").iterdir()), "nothing is left behind"


def test_a_field_in_lower_case_is_not_dropped_in_silence() -> None:
    with pytest.raises(UsageError, match="stoppingCondition"):
        TrainingJobSpec.read({"TrainingJobName": "x", "stoppingCondition": {"MaxRuntimeInSeconds": 5}})


def test_a_field_that_no_training_job_has() -> None:
    with pytest.raises(UsageError, match="There is no field 'Hyperparameters'") as caught:
        TrainingJobSpec.read({"Hyperparameters": {"lr": "1"}})
    assert "CreateTrainingJob" in str(caught.value.allowed)
    with pytest.raises(UsageError) as caught:
        TrainingJobSpec.read({"HyperParameters": {"lr": 1}})
    assert caught.value.where == "HyperParameters.lr"


@pytest.mark.parametrize("kind", ["local-0cpu", "local-99cpu", "local-1cpu-9gpu", "locale"])
def test_instance_types_that_this_machine_has_not(kind: str) -> None:
    with pytest.raises(UsageError, match=r"instance type|more than this machine") as caught:
        ResourceConfig(instance_type=kind).share(2, 0)
    assert "local-Ncpu" in str(caught.value.allowed)


def test_what_is_typed_on_the_command_line() -> None:
    assert read_hyperparameters(["lr=0.01,batch-size=64", "note=a, b", '{"n": 1}', "layers=1,2"]) == {
        "lr": "0.01",
        "batch-size": "64",
        "note": "a, b",
        "n": 1,
        "layers": "1,2",
    }
    for bad in ("lr", "=3", "{"):
        with pytest.raises(UsageError, match=r"hyperparameter|JSON object"):
            read_hyperparameters([bad])
    assert metric_definitions(["average test loss=Testing Loss: ([0-9.]+)"])[0].name == "average test loss"
    for text, why in (
        ("loss", "it has no '='"),
        ("=loss: (.*)", "it has no name"),
        (r"loss=loss: \d+", "its regular expression has no group"),
    ):
        with pytest.raises(UsageError) as caught:
            metric_definitions([text])
        assert caught.value.what == f"'{text}' is not a metric: {why}."
        assert "with a group around the number" in str(caught.value.allowed)
    with pytest.raises(UsageError, match="cannot be read: unterminated"):
        metric_definitions(["loss=(["])
    with pytest.raises(UsageError, match="is given twice"):
        channels(["a=/", "a=/"])
    with pytest.raises(UsageError, match="There are no data for channel 'training'"):
        channels(["/nowhere"])
    with pytest.raises(JobError, match="There is no script"):
        spec_input.script_spec("nowhere.py")


@pytest.mark.parametrize("name", [".", ".."])
def test_a_channel_of_dots_alone(executor: LocalExecutor, script_spec: MakeSpec, tmp_path: Path, name: str) -> None:
    document = script_spec("print(1)", data={"train": tmp_path}).to_dict()
    document["InputDataConfig"][0]["ChannelName"] = name
    with pytest.raises(UsageError, match="String should match pattern"):
        TrainingJobSpec.read(document)


def test_a_hyperparameter_given_twice() -> None:
    for again in ("lr=3", '{"lr": 3}'):
        with pytest.raises(UsageError, match="Hyperparameter 'lr' is given twice"):
            read_hyperparameters(["lr=1,batch=2", again])


def test_names_and_words_that_no_program_can_be_given(script_spec: MakeSpec) -> None:
    document = script_spec("print(1)").to_dict()
    for field, name in (("Environment", "A=B"), ("Environment", ""), ("HyperParameters", "")):
        with pytest.raises(UsageError, match="cannot be a name there") as caught:
            TrainingJobSpec.read(document | {field: {name: "x"}})
        assert caught.value.where == field
    for changes in (
        {"Environment": {"A": "a\0b"}},
        {"AlgorithmSpecification": {"ContainerEntrypoint": ["a\0b"]}},
        {"AlgorithmSpecification": {"ContainerEntrypoint": ["a"], "ContainerArguments": ["a\0b"]}},
    ):
        with pytest.raises(UsageError, match="String should match pattern"):
            TrainingJobSpec.read(document | changes)


def test_hyperparameters_that_are_too_long_for_a_program(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    long = {f"h{i}": "v" * 2500 for i in range(100)}
    with pytest.raises(JobError, match="The hyperparameters are too long to be given to a program"):
        executor.submit(script_spec("print(1)", long, name="long"), "x")
    assert not (executor.home / "long").exists()
    some = {f"h{i}": "v" * 2500 for i in range(20)}
    handle = executor.submit(script_spec("import sys; print(len(sys.argv))", some), "x")
    assert run_to_end(executor, handle)[0].status == "Completed"


def test_json_without_end(tmp_path: Path) -> None:
    deep = "[" * 100_000
    (tmp_path / "deep.json").write_text(deep)
    with pytest.raises(UsageError, match="The request cannot be read: maximum recursion depth"):
        spec_input.read_spec(tmp_path / "deep.json", None)
    with pytest.raises(UsageError, match="is not a JSON object: maximum recursion depth"):
        read_hyperparameters(['{"a":' + deep])
    assert decoded({"a": deep}) == {"a": deep}


def test_checkpoints_in_another_folder_of_the_container(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    text = "import os; open('/opt/ml/mine/saved/w', 'w').write('w'); assert os.path.exists('/opt/ml/checkpoints/w')"
    document = script_spec(text).to_dict() | {"CheckpointConfig": {"LocalPath": "/opt/ml/mine/saved"}}
    handle = executor.submit(TrainingJobSpec.read(document), "x")
    assert run_to_end(executor, handle)[0].status == "Completed", (handle.path / "logs.txt").read_text()
    assert (handle.path / "checkpoints" / "w").exists()


def test_checkpoints_in_a_folder_that_jobs_share(
    executor: LocalExecutor, script_spec: MakeSpec, tmp_path: Path
) -> None:
    text = "import os; p = os.environ['SM_CHECKPOINT_DIR']; print('found', os.listdir(p)); open(p + '/w', 'w')"
    folder = tmp_path / "kept here" / "flowers"
    document = script_spec(text).to_dict() | {"CheckpointConfig": {"S3Uri": file_uri(folder)}}
    for found in ("[]", "['w']"):
        handle = executor.submit(TrainingJobSpec.read(document), "x")
        assert run_to_end(executor, handle)[0].status == "Completed"
        assert f"found {found}" in (handle.path / "logs.txt").read_text()
    executor.remove(handle)
    assert (folder / "w").exists()


def test_checkpoints_where_no_folder_can_be(executor: LocalExecutor, script_spec: MakeSpec, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    document = script_spec("").to_dict() | {"CheckpointConfig": {"S3Uri": str(tmp_path / "file")}}
    with pytest.raises(StorageError, match="file"):
        executor.submit(TrainingJobSpec.read(document), "x")
    assert not list(executor.home.glob("*x*"))


@pytest.mark.parametrize(
    ("changes", "words", "do"),
    [
        ({"ResourceConfig": {"InstanceCount": 2}}, "asks for 2 instances; there is one", "share this machine"),
        (
            {"ResourceConfig": {"InstanceGroups": [{"InstanceCount": 1}, {"InstanceCount": 3}]}},
            "asks for 4 instances",
            "share this machine",
        ),
        ({"AlgorithmSpecification": {"TrainingInputMode": "Pipe"}}, "Input mode 'Pipe' is not offered", "SM_CHANNEL_"),
        ({"InputMode": "Pipe"}, "Input mode 'Pipe' is not offered", "SM_CHANNEL_"),
        ({"S3DataType": "AugmentedManifestFile"}, "'train' is a AugmentedManifestFile", "the folder of the files"),
        ({"CheckpointConfig": {"LocalPath": "/tmp/mine"}}, "Checkpoints cannot lie in '/tmp/mine'", "None"),
        ({"CheckpointConfig": {"LocalPath": "/opt/ml/model"}}, "Checkpoints cannot lie in '/opt/ml/model'", "None"),
        ({"OutputDataConfig": {"CompressionType": "ZIP"}}, "'NONE' or 'GZIP'", "None"),
        ({"ResourceConfig": {"InstanceType": "foo"}}, "There is no instance type 'foo'", "None"),
    ],
)
def test_a_request_that_one_machine_cannot_keep_is_refused_not_half_done(
    tmp_path: Path,
    executor: LocalExecutor,
    script_spec: MakeSpec,
    changes: dict[str, Any],
    words: str,
    do: str,
) -> None:
    document = script_spec("print(1)", data={"train": tmp_path}).to_dict()
    channel = document["InputDataConfig"][0]
    channel["DataSource"]["S3DataSource"] |= {k: v for k, v in changes.items() if k == "S3DataType"}
    channel |= {k: v for k, v in changes.items() if k == "InputMode"}
    document |= {k: v for k, v in changes.items() if k.endswith(("Config", "Specification"))}
    with pytest.raises((JobError, UsageError), match=words) as caught:
        executor.submit(TrainingJobSpec.read(document), "x")
    assert do in str(caught.value.do)
    assert not (tmp_path / "runs" / "x").exists()
