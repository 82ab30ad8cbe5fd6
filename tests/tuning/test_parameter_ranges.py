"""SageMaker's tuning documents, in every wrapping, for heads and for scripts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vizsla.errors import UsageError
from vizsla.parameters import COMMAND, speaking
from vizsla.tuning.head_space import default_space
from vizsla.tuning.space import CategoricalParameter, ContinuousParameter, IntegerParameter, Space
from vizsla.tuning.space_file import read_space

RANGES: dict[str, Any] = {
    "ContinuousParameterRanges": [
        {"Name": "lr", "MinValue": "0.001", "MaxValue": "0.1", "ScalingType": "Logarithmic"},
        {"Name": "momentum", "MinValue": "0.5", "MaxValue": "0.99", "ScalingType": "ReverseLogarithmic"},
        {"Name": "wd", "MinValue": "1e-05", "MaxValue": "1", "ScalingType": "Auto"},
    ],
    "IntegerParameterRanges": [{"Name": "epochs", "MinValue": "2", "MaxValue": "10"}],
    "CategoricalParameterRanges": [{"Name": "batch-size", "Values": ["16", "32"]}],
}
SPACE = {
    "lr": ContinuousParameter(0.001, 0.1, "Logarithmic"),
    "momentum": ContinuousParameter(0.5, 0.99, "ReverseLogarithmic"),
    "wd": ContinuousParameter(1e-05, 1),
    "epochs": IntegerParameter(2, 10),
    "batch-size": CategoricalParameter([16, 32]),
}
CONFIG = {
    "Strategy": "Bayesian",
    "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "average test loss"},
    "ResourceLimits": {"MaxNumberOfTrainingJobs": 9, "MaxParallelTrainingJobs": 2, "MaxRuntimeInSeconds": 600},
    "TrainingJobEarlyStoppingType": "Off",
    "TuningJobCompletionCriteria": {"TargetObjectiveMetricValue": 0.1},
    "RandomSeed": 3,
    "ParameterRanges": RANGES,
}
REQUEST = {
    "HyperParameterTuningJobName": "from-aws",
    "HyperParameterTuningJobConfig": CONFIG,
    "TrainingJobDefinition": {
        "StaticHyperParameters": {
            "freeze": '"true"',
            "nesterov": "true",
            "decay": "0.5",
            "sagemaker_program": '"hpo.py"',
            "_tuning_objective_metric": "x",
        },
        "RoleArn": "arn:aws:iam::1:role/x",
    },
    "WarmStartConfig": {"ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": "before"}]},
}
IN_DEFINITION = {"TrainingJobDefinitions": [{"HyperParameterRanges": RANGES}]}


def written(folder: Path, document: Any, suffix: str = ".json") -> str:
    """The name of a file with the document; JSON is YAML, too."""
    path = folder / f"space{suffix}"
    path.write_text(json.dumps(document))
    return str(path)


@pytest.mark.parametrize("suffix", [".json", ".yaml"])
@pytest.mark.parametrize(
    "document",
    [RANGES, {"ParameterRanges": RANGES}, {"HyperParameterTuningJobConfig": CONFIG}, CONFIG, REQUEST, IN_DEFINITION],
    ids=["plain", "wrapped", "config within", "config", "request", "in the definition"],
)
def test_every_wrapping_means_the_same(document: dict[str, Any], suffix: str, tmp_path: Path) -> None:
    for default in (None, default_space):
        space = read_space([written(tmp_path, document, suffix)], default)
        assert space is not None
        assert space.parameters == SPACE
    assert Space.of(document).parameters == SPACE


def test_a_whole_request_gives_the_static_values_and_says_what_is_not_taken(tmp_path: Path) -> None:
    notes: list[str] = []
    path = written(tmp_path, REQUEST)
    with speaking(COMMAND):
        space = read_space([path], note=notes.append)
    assert space is not None
    assert space.static == {"freeze": "true", "nesterov": True, "decay": 0.5}
    assert notes == [
        f"Of {path} the ranges and static values are taken; what else it asks for is typed: --strategy bayesian "
        "--objective 'average test loss' --trials 9 --max-parallel-jobs 2 --minutes 10 --early-stopping off "
        "--target 0.1 --seed 3 --minimize --warm-start before"
    ]
    notes.clear()
    with speaking(COMMAND):
        read_space([written(tmp_path, {"ParameterRanges": RANGES, "Strategy": "Random"})], note=notes.append)
    assert [note.rpartition(": ")[2] for note in notes] == ["--strategy random"]
    notes.clear()
    read_space([written(tmp_path, RANGES)], note=notes.append)
    assert notes == []


def test_values_are_read_as_the_toolkit_reads_them() -> None:
    values = ["16", '"16"', "true", '"true"', "007", "Adam", '"sgd"', "1e3"]
    space = Space.of({"CategoricalParameterRanges": [{"Name": "x", "Values": values}]})
    assert space.parameters == {"x": CategoricalParameter([16, "16", True, "true", "007", "Adam", "sgd", 1000.0])}


def test_heads_are_told_numbers_and_truth_values(tmp_path: Path) -> None:
    document = {
        "CategoricalParameterRanges": [
            {"Name": "batch_size", "Values": ['"16"', '"32"']},
            {"Name": "nesterov", "Values": ["true", '"false"']},
        ]
    }
    space = read_space([written(tmp_path, document), "lr=1e-3,1e-2 momentum=0.90"], default_space)
    assert space is not None
    assert space.parameters["batch_size"] == CategoricalParameter([16, 32])
    assert space.parameters["nesterov"] == CategoricalParameter([True, False])
    assert space.parameters["lr"] == CategoricalParameter([0.001, 0.01])
    assert space.static == {"momentum": 0.9}


def test_what_is_typed_comes_before_the_file(tmp_path: Path) -> None:
    space = read_space([written(tmp_path, RANGES), "lr=0.2..0.3 epochs=5"])
    assert space is not None
    assert space.parameters["lr"] == ContinuousParameter(0.2, 0.3)
    assert (space.static, "epochs" in space.parameters) == ({"epochs": 5}, False)


def test_ranges_that_sagemaker_would_choose(tmp_path: Path) -> None:
    auto = [{"Name": "dropout", "ValueHint": "0.5"}]
    path = written(tmp_path, {"ParameterRanges": RANGES | {"AutoParameters": auto}})
    with pytest.raises(UsageError, match="SageMaker would choose the range of 'dropout' by itself") as caught:
        read_space([path])
    assert caught.value.where == "AutoParameters, parameter dropout, with the hint 0.5"
    assert "dropout=LOW..HIGH" in str(caught.value.do)
    space = read_space([path, "dropout=0.1..0.6"])
    assert space is not None
    assert space.parameters == SPACE | {"dropout": ContinuousParameter(0.1, 0.6)}
    own = read_space([written(tmp_path, {"AutoParameters": [{"Name": "weight_decay"}]})], default_space)
    assert own is not None
    assert own.parameters == {"weight_decay": default_space().parameters["weight_decay"]}


@pytest.mark.parametrize(
    ("kind", "entry", "words"),
    [
        ("Continuous", {"Name": "lr", "MinValue": "a", "MaxValue": "1"}, ["MinValue is not a number: 'a'", "lr"]),
        ("Continuous", {"Name": "lr", "MinValue": "1"}, ["MaxValue is not a number: None", "ParameterRanges[0]"]),
        ("Continuous", {"MinValue": "1", "MaxValue": "2"}, ["The parameter has no name", '"Name": "lr"']),
        ("Continuous", {"Name": "lr", "MinValue": "2", "MaxValue": "1"}, ["The range 2.0..1.0 is empty", "lr"]),
        (
            "Continuous",
            {"Name": "lr", "MinValue": "1", "MaxValue": "2", "ScalingType": "Log10"},
            ["There is no scaling 'Log10'", "parameter lr"],
        ),
        ("Integer", {"Name": "n", "MinValue": "0.5", "MaxValue": "2"}, ["MinValue is not a whole number: '0.5'"]),
        ("Categorical", {"Name": "n", "Values": "16,32"}, ["A categorical parameter needs values", "parameter n"]),
        ("Categorical", {"Name": "n", "Values": []}, ["A categorical parameter needs values", "parameter n"]),
        ("Categorical", {"Name": "n", "Values": ["16", "16"]}, ["A value comes twice", "parameter n"]),
        ("Categorical", "n", ["'n' is no parameter", "CategoricalParameterRanges[0]"]),
    ],
)
def test_entries_that_cannot_be_meant(kind: str, entry: Any, words: list[str], tmp_path: Path) -> None:
    path = written(tmp_path, {"ParameterRanges": {f"{kind}ParameterRanges": [entry]}})
    with pytest.raises(UsageError) as caught:
        read_space([path])
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_kind_of_ranges_that_is_misspelt_is_not_passed_over(wrapped: bool, tmp_path: Path) -> None:
    ranges = RANGES | {"ContinousParameterRanges": [{"Name": "dropout", "MinValue": "0", "MaxValue": "1"}]}
    path = written(tmp_path, {"ParameterRanges": ranges} if wrapped else ranges)
    with pytest.raises(UsageError, match="There are no 'ContinousParameterRanges'") as caught:
        read_space([path])
    assert caught.value.where == (f"{path}: ParameterRanges" if wrapped else path)
    assert "ContinuousParameterRanges, IntegerParameterRanges" in str(caught.value.allowed)


def test_documents_that_hold_two_searches(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="defines 2 training jobs that are searched together") as caught:
        read_space([written(tmp_path, {"TrainingJobDefinitions": [{}, {}]})])
    assert "one definition" in str(caught.value)
    twice = {"HyperParameterTuningJobConfig": CONFIG, "TrainingJobDefinition": {"HyperParameterRanges": RANGES}}
    with pytest.raises(UsageError, match="Parameter 'lr' comes twice"):
        read_space([written(tmp_path, twice)])
