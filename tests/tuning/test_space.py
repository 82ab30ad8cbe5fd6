"""The search space, in every form that a person may write."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vizsla.errors import UsageError
from vizsla.files import sha256_json
from vizsla.tuning.encoding import Encoding, quasi_random
from vizsla.tuning.space import (
    CategoricalParameter,
    ContinuousParameter,
    IntegerParameter,
    Space,
    parse_assignments,
    parse_text,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.001..0.1", ContinuousParameter(0.001, 0.1)),
        ("0.001..0.1:log", ContinuousParameter(0.001, 0.1, "Logarithmic")),
        ("1e-4..1e-2", ContinuousParameter(0.0001, 0.01)),
        ("0.5..0.99:reverse-log", ContinuousParameter(0.5, 0.99, "ReverseLogarithmic")),
        ("2..4", IntegerParameter(2, 4)),
        ("16..512:log", IntegerParameter(16, 512, "Logarithmic")),
        ("2..4.0", ContinuousParameter(2, 4.0)),
        ("16,32,64", CategoricalParameter([16, 32, 64])),
        ("Adam,SGD", CategoricalParameter(["Adam", "SGD"])),
        ("true,false", CategoricalParameter(["true", "false"])),
        ("-1..1", IntegerParameter(-1, 1)),
        ("5", 5),
        ("resnet18", "resnet18"),
    ],
)
def test_text(text: str, expected: Any) -> None:
    found = parse_text(text)
    assert found == expected
    assert type(found) is type(expected)


def test_the_searches_of_five_known_projects_as_they_stand() -> None:
    """Ranges that engineers gave to SageMaker, in its own classes."""
    spaces = [
        {"lr": ContinuousParameter(0.001, 0.1), "batch-size": CategoricalParameter([32, 64, 128, 256, 512])},
        {"lr": ContinuousParameter(0.0001, 0.01), "batch_size": CategoricalParameter([16, 32, 64, 128])},
        {
            "lr": ContinuousParameter(0.001, 0.1),
            "batch-size": CategoricalParameter([32, 64, 128, 256, 512]),
            "momentum": ContinuousParameter(0.5, 0.9),
        },
        {"learning_rate": ContinuousParameter(0.001, 0.1), "epochs": IntegerParameter(2, 4)},
        {"epochs": CategoricalParameter([5, 10, 20]), "optimizer": CategoricalParameter(["Adam", "SGD"])},
    ]
    for parameters in spaces:
        space = Space.of(parameters)
        assert list(space.parameters) == list(parameters)
        assert Space.of(space.to_dict()) == space
        point = Encoding(space).at([0.5] * len(parameters))
        assert space.contains(point)


def test_a_file_of_ranges_and_sagemakers_document_mean_the_same() -> None:
    plain = Space.of(
        {"lr": {"type": "continuous", "min": 0.001, "max": 0.1, "scaling": "log"}, "b": [16, 32], "epochs": 5}
    )
    document = Space.of(
        {
            "ContinuousParameterRanges": [
                {"Name": "lr", "MinValue": "0.001", "MaxValue": "0.1", "ScalingType": "Logarithmic"}
            ],
            "CategoricalParameterRanges": [{"Name": "b", "Values": ["16", "32"]}],
            "StaticHyperParameters": {"epochs": 5},
        }
    )
    assert plain == document
    assert plain.static == {"epochs": 5}


def test_auto_scaling_is_logarithmic_for_wide_ranges_above_zero() -> None:
    assert ContinuousParameter(0.001, 0.1).scaling == "Logarithmic"
    assert ContinuousParameter(0.5, 0.9).scaling == "Linear"
    assert ContinuousParameter(0, 100).scaling == "Linear"
    assert IntegerParameter(1, 100).scaling == "Logarithmic"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lr=0.1..0.1", ["parameter lr", "0.1..0.1 is empty", "a lower end below the upper one"]),
        ("lr=0.1..0.001", ["The range 0.1..0.001 is empty", "swap the ends"]),
        ("lr=0..0.1:log", ["cannot be logarithmic: it reaches 0", "a lower end above 0", ":linear"]),
        ("lr=-1..1:log", ["cannot be logarithmic: it reaches -1"]),
        ("m=0.5..1.0:reverse-log", ["cannot be reverse-logarithmic", "upper end < 1"]),
        ("lr=0.001..0.1:lgo", ["There is no scaling 'lgo'", "log or reverse-log"]),
        ("lr=0.001..", ["'' is not a number", "'0.001..'"]),
        ("lr=a..b", ["'a' is not a number"]),
        ("b=16,,32", ["A value is missing"]),
        ("b=16,32,16", ["A value comes twice"]),
        ("lr", ["'lr' is not NAME=RANGE", "NAME=LOW..HIGH"]),
        ("lr=1..2 lr=2..3", ["'lr' comes twice"]),
        ("lr=0.1", ["There is nothing to search", "lr=0.001..0.1:log"]),
    ],
)
def test_what_cannot_be_meant_is_said(text: str, words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        Space.of(parse_assignments([text]))
    for word in words:
        assert word in str(caught.value)


def test_a_whole_number_is_never_reverse_logarithmic() -> None:
    with pytest.raises(UsageError, match="cannot be scaled ReverseLogarithmic"):
        IntegerParameter(1, 5, "ReverseLogarithmic")


SPACE = Space.of(
    {
        "lr": "0.0001..0.1:log",
        "momentum": "0.5..0.99:reverse-log",
        "smoothing": "0.0..0.3",
        "epochs": "1..200:log",
        "batch": "64,16,32",
        "optimizer": "sgd,adam",
        "flag": "true,false",
    }
)


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=7, max_size=7))
def test_every_point_of_the_cube_is_in_the_space_and_survives_the_encoding(point: list[float]) -> None:
    encoding = Encoding(SPACE)
    values = encoding.at(point)
    assert SPACE.contains(values)
    back = encoding.decode(encoding.encode(values))
    assert SPACE.contains(back)
    for name, value in values.items():
        assert back[name] == (pytest.approx(value, rel=1e-9) if isinstance(value, float) else value)
    for name, distribution in encoding.distributions().items():
        assert distribution._contains(distribution.to_internal_repr(encoding.encode(values)[name]))


def test_the_scaling_decides_where_the_middle_lies() -> None:
    middle = Encoding(SPACE).at([0.5] * 7)
    assert middle["lr"] == pytest.approx(10**-2.5)
    assert middle["smoothing"] == pytest.approx(0.15)
    assert 1 - float(middle["momentum"]) == pytest.approx((0.5 * 0.01) ** 0.5)
    assert middle["batch"] == 32, "numbers to choose from are searched by rank"


def test_quasi_random_points_keep_apart() -> None:
    def closest(points: np.ndarray) -> float:
        return float(np.linalg.norm(points[:, None] - points[None], axis=2)[np.triu_indices(len(points), 1)].min())

    for dimensions in (1, 2, 3, 5):
        ours = np.mean([closest(quasi_random(16, dimensions, seed)) for seed in range(20)])
        chance = np.mean([closest(np.random.default_rng(seed).random((16, dimensions))) for seed in range(20)])
        assert ours > 1.3 * chance
    assert (quasi_random(8, 3, seed=5) == quasi_random(20, 3, seed=5)[:8]).all(), "more points begin with the fewer"
    assert (quasi_random(8, 3, seed=6) != quasi_random(8, 3, seed=5)).any()
    assert quasi_random(100, 4, seed=1).min() >= 0
    assert quasi_random(100, 4, seed=1).max() < 1


@pytest.mark.parametrize(
    "form",
    [
        "0.01..1",
        "0..0.99:reverse-log",
        "1..1000.5:log",
        "2..4",
        "16,32,64",
        "Adam,SGD",
        "true,false",
        ["32", "64"],
        [32, 64.0, "x", True],
        {"min": 0, "max": 1, "type": "continuous"},
        {"min": 1, "max": 9, "scaling": "log"},
        ContinuousParameter(1, 10),
        CategoricalParameter(["1e3", "true"]),
    ],
)
def test_a_space_written_down_and_read_again_is_the_same_to_the_last_byte(form: object) -> None:
    space = Space.of({"a": form, "fixed": 1, "text": "x"})
    written = space.to_dict()
    again = Space.of(json.loads(json.dumps(written)))
    assert sha256_json(again.to_dict()) == sha256_json(written)
    assert again == space
    assert [repr(p) for p in again.parameters.values()] == [repr(p) for p in space.parameters.values()]
