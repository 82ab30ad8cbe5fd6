"""Classes are matched by name, and what does not match is said in words."""

from __future__ import annotations

import numpy as np
import pytest

from vizsla.errors import DataError
from vizsla.evaluation.labels import check_shift, match_classes
from vizsla.parameters import COMMAND, speaking

CLASSES = ["daisy", "rose", "tulip"]


def refusal(labels: list[str], classes: list[str]) -> str:
    with pytest.raises(DataError) as caught:
        match_classes(labels, classes)
    return str(caught.value)


def test_labels_in_another_order_and_without_one_class_are_matched() -> None:
    assert match_classes(["tulip", "daisy", "tulip"], CLASSES).tolist() == [2, 0, 2]


def test_ids_shifted_by_one_are_told_as_such() -> None:
    words = refusal(["1", "2", "3"], ["0", "1", "2"])
    assert "shifted by 1" in words
    assert "1 to 3" in words
    assert "0 to 2" in words
    assert "subtract 1 from each label" in words
    assert "add 1 to each label" in refusal(["0", "1"], ["1", "2"])


def test_ids_where_the_model_has_names() -> None:
    words = refusal(["0", "1"], CLASSES)
    assert "number their classes" in words
    assert "classes.txt" in words


def test_other_spellings_are_named_in_pairs() -> None:
    words = refusal(["Daisy", "02_rose", "tulip"], CLASSES)
    assert "spell 2 of their classes otherwise" in words
    assert "'Daisy' for 'daisy'" in words
    assert "'02_rose' for 'rose'" in words


def test_labels_of_another_model() -> None:
    assert "labels of another model" in refusal(["poodle", "boxer"], CLASSES)


def test_a_class_unseen_in_training_is_named_with_what_to_type() -> None:
    with speaking(COMMAND):
        words = refusal(["rose", "lily", "lily"], CLASSES)
    assert "Training had no picture of 'lily'" in words
    assert "2 of the 3 pictures" in words
    assert "--drop-class lily" in words


def test_shifted_ids_that_are_all_classes_are_found_by_the_answers() -> None:
    rng = np.random.default_rng(0)
    classes = [str(i) for i in range(6)]
    predicted = rng.integers(1, 5, 200)
    with pytest.raises(DataError, match=r"shifted by one.*0\.0 %, with one added to each on 100\.0 %"):
        check_shift(predicted, (predicted - 1).astype(np.int32), classes)
    check_shift(predicted, predicted.astype(np.int32), classes)
    check_shift(predicted, rng.permutation(predicted).astype(np.int32), classes)
    check_shift(predicted, (predicted - 1).astype(np.int32), list("abcdef"))
