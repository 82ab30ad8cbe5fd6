"""What lies in no bucket here is read from AWS where that is asked for; a second door stands for AWS."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn

from tests.aws.s3.test_objects import refused
from tests.conftest import free_port
from vizsla.aws.s3.application import S3Application
from vizsla.aws.s3.calls import Site
from vizsla.aws.s3.upstream import Upstream

if TYPE_CHECKING:
    from tests.aws.s3.conftest import Door

boto3 = pytest.importorskip("boto3")


@pytest.fixture
def passing(tmp_path: Path, locked_door: Door, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Any]]:
    """A client of a door that reads on from the other, with the keys of a profile, and one of the other."""
    far = locked_door.client()
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "mine")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "not-these")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-these")
    (tmp_path / "credentials").write_text("[mine]\naws_access_key_id = S3RVER\naws_secret_access_key = S3RVER\n")
    port = free_port()
    app = S3Application(Site(tmp_path / "home"), Upstream(locked_door.url))
    server = uvicorn.Server(uvicorn.Config(app, port=port, lifespan="off", log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.01)
    near = boto3.Session("x", "x", region_name="us-east-1").client("s3", endpoint_url=f"http://127.0.0.1:{port}")
    yield near, far
    server.should_exit = True
    thread.join(10)


def test_reads_go_on_to_aws_and_writes_do_not(passing: tuple[Any, Any], locked_door: Door) -> None:
    near, far = passing
    data = os.urandom(3_000_000)
    far.put_object(Bucket="photos", Key="far/a b+ü", Body=data, ContentType="image/jpeg")
    got = near.get_object(Bucket="photos", Key="far/a b+ü")
    assert (got["ContentType"], got["Body"].read() == data) == ("image/jpeg", True)
    assert near.get_object(Bucket="photos", Key="far/a b+ü", Range="bytes=5-9")["Body"].read() == data[5:10]
    assert near.head_object(Bucket="photos", Key="far/a b+ü")["ContentLength"] == len(data)
    found = near.list_objects_v2(Bucket="photos", Prefix="far/a b", Delimiter="/")
    assert [row["Key"] for row in found["Contents"]] == ["far/a b+ü"]
    assert refused(near.get_object, Bucket="photos", Key="none")[0] == "NoSuchKey"
    near.put_object(Bucket="photos", Key="near", Body=b"here")
    assert [row["Key"] for row in near.list_objects_v2(Bucket="photos")["Contents"]] == ["near"]
    assert not (locked_door.bucket("photos") / "near").exists()


def test_what_aws_refuses_is_told_as_it_is(passing: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    near, _ = passing
    code, _, status = refused(near.list_objects_v2, Bucket="nowhere-at-all")
    assert (code, status) == ("NoSuchBucket", 404)
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    assert refused(near.list_objects_v2, Bucket="other")[0] == "AccessDenied"


def test_no_network_is_said_in_words(tmp_path: Path) -> None:
    from vizsla.aws.errors import AwsError
    from vizsla.aws.s3.request import Request

    upstream = Upstream(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(AwsError, match=r"is not here, and AWS cannot be reached at 127.0.0.1.*refused"):
        upstream.answer(Request("GET", "bucket", "key", {}, {}))
