"""Drawn splits are stratified, keep groups whole, and never move an old picture. The test split is sealed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vizsla.data import SPLITS, open_dataset
from vizsla.data.split import UNDRAWN, carve
from vizsla.errors import SealedError, UsageError
from vizsla.training.config import StepConfig
from vizsla.training.head_data import HeadData
from vizsla.training.heads import train_heads
from vizsla.training.table import FeatureTable


def table(counts):
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
    return [f"{label}/{i:05}.jpg" for i, label in enumerate(labels)], labels


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(3, 60), min_size=2, max_size=5), st.lists(st.integers(0, 60), min_size=2, max_size=5),
       st.integers(0, 9), st.integers(1, 6))  # fmt: skip
def test_adding_photos_never_moves_an_old_one(before, added, seed, group_size):
    added = (added + [0] * len(before))[: len(before)]
    paths, labels = table(before)
    groups = np.arange(len(paths), dtype=np.int32) // group_size
    start = np.zeros(len(paths), np.int8)
    old = carve(paths, labels, start, ["valid", "test"], seed, groups=groups)
    more_labels = np.concatenate([labels, np.repeat(np.arange(len(added)), added).astype(np.int32)])
    more_paths = paths + [f"new/{i:05}.jpg" for i in range(sum(added))]
    # the first new pictures belong to an old group
    new_groups = np.concatenate([groups, np.arange(sum(added), dtype=np.int32) + groups.max() - 1])
    frozen = np.concatenate([old, np.full(sum(added), UNDRAWN, np.int8)])
    new = carve(more_paths, more_labels, np.zeros(len(more_paths), np.int8), ["valid", "test"], seed,
                groups=new_groups, frozen=frozen)  # fmt: skip
    assert np.array_equal(new[: len(old)], old)
    for group in np.unique(new_groups):
        assert len(np.unique(new[new_groups == group])) == 1


def test_new_pictures_fill_up_the_shares():
    paths, labels = table([20, 20])
    old = carve(paths, labels, np.zeros(40, np.int8), ["valid", "test"], 0)
    more, more_labels = table([200, 200])
    where = dict(zip(paths, old, strict=True))
    frozen = np.array([where.get(path, UNDRAWN) for path in more], np.int8)
    new = carve(more, more_labels, np.zeros(400, np.int8), ["valid", "test"], 0, frozen=frozen)
    assert np.bincount(new[more_labels == 0], minlength=3).tolist() == [140, 30, 30]


def test_groups_by_a_regular_expression(folder_of_photos):
    root = folder_of_photos({"red": 40, "green": 40})
    dataset = open_dataset(root, group_by=r"(\w+/\d\d)\d\.jpg")
    assert dataset.groups is not None
    assert len(np.unique(dataset.groups)) == 8
    for group in np.unique(dataset.groups):
        assert len(np.unique(dataset.splits[dataset.groups == group])) == 1
    assert (dataset.counts() > 0).all()


def test_expressions_that_cannot_be_meant(folder_of_photos):
    root = folder_of_photos()
    with pytest.raises(UsageError, match="is broken") as caught:
        open_dataset(root, group_by="(")
    assert caught.value.where == "parameter group_by"
    with pytest.raises(UsageError, match="No path matches 'IMG_") as caught:
        open_dataset(root, group_by=r"IMG_(\d+)")
    assert "green/000.jpg" in caught.value.do


def test_numbered_classes_and_dropped_ones(folder_of_photos):
    root = folder_of_photos({"2.cat": 5, "10.dog": 5, "257.clutter": 5})
    assert open_dataset(root).classes == ("2.cat", "10.dog", "257.clutter")
    dataset = open_dataset(root, drop_classes=["clutter"])
    assert dataset.classes == ("2.cat", "10.dog")
    assert "Dropped 5 pictures of '257.clutter'" in " ".join(dataset.notes)
    with pytest.raises(UsageError, match="no class 'cluter' to drop") as caught:
        open_dataset(root, drop_classes=["cluter"])
    assert "'257.clutter'" in caught.value.allowed


def test_the_test_split_is_sealed(folder_of_photos):
    dataset = open_dataset(folder_of_photos())
    sealed = dataset.sealed()
    assert np.array_equal(sealed.rows("train"), dataset.rows("train"))
    with pytest.raises(SealedError, match="The test split is sealed") as caught:
        sealed.rows("test")
    assert "valid split" in caught.value.do
    assert (sealed.labels[dataset.rows("test")] == -1).all()
    assert sealed.check() == ()


def test_training_refuses_test_rows_even_when_they_are_handed_over(folder_of_photos):
    dataset = open_dataset(folder_of_photos())
    features = FeatureTable.of(np.random.default_rng(0).normal(size=(len(dataset), 4)).astype(np.float32))
    sealed, stolen = dataset.sealed(), np.flatnonzero(dataset.splits == SPLITS.index("test"))
    train, valid = sealed.rows("train"), sealed.rows("valid")
    assert train_heads(HeadData(features, sealed.labels, train, valid, 2), [StepConfig(epochs=1)])
    for rows in ((np.concatenate([train, stolen]), valid), (train, stolen)):
        with pytest.raises(SealedError, match="6 pictures of the sealed test split"):
            HeadData(features, sealed.labels, *rows, 2)
