"""Which split a folder's name means."""

from __future__ import annotations

import pytest

from vizsla.data.split_names import says_nothing, split_of, splits_of


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *((name, "train") for name in ("train", "TRAIN", "Training Set", "train_images", "dataset_train")),
        *(
            (name, "train")
            for name in ("trainset", "TrainingData", "flowers-train", "train2017", "01 train", "trainval")
        ),
        *((name, "valid") for name in ("val", "Validation Set", "valset", "dev", "valid-images", "val_set_2")),
        *((name, "test") for name in ("test", "Test Set", "TestSet", "testing", "seg_test", "hold-out", "eval")),
        *((name, None) for name in ("trains", "latest", "contest", "valve", "fold1", "restraint", "daisy", "", "2024")),
        *((name, None) for name in ("train_test", "train and valid")),
    ],
)
def test_a_split_is_named_by_a_whole_word(name, split):
    assert split_of(name) == split


def test_plainly_leaves_out_names_that_speak_of_something_else():
    assert split_of("freight train") == "train"
    assert split_of("freight train", plainly=True) is None
    assert split_of("Test images B", plainly=True) == "test"


def test_names_that_can_be_no_class():
    assert all(map(says_nothing, ("images", "train", "Test set b", "photos_2")))
    assert not any(map(says_nothing, ("a", "0", "10", "daisy", "daisy images", "")))


def test_what_is_held_back_is_the_split_that_is_lacking():
    assert splits_of(["train", "eval"]) == {"train": "train", "eval": "test"}
    assert splits_of(["train", "eval", "test"]) == {"train": "train", "eval": "valid", "test": "test"}
    assert splits_of(["train", "held_out", "Test Set"])["held_out"] == "valid"
