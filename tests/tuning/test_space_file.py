"""Spaces and values from files."""

from __future__ import annotations

from pathlib import Path

import pytest

from vizsla.errors import UsageError
from vizsla.tuning.head_space import default_space
from vizsla.tuning.space import CategoricalParameter, ContinuousParameter
from vizsla.tuning.space_file import read_space


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


def test_a_text_with_spaces_and_a_path_are_values() -> None:
    space = read_space(["lr=0.1..0.2 net=big one,small one", " note=two  words", "weights=../net.pt epochs=1, 2"])
    assert space is not None
    assert space.parameters == {
        "lr": ContinuousParameter(0.1, 0.2),
        "net": CategoricalParameter(["big one", "small one"]),
        "epochs": CategoricalParameter([1, 2]),
    }
    assert space.static == {"note": "two  words", "weights": "../net.pt"}


def test_only_static_values_keep_the_default_space() -> None:
    space = read_space(["epochs=5"], default=default_space)
    assert space is not None
    assert set(space.parameters) == {"lr", "weight_decay", "batch_size"}
    assert space.static["epochs"] == 5
    assert read_space([]) is None


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


def test_a_fixed_value_is_not_searched() -> None:
    space = read_space(["learning_rate=0.01"], default_space)
    assert space is not None
    assert set(space.parameters) == {"weight_decay", "batch_size"}
    assert space.static == {"balance": "none", "learning_rate": 0.01}


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
