"""Objects, by boto3: put, get, copy, delete, and what is told of them."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.aws.s3.conftest import Door

exceptions = pytest.importorskip("botocore.exceptions")
MIB = 1 << 20


def refused(call: Any, *arguments: Any, **named: Any) -> tuple[str, str, int]:
    """Code, message and status of an error."""
    with pytest.raises(exceptions.ClientError) as caught:
        call(*arguments, **named)
    answer = caught.value.response
    return answer["Error"]["Code"], answer["Error"].get("Message", ""), answer["ResponseMetadata"]["HTTPStatusCode"]


def test_an_object_is_a_file_with_what_was_said_of_it(s3: Any, door: Door, bucket: str) -> None:
    put = s3.put_object(
        Bucket=bucket,
        Key="flowers/rosé/a b+c.jpg",
        Body=b"hello",
        ContentType="image/jpeg",
        CacheControl="no-cache",
        ContentDisposition='inline; filename="a.jpg"',
        Metadata={"camera": "box", "By": "me"},
    )
    assert put["ETag"] == '"5d41402abc4b2a76b9719d911017c592"'
    assert (door.bucket(bucket) / "flowers/rosé/a b+c.jpg").read_bytes() == b"hello"
    for answer in (s3.head_object, s3.get_object):
        found = answer(Bucket=bucket, Key="flowers/rosé/a b+c.jpg")
        assert (found["ContentType"], found["CacheControl"]) == ("image/jpeg", "no-cache")
        assert found["ContentDisposition"] == 'inline; filename="a.jpg"'
        assert found["Metadata"] == {"camera": "box", "by": "me"}
        assert (found["ETag"], found["ContentLength"], found["AcceptRanges"]) == (put["ETag"], 5, "bytes")
        assert abs(found["LastModified"].timestamp() - time.time()) < 60
    assert found["Body"].read() == b"hello"


def test_a_large_file_goes_in_parts_and_comes_back(s3: Any, door: Door, bucket: str, tmp_path: Any) -> None:
    data = os.urandom(20 * MIB + 12345)
    (tmp_path / "in").write_bytes(data)
    s3.upload_file(str(tmp_path / "in"), bucket, "deep/in/model.tar.gz", ExtraArgs={"Metadata": {"a": "b"}})
    head = s3.head_object(Bucket=bucket, Key="deep/in/model.tar.gz")
    assert head["ETag"].endswith('-3"')
    assert (head["Metadata"], head["ContentLength"]) == ({"a": "b"}, len(data))
    s3.download_file(bucket, "deep/in/model.tar.gz", str(tmp_path / "out"))
    assert (tmp_path / "out").read_bytes() == data
    assert (door.bucket(bucket) / "deep/in/model.tar.gz").read_bytes() == data
    assert not list((door.home / "aws/s3/uploads").glob("*"))
    assert not list((door.home / "aws/s3/incoming").glob("*"))


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
def test_checksums_are_kept_and_told(s3: Any, bucket: str, algorithm: str) -> None:
    from vizsla.aws.s3.checksums import ALGORITHMS, base64_of

    digest = ALGORITHMS[algorithm.lower()]()
    digest.update(b"hello")
    named = {f"Checksum{algorithm}": base64_of(digest.digest())}
    assert (
        s3.put_object(Bucket=bucket, Key="a", Body=b"hello", **named)[f"Checksum{algorithm}"]
        == named[f"Checksum{algorithm}"]
    )
    got = s3.get_object(Bucket=bucket, Key="a", ChecksumMode="ENABLED")
    assert got[f"Checksum{algorithm}"] == named[f"Checksum{algorithm}"]
    assert got["Body"].read() == b"hello"  # botocore compares CRC32
    code, words, status = refused(s3.put_object, Bucket=bucket, Key="a", Body=b"hullo", **named)
    assert (code, status) == ("BadDigest", 400)
    assert f"The {algorithm} you specified did not match the calculated checksum" in words
    assert "is that of the 5 bytes that came" in words
    assert s3.get_object(Bucket=bucket, Key="a")["Body"].read() == b"hello"


@pytest.mark.parametrize("kind", ["COMPOSITE", "FULL_OBJECT"])
def test_checksums_of_parts_become_that_of_the_whole(s3: Any, bucket: str, kind: str) -> None:
    import base64
    import zlib

    parts = [os.urandom(5 * MIB), os.urandom(100)]
    begun = s3.create_multipart_upload(Bucket=bucket, Key="a", ChecksumAlgorithm="CRC32", ChecksumType=kind)
    name = {"Bucket": bucket, "Key": "a", "UploadId": begun["UploadId"]}
    sent = []
    for number, data in enumerate(parts, 1):
        answer = s3.upload_part(**name, PartNumber=number, Body=data, ChecksumAlgorithm="CRC32")
        sent.append({"PartNumber": number, "ETag": answer["ETag"], "ChecksumCRC32": answer["ChecksumCRC32"]})

    def text(value: int) -> str:
        return base64.b64encode(value.to_bytes(4, "big")).decode()

    if kind == "FULL_OBJECT":
        code, words, _ = refused(
            s3.complete_multipart_upload, **name, MultipartUpload={"Parts": sent}, ChecksumCRC32=text(1)
        )
        assert code == "BadDigest"
        assert "is that of the parts" in words
    done = s3.complete_multipart_upload(**name, MultipartUpload={"Parts": sent})
    if kind == "FULL_OBJECT":
        assert done["ChecksumCRC32"] == text(zlib.crc32(b"".join(parts)))
    else:
        crcs = b"".join(zlib.crc32(data).to_bytes(4, "big") for data in parts)
        assert done["ChecksumCRC32"] == text(zlib.crc32(crcs)) + "-2"
    assert s3.get_object(Bucket=bucket, Key="a", ChecksumMode="ENABLED")["Body"].read() == b"".join(parts)


def test_ranges(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"0123456789")
    for asked, content, told in [
        ("bytes=2-4", b"234", "bytes 2-4/10"),
        ("bytes=7-", b"789", "bytes 7-9/10"),
        ("bytes=-3", b"789", "bytes 7-9/10"),
        ("bytes=5-99", b"56789", "bytes 5-9/10"),
        ("bytes=-99", b"0123456789", "bytes 0-9/10"),
    ]:
        got = s3.get_object(Bucket=bucket, Key="a", Range=asked)
        assert (got["Body"].read(), got["ContentRange"]) == (content, told)
        assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert s3.get_object(Bucket=bucket, Key="a", Range="bytes=4-2")["Body"].read() == b"0123456789"
    code, words, status = refused(s3.get_object, Bucket=bucket, Key="a", Range="bytes=10-")
    assert (code, status) == ("InvalidRange", 416)
    assert "bytes=10- of 10 bytes" in words


def test_an_object_is_one_part(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"0123456789")
    part = s3.get_object(Bucket=bucket, Key="a", PartNumber=1)
    assert (part["Body"].read(), part["ContentRange"]) == (b"0123456789", "bytes 0-9/10")
    assert s3.head_object(Bucket=bucket, Key="a", PartNumber=1)["ContentLength"] == 10
    assert refused(s3.get_object, Bucket=bucket, Key="a", PartNumber=2)[::2] == ("InvalidPartNumber", 416)
    assert refused(s3.get_object, Bucket=bucket, Key="a", PartNumber=1, Range="bytes=0-1")[0] == "InvalidRequest"


def test_conditions_of_reading(s3: Any, bucket: str) -> None:
    etag = s3.put_object(Bucket=bucket, Key="a", Body=b"x")["ETag"]
    modified = s3.head_object(Bucket=bucket, Key="a")["LastModified"]
    get = {"Bucket": bucket, "Key": "a"}
    assert s3.get_object(**get, IfMatch=etag)["ETag"] == etag
    assert refused(s3.get_object, **get, IfMatch='"other"')[0::2] == ("PreconditionFailed", 412)
    assert refused(s3.get_object, **get, IfNoneMatch=etag)[2] == 304
    assert refused(s3.get_object, **get, IfModifiedSince=modified)[2] == 304
    assert s3.get_object(**get, IfUnmodifiedSince=modified)["ETag"] == etag
    earlier = modified.replace(year=2020)
    assert refused(s3.get_object, **get, IfUnmodifiedSince=earlier)[2] == 412
    assert s3.get_object(**get, IfModifiedSince=earlier)["ETag"] == etag


def test_conditions_of_writing(s3: Any, bucket: str) -> None:
    put = {"Bucket": bucket, "Key": "a"}
    first = s3.put_object(**put, Body=b"1", IfNoneMatch="*")["ETag"]
    code, words, status = refused(s3.put_object, **put, Body=b"2", IfNoneMatch="*")
    assert (code, status) == ("PreconditionFailed", 412)
    assert "If-None-Match" in words
    assert refused(s3.put_object, **put, Body=b"2", IfMatch='"other"')[0] == "PreconditionFailed"
    assert refused(s3.put_object, Bucket=bucket, Key="b", Body=b"2", IfMatch=first)[0] == "NoSuchKey"
    s3.put_object(**put, Body=b"3", IfMatch=first)
    assert s3.get_object(**put)["Body"].read() == b"3"


def test_conditions_of_deleting(s3: Any, bucket: str) -> None:
    etag = s3.put_object(Bucket=bucket, Key="kept", Body=b"new")["ETag"]
    assert refused(s3.delete_object, Bucket=bucket, Key="kept", IfMatch='"old"')[0] == "PreconditionFailed"
    many = {"Objects": [{"Key": "kept", "ETag": '"old"'}, {"Key": "gone", "ETag": etag}]}
    answer = s3.delete_objects(Bucket=bucket, Delete=many)
    assert {error["Key"]: error["Code"] for error in answer["Errors"]} == {
        "kept": "PreconditionFailed",
        "gone": "NoSuchKey",
    }
    s3.delete_object(Bucket=bucket, Key="kept", IfMatch=etag)
    assert refused(s3.get_object, Bucket=bucket, Key="kept")[0] == "NoSuchKey"


def test_a_copy_has_the_checksum_that_is_asked_for(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"abc")
    copied = s3.copy_object(Bucket=bucket, Key="b", CopySource=f"{bucket}/a", ChecksumAlgorithm="SHA256")
    expected = "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="
    assert copied["CopyObjectResult"]["ChecksumSHA256"] == expected
    assert s3.head_object(Bucket=bucket, Key="b", ChecksumMode="ENABLED")["ChecksumSHA256"] == expected
    itself = {"Bucket": bucket, "Key": "a", "CopySource": f"{bucket}/a"}
    assert refused(s3.copy_object, **itself)[0] == "InvalidRequest"
    s3.copy_object(**itself, StorageClass="STANDARD_IA")


def test_copies(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a ü/x+y", Body=b"hello", ContentType="text/plain", Metadata={"k": "v"})
    copied = s3.copy_object(Bucket=bucket, Key="b", CopySource={"Bucket": bucket, "Key": "a ü/x+y"})
    assert copied["CopyObjectResult"]["ETag"] == '"5d41402abc4b2a76b9719d911017c592"'
    head = s3.head_object(Bucket=bucket, Key="b")
    assert (head["ContentType"], head["Metadata"]) == ("text/plain", {"k": "v"})
    s3.copy_object(
        Bucket=bucket, Key="b", CopySource=f"/{bucket}/b", MetadataDirective="REPLACE", Metadata={"new": "1"}
    )
    head = s3.head_object(Bucket=bucket, Key="b")
    assert (head["ContentType"], head["Metadata"]) == ("binary/octet-stream", {"new": "1"})
    code, words, _ = refused(s3.copy_object, Bucket=bucket, Key="b", CopySource=f"{bucket}/b")
    assert code == "InvalidRequest"
    assert "copy an object to itself" in words
    assert refused(s3.copy_object, Bucket=bucket, Key="c", CopySource=f"{bucket}/none")[0] == "NoSuchKey"
    source = {"Bucket": bucket, "Key": "b", "CopySource": f"{bucket}/a ü/x+y", "CopySourceIfNoneMatch": head["ETag"]}
    assert refused(s3.copy_object, **source)[0::2] == ("PreconditionFailed", 412)


def test_a_copy_in_parts(s3: Any, bucket: str) -> None:
    data = os.urandom(12 * MIB + 5)
    s3.put_object(Bucket=bucket, Key="a", Body=data)
    from boto3.s3.transfer import TransferConfig

    s3.copy({"Bucket": bucket, "Key": "a"}, bucket, "b", Config=TransferConfig(multipart_threshold=MIB))
    got = s3.get_object(Bucket=bucket, Key="b")
    assert got["ETag"].endswith('-2"')
    assert got["Body"].read() == data


def test_deleting_removes_folders_that_are_empty(s3: Any, door: Door, bucket: str) -> None:
    for key in ("a/b/c", "a/b/d", "e"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    assert s3.delete_object(Bucket=bucket, Key="a/b/c")["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert (door.bucket(bucket) / "a/b/d").exists()
    assert s3.delete_object(Bucket=bucket, Key="never/there")["ResponseMetadata"]["HTTPStatusCode"] == 204
    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "a/b/d"}, {"Key": "e"}, {"Key": "../x"}]})
    assert [row["Key"] for row in answer["Deleted"]] == ["a/b/d", "e"]
    (error,) = answer["Errors"]
    assert (error["Key"], error["Code"]) == ("../x", "InvalidArgument")
    assert list(door.bucket(bucket).iterdir()) == []
    quiet = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "a"}], "Quiet": True})
    assert "Deleted" not in quiet
    assert "Errors" not in quiet


def test_parts_that_cannot_become_an_object(s3: Any, bucket: str) -> None:
    name = {"Bucket": bucket, "Key": "a"}
    upload = s3.create_multipart_upload(**name)["UploadId"]
    parts = [
        {"PartNumber": n, "ETag": s3.upload_part(**name, UploadId=upload, PartNumber=n, Body=b"x")["ETag"]}
        for n in (1, 2)
    ]

    def complete(*chosen: dict[str, Any]) -> tuple[str, str, int]:
        return refused(s3.complete_multipart_upload, **name, UploadId=upload, MultipartUpload={"Parts": list(chosen)})

    assert complete(*parts)[0] == "EntityTooSmall"
    assert complete(parts[1], parts[0])[0] == "InvalidPartOrder"
    assert complete({"PartNumber": 3, "ETag": parts[0]["ETag"]})[0] == "InvalidPart"
    assert complete({"PartNumber": 1, "ETag": '"other"'})[0] == "InvalidPart"
    listed = s3.list_parts(**name, UploadId=upload)["Parts"]
    assert [(part["PartNumber"], part["Size"], part["ETag"]) for part in listed] == [
        (n, 1, part["ETag"]) for n, part in enumerate(parts, 1)
    ]
    assert [row["Key"] for row in s3.list_multipart_uploads(Bucket=bucket)["Uploads"]] == ["a"]
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)
    s3.abort_multipart_upload(**name, UploadId=upload)
    code, words, status = refused(s3.upload_part, **name, UploadId=upload, PartNumber=1, Body=b"x")
    assert (code, status) == ("NoSuchUpload", 404)
    assert "aborted or completed" in words
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


def test_what_is_not_offered_is_said(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"")
    code, words, status = refused(s3.get_object_tagging, Bucket=bucket, Key="a")
    assert (code, status) == ("NotImplemented", 501)
    assert words == "S3's 'tagging' is not offered here: buckets are folders."
    assert refused(s3.get_bucket_policy, Bucket=bucket)[0] == "NotImplemented"
    assert refused(s3.get_object, Bucket=bucket, Key="none")[0::2] == ("NoSuchKey", 404)
    assert refused(s3.head_object, Bucket=bucket, Key="none")[:2] == ("404", "Not Found")


@pytest.mark.parametrize(
    "asked",
    [
        {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": "2099-01-01"},
        {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32},
        {"WriteOffsetBytes": 1},
    ],
)
def test_what_would_be_promised_and_not_kept_is_refused(s3: Any, bucket: str, asked: dict[str, Any]) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"old")
    assert refused(s3.put_object, Bucket=bucket, Key="a", Body=b"new", **asked)[0] == "NotImplemented"
    assert s3.get_object(Bucket=bucket, Key="a")["Body"].read() == b"old"
