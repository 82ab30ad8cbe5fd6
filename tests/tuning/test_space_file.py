"""Spaces and values from files."""

from __future__ import annotations

from pathlib import Path

import pytest

from vizsla.errors import UsageError
from vizsla.tuning.heads_runner import default_space
from vizsla.tuning.space import CategoricalParameter, ContinuousParameter
from vizsla.tuning.space_file import read_space, read_values


def test_yaml_and_typed_ranges_together(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text("lr: {min: 0.001, max: 0.1, scaling: log}\nbatch-size: [16, 32]\nmomentum: 0.5..0.9\nepochs: 5\n")
    space = read_space([str(path), "momentum=0.8..0.9 optimizer=Adam,SGD"])
    assert space is not None
    assert space.parameters == {
        "lr": ContinuousParameter(0.001, 0.1, "Logarithmic"),
        "batch-size": CategoricalParameter([16, 32]),
        "momentum": ContinuousParameter(0.8, 0.9),
        "optimizer": CategoricalParameter(["Adam", "SGD"]),
    }
    assert space.static == {"epochs": 5}


def test_only_static_values_keep_the_default_space() -> None:
    space = read_space(["epochs=5"], default=default_space())
    assert space is not None
    assert set(space.parameters) == {"lr", "weight_decay", "batch_size"}
    assert space.static["epochs"] == 5
    assert read_space([]) is None


def test_values(tmp_path: Path) -> None:
    path = tmp_path / "best.json"
    path.write_text('{"lr": 0.01, "batch-size": 64, "optimizer": "sgd"}')
    assert read_values([str(path), "lr=0.02,nesterov=true"]) == {
        "lr": 0.02,
        "batch-size": 64,
        "optimizer": "sgd",
        "nesterov": True,
    }


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "The file cannot be read: No such file"), ("a: [1", "The file cannot be read"), ("- 1\n", "not a mapping")],
)
def test_bad_files(tmp_path: Path, content: str | None, words: str) -> None:
    path = tmp_path / "space.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError, match=words) as caught:
        read_space([str(path)])
    assert str(path) in str(caught.value)


def test_a_value_without_a_name() -> None:
    with pytest.raises(UsageError, match="is not NAME=VALUE"):
        read_values(["lr=0.1,=3"])


def test_fixed_values_come_before_the_usual_ones_and_not_twice() -> None:
    space = read_space([], default_space(), fixed={"balance": "weights", "epochs": 3})
    assert space is not None
    assert set(space.parameters) == {"lr", "weight_decay", "batch_size"}
    assert space.static == {"balance": "weights", "epochs": 3}
    with pytest.raises(UsageError, match="Parameter 'epochs' comes twice"):
        read_space(["epochs=2..4"], default_space(), fixed={"epochs": 3})


def test_text_in_a_file_is_text_and_what_is_typed_is_a_number_where_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text('s: ["true", "false"]\nt: [true, false]\nn: ["null", "007"]\nm: 007,010\nfixed: "1e3"\n')
    space = read_space([str(path), "x=true,1e3,0.10,nan,64,0.5,1_000"])
    assert space is not None
    assert space.parameters == {
        "s": CategoricalParameter(["true", "false"]),
        "t": CategoricalParameter([True, False]),
        "n": CategoricalParameter(["null", "007"]),
        "m": CategoricalParameter(["007", "010"]),
        "x": CategoricalParameter(["true", "1e3", "0.10", "nan", 64, 0.5, "1_000"]),
    }
    assert space.static == {"fixed": "1e3"}
