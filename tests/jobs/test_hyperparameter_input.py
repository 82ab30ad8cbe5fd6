"""Hyperparameters as people give them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vizsla.errors import UsageError
from vizsla.jobs.hyperparameter_input import read_hyperparameters


def test_pairs_json_files_and_mappings(tmp_path: Path) -> None:
    stored = tmp_path / "best.json"
    stored.write_text('{"lr": 0.01, "batch-size": 64, "text": "007"}')
    (tmp_path / "more.yaml").write_text("momentum: 0.5\n")
    assert read_hyperparameters({"lr": 0.1, "layers": [1, 2]}) == {"lr": 0.1, "layers": [1, 2]}
    assert read_hyperparameters("lr=0.02,note=a, b") == {"lr": "0.02", "note": "a, b"}
    assert read_hyperparameters('{"lr": 0.02}') == {"lr": 0.02}
    assert read_hyperparameters(stored) == {"lr": 0.01, "batch-size": 64, "text": "007"}
    together = [str(stored), str(tmp_path / "more.yaml"), "lr=0.02"]
    for texts in (together, together[::-1]):
        given = read_hyperparameters(texts)
        assert given == {"lr": "0.02", "batch-size": 64, "text": "007", "momentum": 0.5}, "typed comes first"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["lr"], "'lr' is not a hyperparameter"),
        (["lr=1,=3", "lr=2"], "Hyperparameter 'lr' is given twice"),
        (["=3"], "'=3' is not a hyperparameter"),
        (['{"a"'], "is not a JSON object"),
        ("nowhere.json", "The file cannot be read: No such file"),
        (Path("nowhere"), "The file cannot be read: No such file"),
    ],
)
def test_what_is_none_of_these(given: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        read_hyperparameters(given)
    assert caught.value.where


def test_a_file_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "values.yml"
    path.write_text("- 1\n")
    with pytest.raises(UsageError, match="The file is not a mapping of names to values"):
        read_hyperparameters([str(path)])
