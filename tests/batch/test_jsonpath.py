"""The operators of batch transform's JSONPath."""

from __future__ import annotations

from typing import Any

import pytest

from vizsla.batch.jsonpath import MISSING, JsonPath
from vizsla.batch.records import split_lines
from vizsla.errors import UsageError

DOCUMENT = {"id": 7, "scores": [0.1, 0.2, 0.7], "rows": [{"a": 1}, {"a": 2}, {"b": 3}], "odd name": {"x": None}}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("$", DOCUMENT),
        ("$.id", 7),
        ("$['id']", 7),
        ('$["odd name"].x', None),
        ("$.scores[-1]", 0.7),
        ("$.scores[0,2]", [0.1, 0.7]),
        ("$.scores[1:]", [0.2, 0.7]),
        ("$.scores[:-1]", [0.1, 0.2]),
        ("$.rows[*].a", [1, 2]),
        ("$.rows[0:2].a", [1, 2]),
        ("$['id', 'scores']", {"id": 7, "scores": [0.1, 0.2, 0.7]}),
        ("$.none", MISSING),
        ("$.id.deeper", MISSING),
        ("$.scores[9]", MISSING),
        ("$.scores.name", MISSING),
        ("$['none','nothing']", MISSING),
        ("$.*", list(DOCUMENT.values())),
    ],
)
def test_a_path_finds(text: str, found: Any) -> None:
    assert (
        JsonPath.parse(text).find(DOCUMENT) == found
        if found is not MISSING
        else JsonPath.parse(text).find(DOCUMENT) is found
    )


@pytest.mark.parametrize("text", ["", "id", "$..id", "$[?(@.a)]", "$.", "$[", "$['a]", "$.a b", "$[a]"])
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="cannot be read") as refused:
        JsonPath.parse(text, "output_filter")
    assert "JSONPath with the operators" in str(refused.value)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_lines_are_the_same_whatever_the_blocks(size: int) -> None:
    text = b"first\r\n\nsecond line\nlonger than twenty bytes it is\nlast"
    blocks = [text[i : i + size] for i in range(0, len(text), size)]
    assert list(split_lines(blocks, 20)) == [b"first", b"second line", None, b"last"]
