"""Other clients than boto3's calls: presigned addresses, obstore, the AWS command line."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.aws.s3.test_objects import refused

if TYPE_CHECKING:
    from tests.aws.s3.conftest import Door

obstore = pytest.importorskip("obstore")
MIB = 1 << 20


def fetch(url: str, body: bytes | None = None, **headers: str) -> tuple[int, str]:
    request = urllib.request.Request(url, body, headers, method="GET" if body is None else "PUT")
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_presigned_addresses(locked_door: Door) -> None:
    client = locked_door.client(signature_version="s3v4")
    key = "report ü+x.html"
    client.put_object(Bucket="photos", Key=key, Body=b"<p>", ContentType="text/html")
    name = {"Bucket": "photos", "Key": key}
    url = client.generate_presigned_url("get_object", name | {"ResponseContentType": "text/plain"}, ExpiresIn=60)
    assert fetch(url) == (200, "<p>")
    status, text = fetch(url.replace("photos/report", "photos/export"))
    assert (status, "SignatureDoesNotMatch" in text) == (403, True)
    status, text = fetch(url.partition("?")[0])
    assert (status, "The request is not signed" in text) == (403, True)
    put = client.generate_presigned_url("put_object", name, ExpiresIn=60)
    assert fetch(put, b"new")[0] == 200
    assert fetch(url) == (200, "new")
    status, text = fetch(client.generate_presigned_url("get_object", name, ExpiresIn=60).replace("=60", "=61"))
    assert status == 403


def test_addresses_that_boto3_presigns_by_itself(locked_door: Door) -> None:
    client = locked_door.client()
    name = {"Bucket": "photos", "Key": "own ü+x.html"}
    client.put_object(**name, Body=b"<p>")
    url = client.generate_presigned_url("get_object", name | {"ResponseContentType": "text/plain; a"}, ExpiresIn=60)
    assert "AWSAccessKeyId" in url
    assert fetch(url) == (200, "<p>")
    for wrong, code in {
        url.replace("own", "other"): "SignatureDoesNotMatch",
        url.replace("text", "pest"): "SignatureDoesNotMatch",
        url.replace("S3RVER", "NOBODY"): "InvalidAccessKeyId",
        client.generate_presigned_url("get_object", name, ExpiresIn=-1): "Request has expired",
    }.items():
        status, text = fetch(wrong)
        assert (status, code in text) == (403, True), text
    assert fetch(url.replace("/photos/", "/"), host="others.localhost")[0] == 403
    there = replace(locked_door, url="http://localhost:1").client(s3={"addressing_style": "virtual"})
    hosted = there.generate_presigned_url("get_object", name)
    path = hosted.removeprefix("http://photos.localhost:1")
    assert fetch(locked_door.url + path, host="photos.localhost") == (200, "<p>")
    put = client.generate_presigned_url("put_object", name | {"Metadata": {"a": "b"}, "ContentType": "text/css"})
    status, text = fetch(put, b"new", **{"x-amz-meta-a": "b", "content-type": "text/css"})
    assert status == 200, text
    assert client.head_object(**name)["Metadata"] == {"a": "b"}


def test_keys_that_are_wrong(locked_door: Door) -> None:
    assert refused(locked_door.client("SOMEBODY").list_buckets)[:2] == (
        "InvalidAccessKeyId",
        "The AWS Access Key Id you provided does not exist in our records.",
    )
    code, words, status = refused(locked_door.client("S3RVER", "wrong").list_buckets)
    assert (code, status) == ("SignatureDoesNotMatch", 403)
    assert "Check your secret access key" in words


@pytest.mark.parametrize("locked", [False, True])
def test_obstore(door: Door, locked_door: Door, locked: bool) -> None:
    from obstore.store import S3Store

    chosen = locked_door if locked else door
    store = S3Store(
        "photos",
        prefix=f"obstore {locked}",
        endpoint=chosen.url,
        region="us-east-1",
        access_key_id="S3RVER",
        secret_access_key="S3RVER",
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )
    put = obstore.put(store, "a b/ü+x.bin", b"hello", attributes={"Content-Type": "text/plain", "mine": "1"})
    head = obstore.head(store, "a b/ü+x.bin")
    assert (head["size"], head["e_tag"]) == (5, put["e_tag"])
    got = obstore.get(store, "a b/ü+x.bin")
    assert (bytes(got.bytes()), got.attributes["Content-Type"], got.attributes["mine"]) == (b"hello", "text/plain", "1")
    assert bytes(obstore.get_range(store, "a b/ü+x.bin", start=1, end=3)) == b"el"
    large = os.urandom(12 * MIB)
    obstore.put(store, "large", large, use_multipart=True, chunk_size=5 * MIB)
    assert bytes(obstore.get(store, "large").bytes()) == large
    obstore.copy(store, "large", "deep/er/copy")
    obstore.rename(store, "deep/er/copy", "moved")
    assert sorted(row["path"].rpartition("/")[2] for batch in obstore.list(store) for row in batch) == [
        "large",
        "moved",
        "ü+x.bin",
    ]
    level = obstore.list_with_delimiter(store)
    assert [str(prefix).rpartition("/")[2] for prefix in level["common_prefixes"]] == ["a b"]
    with pytest.raises(Exception, match="already exists"):
        obstore.put(store, "large", b"", mode="create", use_multipart=False)
    obstore.put(store, "large", b"newer", mode={"e_tag": obstore.head(store, "large")["e_tag"]}, use_multipart=False)
    obstore.delete(store, ["large", "moved", "a b/ü+x.bin"])
    assert [row for batch in obstore.list(store) for row in batch] == []
    with pytest.raises(FileNotFoundError):
        obstore.get(store, "large")


def test_many_at_once_with_obstore(door: Door) -> None:
    from obstore.store import S3Store

    store = S3Store(
        "other", endpoint=door.url, region="us-east-1", skip_signature=True, client_options={"allow_http": True}
    )

    async def work() -> None:
        await asyncio.gather(*(obstore.put_async(store, f"many/{i:04}", b"%d" % i) for i in range(1200)))

    asyncio.run(work())
    rows = [row for batch in obstore.list(store, "many") for row in batch]
    assert [row["path"] for row in rows] == [f"many/{i:04}" for i in range(1200)]


def command_line() -> str:
    beside = Path.home() / ".cache/vizsla/awscli/bin/aws"
    program = os.environ.get("VIZSLA_AWSCLI") or shutil.which("aws") or (str(beside) if beside.exists() else None)
    if program is None:
        pytest.skip("needs the AWS command line in an environment of its own (VIZSLA_AWSCLI names the program)")
    return program


@pytest.mark.slow
def test_the_aws_command_line(door: Door, tmp_path: Path) -> None:
    program = command_line()
    (tmp_path / "set/a").mkdir(parents=True)
    for i in range(5):
        (tmp_path / f"set/a/{i}.txt").write_text(str(i))
    (tmp_path / "set/big").write_bytes(os.urandom(10 * MIB))

    def aws(*arguments: object) -> str:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "AWS_ENDPOINT_URL": door.url,
            "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "x",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        result = subprocess.run([program, "s3", *map(str, arguments)], capture_output=True, text=True, env=environment)
        assert result.returncode == 0, result.stderr
        return result.stdout

    aws("mb", "s3://from-shell")
    assert aws("sync", tmp_path / "set", "s3://from-shell/set").count("upload:") == 6
    assert aws("sync", tmp_path / "set", "s3://from-shell/set") == "", "nothing is sent again"
    aws("cp", "--recursive", "s3://from-shell/set", tmp_path / "back")
    assert (tmp_path / "back/big").read_bytes() == (tmp_path / "set/big").read_bytes()
    aws("rb", "--force", "s3://from-shell")
    assert not door.bucket("from-shell").exists()
