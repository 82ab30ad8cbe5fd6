"""What holds for the labels of any source: one form, one order, no two that are meant to be one."""

from __future__ import annotations

from pathlib import Path

import pytest

from vizsla.data import open_dataset
from vizsla.data.listing import Listing
from vizsla.errors import DataError

COMPOSED, DECOMPOSED = "ros\u00e9", "rose\u0301"


def listing(*labels: str) -> Listing:
    paths = [f"{i}.jpg" for i in range(len(labels))]
    return Listing("x", Path("x"), paths, list(labels), [None] * len(labels))


def test_two_unicode_forms_are_one_label_with_a_note():
    both = listing(COMPOSED, "daisy", DECOMPOSED)
    both.compose_labels()
    assert both.labels == [COMPOSED, "daisy", COMPOSED]
    assert both.notes == [
        f"Written in two Unicode forms, composed (NFC) and decomposed (NFD), and taken as one: '{COMPOSED}'."
    ]
    alone = listing("daisy", DECOMPOSED)
    alone.compose_labels()
    assert alone.classes() == ("daisy", COMPOSED)
    assert alone.notes == []


def test_a_decomposed_class_is_dropped_by_either_form(folder_of_photos):
    root = folder_of_photos({DECOMPOSED: 5, "daisy": 5, "tulip": 5})
    for name in (COMPOSED, DECOMPOSED):
        assert open_dataset(root, drop_classes=[name]).classes == ("daisy", "tulip")


def test_splits_of_two_systems_hold_one_class(folder_of_photos):
    root = folder_of_photos(splits={"train": {COMPOSED: 8, "daisy": 8}, "test": {DECOMPOSED: 2, "daisy": 2}})
    dataset = open_dataset(root)
    assert dataset.classes == ("daisy", COMPOSED)
    assert "two Unicode forms" in dataset.notes[0]
    assert all(dataset.path(row).is_file() for row in range(len(dataset)))  # paths stay as on disk


def test_both_forms_in_one_folder_lose_no_picture(folder_of_photos):
    root = folder_of_photos({COMPOSED: 4, DECOMPOSED: 3, "daisy": 5})
    dataset = open_dataset(root)
    assert dataset.counts().sum(axis=1).tolist() == [5, 7]


@pytest.mark.parametrize(
    ("labels", "order"),
    [
        ("10 2 0 11 1 3", "0 1 2 3 10 11"),
        ("5 -1 0 -10", "-10 -1 0 5"),
        ("010 002 001", "001 002 010"),
        ("10 2 other 1 background", "background other 1 2 10"),
        ("10.dog 9.cat 2", "2 9.cat 10.dog"),
        ("1e3 20 3", "1e3 3 20"),
    ],
)
def test_whole_numbers_stand_in_the_order_of_numbers(labels, order):
    assert listing(*labels.split()).classes() == tuple(order.split())


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ("Rose", "rose", "differ only by case or spaces"),
        ("rose ", "rose", "differ only by case or spaces"),
        ("01", "1", "differ only by how the number is written"),
        ("rose\u200b", "rose", r"'rose\\u200b' \('rose\\u200b'\)"),
        ("\ufb01r", "fir", r"'\\ufb01r'\) and 'fir'|'fir' .* \('\\ufb01r'\)"),
        ("red\u00a0rose", "red rose", r"\('red\\xa0rose'\)"),
    ],
)
def test_labels_that_look_alike_are_told_apart(first, second, words):
    with pytest.raises(DataError, match=words) as error:
        listing(first, second, second).check_labels()
    assert "one spelling for each class" in error.value.allowed


def test_different_labels_are_left_alone():
    listing("0", "-0.5", "10", "1.0", "a1", "a01", "٣", "x²", "x").check_labels()


@pytest.mark.parametrize("copy", ["daisy (1)", "Daisy - Copy", "daisy - Copy (2)"])
def test_a_copy_of_a_class_folder_is_no_class(copy):
    with pytest.raises(DataError, match="differ only by what a copy of a folder is called") as caught:
        listing("daisy", copy, copy, "rose").check_labels()
    assert caught.value.do == f"write {copy!r} as 'daisy', or give it a name of its own"
    listing("type (1)", "type (2)", "carbon - Copy").check_labels()
