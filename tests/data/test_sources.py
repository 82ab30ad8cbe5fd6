"""One source, one key; options apply in the order a person means them."""

from __future__ import annotations

import shutil

import pytest

from vizsla.data import open_dataset
from vizsla.data.sources import source_key
from vizsla.errors import DataError


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


@pytest.mark.parametrize(
    ("name", "content", "what", "do"),
    [
        ("labels.xlsx", b"PK\3\4", "This is a spreadsheet, and no data set", "save the sheet as CSV"),
        ("data.rar", b"Rar!\x1a\x07\1\0", "This is an archive, and no data set", "unpack it first"),
        ("a.jpg", b"\xff\xd8\xff\xe0", "This is a JPEG picture, and no data set", "name the folder that holds"),
        ("data.bin", bytes(9), "This is a file of an unknown kind", "name the folder that holds the pictures"),
        ("data.zip", b"<html>Sign in</html>", "no archive .*: the file is a web page", "download it again, signed in"),
        ("data.zip", b"version https://git-lfs.github.com/spec/v1", "the file is a Git LFS pointer", "git lfs pull"),
    ],
)
def test_a_file_that_is_no_source_is_called_what_it_is(tmp_path, name, content, what, do):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=what) as caught:
        open_dataset(tmp_path / name)
    assert do in caught.value.do


@pytest.mark.parametrize("kind", ["bztar", "xztar"])
def test_archives_of_every_compression_that_tar_has(folder_of_photos, kind):
    photos = folder_of_photos({"red": 10, "green": 10})
    archive = shutil.make_archive(str(photos), kind, photos)
    assert open_dataset(archive).counts().sum() == 20
