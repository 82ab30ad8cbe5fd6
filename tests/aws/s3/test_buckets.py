"""Buckets are folders: made, linked, listed, removed; keys that are not names; what is refused."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.aws.s3.test_objects import refused
from vizsla.aws.errors import AwsError
from vizsla.aws.s3.places import ensure_bucket, link_bucket, path_of, uri_of

if TYPE_CHECKING:
    from tests.aws.s3.conftest import Door

exceptions = pytest.importorskip("botocore.exceptions")


def keys(s3: Any, bucket: str) -> list[str]:
    return [row["Key"] for row in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]


def test_making_finding_and_removing(s3: Any, door: Door) -> None:
    s3.create_bucket(Bucket="made.here-1")
    assert door.bucket("made.here-1").is_dir()
    assert "made.here-1" in [row["Name"] for row in s3.list_buckets()["Buckets"]]
    assert s3.head_bucket(Bucket="made.here-1")["BucketRegion"] == "us-east-1"
    assert s3.get_bucket_location(Bucket="made.here-1")["LocationConstraint"] is None
    s3.create_bucket(Bucket="made.here-1")  # in us-east-1 no error
    s3.put_object(Bucket="made.here-1", Key="a/b", Body=b"")
    code, _, status = refused(s3.delete_bucket, Bucket="made.here-1")
    assert (code, status) == ("BucketNotEmpty", 409)
    s3.delete_object(Bucket="made.here-1", Key="a/b")
    s3.delete_bucket(Bucket="made.here-1")
    assert not door.bucket("made.here-1").exists()
    assert refused(s3.head_bucket, Bucket="made.here-1")[:2] == ("404", "Not Found")


def test_buckets_come_in_pages(s3: Any) -> None:
    names = [f"page-{number}" for number in range(5)]
    for name in names:
        s3.create_bucket(Bucket=name)
    pages = list(s3.get_paginator("list_buckets").paginate(Prefix="page-", PaginationConfig={"PageSize": 2}))
    assert [[row["Name"] for row in page["Buckets"]] for page in pages] == [names[:2], names[2:4], names[4:]]


@pytest.mark.parametrize("name", ["ab", "Upper", "a..b", "-ab", "ab-", "192.168.1.1", "a_b", "x" * 64])
def test_names_that_no_bucket_has(s3: Any, name: str) -> None:
    with pytest.raises((exceptions.ClientError, exceptions.ParamValidationError)) as caught:
        s3.create_bucket(Bucket=name)
    assert "bucket" in str(caught.value).lower()
    with pytest.raises(AwsError, match="The specified bucket is not valid"):
        ensure_bucket(Path("nowhere"), name)


def test_a_bucket_that_is_not_here_is_said_so(s3: Any, door: Door) -> None:
    for call in (s3.get_object, s3.list_objects_v2, s3.delete_object):
        named = {} if call == s3.list_objects_v2 else {"Key": "a"}
        code, words, status = refused(call, Bucket="of-somebody-else", **named)
        assert (code, status) == ("NoSuchBucket", 404)
        assert f"there is no folder {door.bucket('of-somebody-else')}" in words
        assert "It is not fetched from AWS" in words
        assert "`aws s3 mb s3://" in words
    assert refused(s3.head_object, Bucket="of-somebody-else", Key="a")[2] == 404
    s3.put_object(Bucket="of-somebody-else", Key="a", Body=b"made by the first put")
    assert s3.get_object(Bucket="of-somebody-else", Key="a")["Body"].read() == b"made by the first put"


def test_a_strict_door_makes_no_bucket(locked_door: Door) -> None:
    assert refused(locked_door.client().put_object, Bucket="nowhere", Key="a", Body=b"")[0] == "NoSuchBucket"


def test_another_account_is_refused(s3: Any, bucket: str) -> None:
    s3.list_objects_v2(Bucket=bucket, ExpectedBucketOwner="000000000000")
    code, words, status = refused(s3.list_objects_v2, Bucket=bucket, ExpectedBucketOwner="123456789012")
    assert (code, status) == ("AccessDenied", 403)
    assert "000000000000" in words


def test_a_key_that_is_both_file_and_folder(s3: Any, door: Door, bucket: str) -> None:
    for order in (["a", "a/b", "a/b/c"], ["x/b/c", "x/b", "x"]):
        for key in order:
            s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
        for key in order:
            assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode()
    assert keys(s3, bucket) == ["a", "a/b", "a/b/c", "x", "x/b", "x/b/c"]
    assert (door.bucket(bucket) / ".s3@a").read_bytes() == b"a"
    found = s3.list_objects_v2(Bucket=bucket, Delimiter="/")
    assert [row["Key"] for row in found["Contents"]] == ["a", "x"]
    assert [row["Prefix"] for row in found["CommonPrefixes"]] == ["a/", "x/"]
    s3.put_object(Bucket=bucket, Key="a", Body=b"new")
    s3.delete_object(Bucket=bucket, Key="a/b/c")
    s3.delete_object(Bucket=bucket, Key="a/b")
    assert s3.get_object(Bucket=bucket, Key="a")["Body"].read() == b"new"
    s3.put_object(Bucket=bucket, Key="a", Body=b"newest")
    assert s3.get_object(Bucket=bucket, Key="a")["Body"].read() == b"newest"
    s3.delete_object(Bucket=bucket, Key="a")
    assert keys(s3, bucket) == ["x", "x/b", "x/b/c"]


STRANGE = [
    "a//b",
    "/a",
    "a/",
    "a//",
    ".s3=",
    ".s3@a/b",
    ".hidden",
    "ü/ö é",
    "a+b&c=d?e#f%41",
    "~",
    "a\\b",
    "x" * 247,
    "*",
]


def test_keys_that_are_strange_names(s3: Any, door: Door, bucket: str) -> None:
    for key in STRANGE:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    assert keys(s3, bucket) == sorted(STRANGE, key=str.encode)
    for key in STRANGE:
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode()
        if not key.endswith("/"):
            assert path_of(door.home, f"s3://{bucket}/{key}").read_bytes() == key.encode()
            assert uri_of(door.home, path_of(door.home, f"s3://{bucket}/{key}")) == f"s3://{bucket}/{key}"
    s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in STRANGE]})
    assert list(door.bucket(bucket).iterdir()) == []


@pytest.mark.parametrize(
    ("key", "code", "words"),
    [
        ("../../etc/passwd", "InvalidArgument", "A part of a key may not be '..'"),
        ("a/../../b", "InvalidArgument", "objects are files here"),
        ("a/./b", "InvalidArgument", "A part of a key may not be '.'"),
        ("..", "InvalidArgument", "A part of a key may not be '..'"),
        ("a\nb", "InvalidArgument", "control characters"),
        ("y" * 300, "KeyTooLongError", "247 are allowed"),
        ("/".join("y" * 100 for _ in range(11)), "KeyTooLongError", "1110 bytes, 1024 are allowed"),
    ],
)
def test_tricks_in_keys_are_refused(s3: Any, door: Door, bucket: str, key: str, code: str, words: str) -> None:
    for call, more in ((s3.put_object, {"Body": b"x"}), (s3.get_object, {}), (s3.delete_object, {})):
        found, told, status = refused(call, Bucket=bucket, Key=key, **more)
        assert (found, status) == (code, 400)
        assert words in told
    copy = refused(s3.copy_object, Bucket=bucket, Key="b", CopySource={"Bucket": bucket, "Key": key})
    assert copy[0] == code
    assert refused(s3.create_multipart_upload, Bucket=bucket, Key=key)[0] == code
    assert s3.list_objects_v2(Bucket=bucket, Prefix=f"{key}/x")["KeyCount"] == 0
    with pytest.raises(AwsError, match=r"objects are files here|too long"):
        path_of(door.home, f"s3://{bucket}/{key}")
    assert list(door.bucket(bucket).iterdir()) == []


def test_a_folder_of_the_users_as_a_bucket(s3: Any, door: Door, tmp_path: Path) -> None:
    folder = tmp_path / "my photos"
    (folder / "train/a").mkdir(parents=True)
    (folder / "train/a/1.jpg").write_bytes(b"picture")
    (folder / "empty").mkdir()
    (folder / "loop").symlink_to(folder)
    (folder / "gone").symlink_to(tmp_path / "nothing")
    (folder / "linked.txt").symlink_to(folder / "train/a/1.jpg")
    os.mkfifo(folder / "pipe")
    (folder / os.fsdecode(b"latin-\xe9")).write_bytes(b"")
    link_bucket(door.home, "linked", folder)
    assert keys(s3, "linked") == ["linked.txt", "train/a/1.jpg"]
    assert path_of(door.home, "s3://linked/train/") == door.bucket("linked") / "train"
    assert uri_of(door.home, folder / "train/a") == "s3://linked/train/a"
    assert uri_of(door.home, path_of(door.home, "s3://linked/train/a")) == "s3://linked/train/a"
    got = s3.get_object(Bucket="linked", Key="train/a/1.jpg")
    assert (got["ContentType"], got["Body"].read()) == ("image/jpeg", b"picture")
    assert got["ETag"].endswith('-1"')
    assert refused(s3.get_object, Bucket="linked", Key="pipe")[0] == "NoSuchKey"
    (folder / "train/a/1.jpg").write_bytes(b"another")  # by a job
    assert s3.head_object(Bucket="linked", Key="train/a/1.jpg")["ETag"] != got["ETag"]
    s3.put_object(Bucket="linked", Key="out/x", Body=b"x", Metadata={"a": "b"})
    assert (folder / "out/x").read_bytes() == b"x"
    with open(folder / "out/x", "ab") as file:
        file.write(b"y")
    changed = s3.head_object(Bucket="linked", Key="out/x")
    assert (changed["Metadata"], changed["ContentLength"]) == ({}, 2)
    with pytest.raises(AwsError, match="There is a bucket linked already"):
        link_bucket(door.home, "linked", tmp_path)
    with pytest.raises(AwsError, match="There is no folder"):
        link_bucket(door.home, "other-one", tmp_path / "nothing")
    assert refused(s3.delete_bucket, Bucket="linked")[0] == "BucketNotEmpty"
    folder.rename(tmp_path / "moved")
    assert "it is a link to a folder that is gone" in refused(s3.list_objects_v2, Bucket="linked")[1]
    assert "it is a link to a folder that is gone" in refused(s3.put_object, Bucket="linked", Key="a", Body=b"")[1]


def test_addresses_that_are_none(door: Door, bucket: str) -> None:
    for uri in ("/a/b", "s3://", "https://b/a", "s3:///a"):
        with pytest.raises(AwsError, match="is no address of a bucket"):
            path_of(door.home, uri)
    with pytest.raises(AwsError, match="does not exist here"):
        path_of(door.home, "s3://not-here/a")
    with pytest.raises(AwsError, match="lies in no bucket"):
        uri_of(door.home, Path("/etc"))
    assert path_of(door.home, f"s3://{bucket}") == path_of(door.home, f"s3://{bucket}/") == door.bucket(bucket)


def test_another_disk_and_a_full_one(s3: Any, door: Door, small_disk: Path) -> None:
    link_bucket(door.home, "small", small_disk)
    s3.put_object(Bucket="small", Key="a/b", Body=b"fits", Metadata={"k": "v"})
    assert (small_disk / "a/b").read_bytes() == b"fits"
    code, words, status = refused(s3.put_object, Bucket="small", Key="a/b", Body=bytes(2 << 20))
    assert (code, status) == ("InsufficientStorage", 507)
    assert words == "The disk of this bucket is full; nothing was changed."
    got = s3.get_object(Bucket="small", Key="a/b")
    assert (got["Body"].read(), got["Metadata"]) == (b"fits", {"k": "v"})
    assert keys(s3, "small") == ["a/b"]
    upload = s3.create_multipart_upload(Bucket="small", Key="c")["UploadId"]
    part = s3.upload_part(Bucket="small", Key="c", UploadId=upload, PartNumber=1, Body=b"part")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": part}]}
    s3.complete_multipart_upload(Bucket="small", Key="c", UploadId=upload, MultipartUpload=parts)
    assert keys(s3, "small") == ["a/b", "c"]
    door.bucket("small").unlink()


@pytest.fixture
def plain_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system without extended attributes."""
    place = tmp_path / "plain"
    place.mkdir()
    result = subprocess.run(["mount", "-t", "ramfs", "ramfs", str(place)], capture_output=True, text=True, check=False)
    if result.returncode:
        pytest.skip(f"mounting a small file system is not allowed here: {result.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_disk_without_attributes(s3: Any, door: Door, plain_disk: Path) -> None:
    link_bucket(door.home, "plain", plain_disk)
    s3.put_object(Bucket="plain", Key="a.jpg", Body=b"x")
    head = s3.head_object(Bucket="plain", Key="a.jpg")
    assert head["ContentType"] == "image/jpeg"
    assert head["ETag"] == s3.list_objects_v2(Bucket="plain")["Contents"][0]["ETag"]
    code, words, status = refused(s3.put_object, Bucket="plain", Key="b", Body=b"x", Metadata={"a": "b"})
    assert (code, status) == ("NotImplemented", 501)
    assert "keeps no extended attributes" in words
    upload = s3.create_multipart_upload(Bucket="plain", Key="c")["UploadId"]
    part = s3.upload_part(Bucket="plain", Key="c", UploadId=upload, PartNumber=1, Body=b"part")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": part}]}
    s3.complete_multipart_upload(Bucket="plain", Key="c", UploadId=upload, MultipartUpload=parts)
    assert s3.get_object(Bucket="plain", Key="c")["Body"].read() == b"part"
    door.bucket("plain").unlink()
