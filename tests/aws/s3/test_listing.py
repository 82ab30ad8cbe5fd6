"""Lists: both forms, against a model of what S3 answers, over real folders."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest

from vizsla.aws.errors import AwsError
from vizsla.aws.s3.keys import names_of, part_of
from vizsla.aws.s3.listing import page
from vizsla.aws.s3.objects import open_object, put_in_place, remove

PARTS = st.sampled_from(["a", "b", "a-", "a.", "a0", "ä", "~", "", ".s3=", ".s3@a", ".x", "𝛼", "\uffee", "B"])
KEYS = st.lists(PARTS, min_size=1, max_size=3).map("/".join).filter(bool)


def expected(keys: set[str], prefix: str, delimiter: str, after: str) -> list[str]:
    """What S3 lists, in order: keys, and common prefixes once."""
    items = set()
    for key in keys:
        if key.startswith(prefix):
            end = key.find(delimiter, len(prefix)) if delimiter else -1
            items.add(key if end < 0 else key[: end + len(delimiter)])
    return sorted((item for item in items if item > after), key=str.encode)


def write(root: Path, key: str) -> None:
    temporary = root.parent / "incoming"
    temporary.write_bytes(key.encode())
    put_in_place(root, key, temporary)


@hypothesis.given(
    keys=st.sets(KEYS, max_size=14),
    removed=st.sets(KEYS, max_size=3),
    prefix=st.one_of(st.just(""), KEYS, KEYS.map(lambda key: key[:2])),
    delimiter=st.sampled_from(["", "/", "a", "-"]),
    after=st.one_of(st.just(""), KEYS),
    size=st.integers(1, 5),
)
@hypothesis.settings(max_examples=120)
def test_pages_are_those_of_the_model(
    keys: set[str], removed: set[str], prefix: str, delimiter: str, after: str, size: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "bucket"
        root.mkdir()
        for key in keys:
            write(root, key)
        for key in removed:
            remove(root, key)
        keys = keys - removed
        listed: list[str] = []
        at: str | None = after
        while at is not None:
            found = page(root, prefix, delimiter, at, size)
            items = sorted([*(item.key for item in found.objects), *found.prefixes], key=str.encode)
            assert len(items) <= size
            listed += items
            at = found.last
            assert at is None or at == items[-1]
        assert listed == expected(keys, prefix, delimiter, after)
        for key in keys:
            opened = open_object(root, key)
            assert opened.file.read() == key.encode()
            opened.close()


@hypothesis.given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=60))
def test_keys_and_names_are_one_to_one(key: str) -> None:
    if {".", ".."} & set(key.split("/")):
        with pytest.raises(AwsError, match="may not be"):
            names_of(key)
        return
    names = names_of(key)
    assert not {"", ".", ".."} & set(names)
    assert "/".join(part_of(name) or "" for name in names) == key


@pytest.mark.parametrize("form", ["list_objects", "list_objects_v2"])
def test_paginators_see_every_key_once(s3: Any, bucket: str, form: str) -> None:
    keys = sorted(f"{'abc'[i % 3]}/{random.Random(i).randrange(50)}/x y+{i}%&é.jpg" for i in range(40))
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    pages = s3.get_paginator(form).paginate(Bucket=bucket, PaginationConfig={"PageSize": 7})
    assert [row["Key"] for found in pages for row in found["Contents"]] == keys
    pages = list(s3.get_paginator(form).paginate(Bucket=bucket, Delimiter="/", PaginationConfig={"PageSize": 2}))
    assert [row["Prefix"] for found in pages for row in found["CommonPrefixes"]] == ["a/", "b/", "c/"]


def test_what_a_list_tells(s3: Any, bucket: str) -> None:
    for key in ("a", "b/c", "b/d", "e"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"xy")
    found = s3.list_objects_v2(Bucket=bucket, MaxKeys=2, FetchOwner=True)
    assert (found["KeyCount"], found["MaxKeys"], found["IsTruncated"], found["Name"]) == (2, 2, True, bucket)
    first = found["Contents"][0]
    assert (first["Key"], first["Size"], first["StorageClass"]) == ("a", 2, "STANDARD")
    assert first["ETag"] == s3.head_object(Bucket=bucket, Key="a")["ETag"]
    assert first["Owner"]["ID"] == "000000000000"
    rest = s3.list_objects_v2(Bucket=bucket, ContinuationToken=found["NextContinuationToken"])
    assert [row["Key"] for row in rest["Contents"]] == ["b/d", "e"]
    assert not rest["IsTruncated"]
    after = s3.list_objects_v2(Bucket=bucket, StartAfter="b/c", Delimiter="")
    assert [row["Key"] for row in after["Contents"]] == ["b/d", "e"]
    older = s3.list_objects(Bucket=bucket, Delimiter="/", MaxKeys=2)
    assert (older["NextMarker"], older["CommonPrefixes"]) == ("b/", [{"Prefix": "b/"}])
    assert s3.list_objects_v2(Bucket=bucket, MaxKeys=0)["KeyCount"] == 0


def test_lists_that_cannot_be_meant(s3: Any, bucket: str) -> None:
    from tests.aws.s3.test_objects import refused

    code, words, _ = refused(s3.list_objects_v2, Bucket=bucket, ContinuationToken="äh")
    assert (code, words) == ("InvalidArgument", "The continuation token provided is incorrect.")
    code, words, _ = refused(s3.list_objects_v2, Bucket=bucket, MaxKeys=-1)
    assert code == "InvalidArgument"
    assert "max-keys must be an integer" in words
