"""One source, one key; options apply in the order a person means them."""

from __future__ import annotations

import pytest

from vizsla.data import open_dataset
from vizsla.data.sources import source_key


@pytest.fixture(autouse=True)
def _no_endpoint(monkeypatch):
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)


def test_spellings_of_one_address_have_one_key(monkeypatch):
    assert source_key("s3://b/p") == source_key("s3://b/p/") == source_key("S3://b/p")
    signed = "https://h/x.zip?X-Amz-Date=20240101T000000Z&X-Amz-Signature=abc"
    assert source_key(signed) == source_key(signed.replace("abc", "def")) == source_key("https://h/x.zip")
    assert source_key("https://me:secret@h/x.zip") == source_key("https://h/x.zip")
    near = source_key("s3://b/p", "http://127.0.0.1:9000/")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9000")
    assert source_key("s3://b/p") == near


def test_other_sources_have_other_keys():
    keys = [
        source_key("s3://b/p"),
        source_key("s3://b/P"),
        source_key("s3://b/p", "http://127.0.0.1:9000"),
        source_key("https://h/x.zip?file=1"),
        source_key("https://h/x.zip?file=2"),
        source_key("https://h/x.zip"),
    ]
    assert len(set(keys)) == len(keys)


def test_a_dropped_class_needs_no_correct_spelling(folder_of_photos):
    root = folder_of_photos({"cat": 5, "Cat": 5, "dog": 5})
    assert open_dataset(root, drop_classes=["Cat"]).classes == ("cat", "dog")
