"""The door beside two other servers, where they are installed: the same calls, the same answers.

moto: ``VIZSLA_MOTO`` names ``moto_server``; s3rver: ``VIZSLA_S3RVER`` names its program.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import free_port

if TYPE_CHECKING:
    from tests.aws.s3.conftest import Door

boto3 = pytest.importorskip("boto3")
exceptions = pytest.importorskip("botocore.exceptions")
PEERS = {
    "moto": ("VIZSLA_MOTO", ".cache/vizsla/moto/bin/moto_server", ["-H", "127.0.0.1", "-p", "{port}"]),
    "s3rver": (
        "VIZSLA_S3RVER",
        ".cache/vizsla/s3rver/node_modules/.bin/s3rver",
        ["-d", "{folder}", "-a", "127.0.0.1", "-p", "{port}", "--silent"],
    ),
}
MIB = 1 << 20


@pytest.fixture(scope="module", params=list(PEERS))
def peer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Any]]:
    variable, beside, arguments = PEERS[request.param]
    named = os.environ.get(variable)
    program = Path(named) if named else Path.home() / beside
    if not program.exists():
        pytest.skip(f"needs {request.param} ({variable} names its program)")
    port = free_port()
    filled = [part.format(port=port, folder=tmp_path_factory.mktemp("peer")) for part in arguments]
    environment = os.environ | {"NODE_OPTIONS": "--openssl-legacy-provider"}
    process = subprocess.Popen(
        [program, *filled], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            break
        time.sleep(0.1)
    yield request.param, client(f"http://127.0.0.1:{port}")
    process.kill()
    process.wait(10)


def client(url: str) -> Any:
    from botocore.config import Config

    config = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
    return boto3.Session("S3RVER", "S3RVER", region_name="us-east-1").client("s3", endpoint_url=url, config=config)


def told(call: Callable[[], dict[str, Any]]) -> Any:
    """An answer without what differs from server to server: times, ids, owners."""
    try:
        answer = call()
    except exceptions.ClientError as error:
        return error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
    if "Body" in answer:
        answer["Body"] = answer["Body"].read()
    keep = ("Key", "Size", "ETag", "Prefix", "IsTruncated", "KeyCount", "ContentLength", "ContentType", "Metadata",
            "ContentRange", "Body", "MaxKeys", "Delimiter", "NextMarker", "Marker", "Name", "PartNumber")  # fmt: skip

    def chosen(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                name: part if name == "Metadata" else chosen(part)
                for name, part in value.items()
                if name in keep or name in ("Contents", "CommonPrefixes", "Parts", "Deleted", "CopyObjectResult")
            }
        return [chosen(part) for part in value] if isinstance(value, list) else value

    return chosen(answer), answer["ResponseMetadata"]["HTTPStatusCode"]


def script(s3: Any, bucket: str) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """Calls by name, in order; each is made before the next is given."""
    s3.create_bucket(Bucket=bucket)
    for key in ("a", "b/1", "b/2", "b/c/3", "d e+f/ü", "z"):
        yield (
            f"put {key}",
            lambda key=key: s3.put_object(
                Bucket=bucket, Key=key, Body=key.encode(), ContentType="text/plain", Metadata={"k": "v"}
            ),
        )
    yield "get", lambda: s3.get_object(Bucket=bucket, Key="d e+f/ü")
    yield "head", lambda: s3.head_object(Bucket=bucket, Key="b/1")
    yield "range", lambda: s3.get_object(Bucket=bucket, Key="b/1", Range="bytes=1-")
    yield "range from the end", lambda: s3.get_object(Bucket=bucket, Key="b/1", Range="bytes=-2")
    yield "no range", lambda: s3.get_object(Bucket=bucket, Key="b/1", Range="bytes=99-")
    yield "list", lambda: s3.list_objects_v2(Bucket=bucket)
    yield "list of a prefix", lambda: s3.list_objects_v2(Bucket=bucket, Prefix="b/")
    yield "list with delimiter", lambda: s3.list_objects_v2(Bucket=bucket, Delimiter="/")
    yield "list of a level", lambda: s3.list_objects_v2(Bucket=bucket, Prefix="b/", Delimiter="/")
    yield "list after", lambda: s3.list_objects_v2(Bucket=bucket, StartAfter="b/1")
    yield "first page", lambda: s3.list_objects_v2(Bucket=bucket, MaxKeys=2)
    yield "older list", lambda: s3.list_objects(Bucket=bucket, Prefix="b")
    yield "older page", lambda: s3.list_objects(Bucket=bucket, Delimiter="/", MaxKeys=2)
    yield "no key", lambda: s3.get_object(Bucket=bucket, Key="none")
    yield "no head", lambda: s3.head_object(Bucket=bucket, Key="none")
    yield "no bucket", lambda: s3.list_objects_v2(Bucket="none-of-that-name")
    yield "copy", lambda: s3.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/b/1")
    yield "copied", lambda: s3.get_object(Bucket=bucket, Key="copy")
    begun = s3.create_multipart_upload(Bucket=bucket, Key="parts", ContentType="x/y")["UploadId"]
    parts = []
    for number, data in enumerate((b"a" * 5 * MIB, b"b"), 1):
        answer = s3.upload_part(Bucket=bucket, Key="parts", UploadId=begun, PartNumber=number, Body=data)
        parts.append({"PartNumber": number, "ETag": answer["ETag"]})
    yield (
        "complete",
        lambda: s3.complete_multipart_upload(
            Bucket=bucket, Key="parts", UploadId=begun, MultipartUpload={"Parts": parts}
        ),
    )
    yield "of parts", lambda: s3.head_object(Bucket=bucket, Key="parts")
    yield "not completed twice", lambda: s3.abort_multipart_upload(Bucket=bucket, Key="parts", UploadId="none")
    yield "not empty", lambda: s3.delete_bucket(Bucket=bucket)
    yield "delete", lambda: s3.delete_object(Bucket=bucket, Key="a")
    yield "delete again", lambda: s3.delete_object(Bucket=bucket, Key="a")
    yield "delete many", lambda: s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "b/1"}, {"Key": "z"}]})


DIFFER = {
    "moto": {
        "older list": "S3 tells the Marker, empty, too",
        "older page": "S3 counts common prefixes to max-keys; moto does not, and takes a + in one for a blank",
    },
    "s3rver": {
        "range from the end": "a range without a beginning is one byte too long there",
        "list with delimiter": "S3 counts common prefixes in KeyCount",
        "list of a level": "as above",
        "older page": "S3 counts common prefixes to max-keys",
        "complete": "S3's ETag of parts ends in how many there are",
        "of parts": "as above",
        "not completed twice": "it offers no AbortMultipartUpload",
    },
}
"""Where a peer answers otherwise than S3 by its documents."""


@pytest.mark.slow
def test_the_same_calls_have_the_same_answers(door: Door, peer: tuple[str, Any]) -> None:
    name, theirs = peer
    ours = {title: told(call) for title, call in script(client(door.url), f"beside-{name}")}
    other = {title: told(call) for title, call in script(theirs, f"beside-{name}")}
    differ = {title: (ours[title], other[title]) for title in ours if ours[title] != other[title]}
    assert not differ.keys() - DIFFER[name].keys(), differ
