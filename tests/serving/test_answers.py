"""The words of an answer: what the classes are called, and which form is meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from vizsla.serving.answers import FORMS, Labels, choose_form

if TYPE_CHECKING:
    from conftest import Running


def test_numbered_classes_are_split() -> None:
    dogs = Labels(("001.Affenpinscher", "069.French_bulldog", "101.Norwich.terrier"))
    assert dogs.pairs == (("001", "Affenpinscher"), ("069", "French_bulldog"), ("101", "Norwich.terrier"))


@pytest.mark.parametrize(
    "classes",
    [
        ("1.0L", "1.5L", "2.0L", "2.5L"),
        ("1.0L", "2.5L"),  # also where it would tell them apart
        ("1.cat", "1.dog"),  # one number
        ("1.x", "2.x"),  # one name
        ("001.cat", "dog"),
        ("001.", "002."),
        ("daisy", "rose"),
    ],
)
def test_other_classes_are_called_what_they_are_called(classes: tuple[str, ...]) -> None:
    assert Labels(classes).pairs == tuple((name, name) for name in classes)


def test_a_range_of_types_means_the_first_that_is_offered() -> None:
    assert choose_form("text/*", json_asked=False) is FORMS["text/csv"]
    assert choose_form("image/*, text/*;q=0.1", json_asked=True) is FORMS["text/csv"]


def test_two_accept_headers_are_one_list(server: Running, jpegs: list[bytes]) -> None:
    wanted = [("content-type", "image/jpeg"), ("accept", "text/csv"), ("accept", "video/mp4")]
    answer = server.client.post("/invocations", content=jpegs[0], headers=wanted)
    assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, "text/csv")
