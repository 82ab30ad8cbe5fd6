"""Folders of pictures whose names tell their class, and tables beside them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vizsla.data import Dataset, open_dataset
from vizsla.errors import DataError, UsageError

Flat = Callable[..., list[str]]


@pytest.fixture
def flat(tmp_path: Path, paint) -> Flat:
    """Writes ``NAME-NN.jpg`` of two kinds into one folder, and gives their names without ending, kind by turns."""

    def make(folder: str, count: int = 12, kinds: tuple[str, ...] = ("beagle", "pug"), start: int = 0) -> list[str]:
        place = tmp_path / "data" / folder
        place.mkdir(parents=True, exist_ok=True)
        names = []
        for i in range(start, start + count):
            kind = kinds[i % len(kinds)]
            colour = [(220, 40, 40), (40, 200, 60), (50, 60, 220)][i % len(kinds)]
            paint(i, colour=colour).save(place / f"{kind}-{i:03}.jpg")
            names.append(f"{kind}-{i:03}")
        return names

    return make


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data"


def kind(name: str) -> str:
    return name.rpartition("/")[2].partition("-")[0]


def assert_right(dataset: Dataset, count: int) -> None:
    """Each label is the one that the picture's name begins with."""
    assert len(dataset) == count
    assert [dataset.classes[label] for label in dataset.labels] == [kind(path) for path in dataset.paths]
    assert all(dataset.path(row).is_file() for row in range(count))


def write(file: Path, header: str, rows: list[str]) -> Path:
    file.write_text("\n".join([header, *rows]) + "\n")
    return file


def refused(root: Path, **options) -> DataError | UsageError:
    with pytest.raises((DataError, UsageError)) as caught:
        open_dataset(root, **options)
    return caught.value
