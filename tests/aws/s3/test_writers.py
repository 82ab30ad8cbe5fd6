"""Several at once, and ends in the middle: what is read is always one whole object."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.aws.s3.test_objects import refused

if TYPE_CHECKING:
    from tests.aws.s3.conftest import Door

exceptions = pytest.importorskip("botocore.exceptions")
MIB = 1 << 20


def test_two_writers_and_a_reader(door: Door, bucket: str) -> None:
    contents = [bytes([letter]) * (300_000 + letter) for letter in b"ab"]
    name = {"Bucket": bucket, "Key": "shared/key"}
    door.client().put_object(**name, Body=contents[0])
    stop = threading.Event()

    def write(content: bytes) -> None:
        client = door.client()
        for _ in range(25):
            client.put_object(**name, Body=content, Metadata={"letter": chr(content[0])})

    def read() -> int:
        client, count = door.client(), 0
        while not stop.is_set():
            got = client.get_object(**name)
            body = got["Body"].read()
            assert body in contents
            assert got["Metadata"].get("letter", "a") == chr(body[0])
            count += 1
        return count

    with ThreadPoolExecutor(3) as pool:
        reader = pool.submit(read)
        list(pool.map(write, contents))
        stop.set()
        assert reader.result() > 10


def test_of_many_who_write_if_none_is_there_one_wins(door: Door, bucket: str) -> None:
    def write(number: int) -> bool:
        try:
            door.client().put_object(Bucket=bucket, Key="once", Body=str(number).encode(), IfNoneMatch="*")
        except exceptions.ClientError as error:
            return bool(error.response["Error"]["Code"] != "PreconditionFailed")
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(write, range(16))) == 1


def test_files_and_folders_of_one_name_by_many(door: Door, bucket: str) -> None:
    keys = ["a", "a/b", "a/b/c", "a/b/d", "a/e"]

    def work(key: str) -> None:
        client = door.client()
        for i in range(12):
            client.put_object(Bucket=bucket, Key=key, Body=key.encode())
            assert client.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode()
            if i % 3 == 0:
                client.delete_object(Bucket=bucket, Key=key)
                assert refused(client.get_object, Bucket=bucket, Key=key)[0] == "NoSuchKey"

    with ThreadPoolExecutor(5) as pool:
        list(pool.map(work, keys))
    listed = [row["Key"] for row in door.client().list_objects_v2(Bucket=bucket)["Contents"]]
    assert listed == keys


def test_two_who_complete_one_upload(door: Door, bucket: str) -> None:
    client = door.client()
    name = {"Bucket": bucket, "Key": "a"}
    upload = client.create_multipart_upload(**name)["UploadId"]
    data = [os.urandom(5 * MIB), b"end"]
    parts = [
        {"PartNumber": n, "ETag": client.upload_part(**name, UploadId=upload, PartNumber=n, Body=body)["ETag"]}
        for n, body in enumerate(data, 1)
    ]

    def complete(_: int) -> str:
        try:
            door.client().complete_multipart_upload(**name, UploadId=upload, MultipartUpload={"Parts": parts})
        except exceptions.ClientError as error:
            return str(error)
        return "done"

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(complete, range(4)))
    assert "done" in answers
    assert all(answer == "done" or "NoSuchUpload" in answer or "InvalidPart" in answer for answer in answers)
    assert client.get_object(**name)["Body"].read() == b"".join(data)


@pytest.fixture
def own_door(tmp_path: Path) -> Any:
    from tests.aws.s3.conftest import end, start

    doors = [start(tmp_path / "home")]
    yield doors
    end(doors[-1])


def test_a_server_that_is_killed_leaves_the_old_object_and_the_parts(own_door: list[Door]) -> None:
    from tests.aws.s3.conftest import end, start

    door = own_door[0]
    client = door.client()
    client.put_object(Bucket="photos", Key="a", Body=b"old", Metadata={"k": "v"})
    upload = client.create_multipart_upload(Bucket="photos", Key="big")["UploadId"]
    name = {"Bucket": "photos", "Key": "big", "UploadId": upload}
    first = client.upload_part(**name, PartNumber=1, Body=bytes(5 * MIB))["ETag"]

    class Slow:
        """A body that never ends: the server dies first."""

        def __len__(self) -> int:
            return 100 * MIB

        def read(self, size: int = -1) -> bytes:
            if list((door.home / "aws/s3/incoming").glob("*")):
                end(door)
            time.sleep(0.01)
            return bytes(256 << 10)

    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", door.port, timeout=20)
    with pytest.raises(OSError):  # noqa: PT011 - reset or broken pipe
        connection.request("PUT", "/photos/a", Slow(), {"content-length": str(100 * MIB)})  # type: ignore[arg-type]
    assert (door.home / "buckets/photos/a").read_bytes() == b"old"
    assert list((door.home / "aws/s3/incoming").glob("*"))
    for path in (door.home / "aws/s3/incoming").glob("*"):
        os.utime(path, (1, 1))
    own_door.append(start(door.home))
    client = own_door[1].client()
    got = client.get_object(Bucket="photos", Key="a")
    assert (got["Body"].read(), got["Metadata"]) == (b"old", {"k": "v"})
    assert not list((door.home / "aws/s3/incoming").glob("*")), "swept after a day"
    second = client.upload_part(**name, PartNumber=2, Body=b"end")["ETag"]
    parts = [{"PartNumber": 1, "ETag": first}, {"PartNumber": 2, "ETag": second}]
    client.complete_multipart_upload(**name, MultipartUpload={"Parts": parts})
    assert client.head_object(Bucket="photos", Key="big")["ContentLength"] == 5 * MIB + 3


def test_memory_stays_flat(own_door: list[Door], tmp_path: Path) -> None:
    door = own_door[0]
    file = tmp_path / "large"
    with open(file, "wb") as written:
        for _ in range(64):
            written.write(os.urandom(MIB))
    client = door.client()
    client.upload_file(str(file), "photos", "in-parts")
    with open(file, "rb") as body:
        client.put_object(Bucket="photos", Key="whole", Body=body)
    client.download_file("photos", "in-parts", str(tmp_path / "out"))
    client.copy_object(Bucket="photos", Key="copy", CopySource="photos/whole")
    assert (tmp_path / "out").stat().st_size == 64 * MIB
    status = Path(f"/proc/{door.process.pid}/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    print(f"peak memory {peak / 1024:.0f} MB")
    assert peak < 60_000 * 1000 / 1024
