"""Bodies as they come over the wire: chunked, signed by the chunk, too short, too long, with another checksum."""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import http.client
import socket
import time
import zlib
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.aws.s3.conftest import Door


def ask(door: Door, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, str]:
    """Status and text of an answer; ``_`` in a header's name stands for ``-``."""
    connection = http.client.HTTPConnection("127.0.0.1", door.port, timeout=20)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def crc32(data: bytes) -> str:
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


def in_chunks(*chunks: bytes, trailer: bytes = b"") -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n" + trailer + b"\r\n"


def test_chunks_with_a_checksum_behind_them(door: Door, bucket: str) -> None:
    data = bytes(range(256)) * 1000
    headers = {
        "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "content-encoding": "gzip,aws-chunked",
        "x-amz-decoded-content-length": str(len(data)),
        "x-amz-trailer": "x-amz-checksum-crc32",
    }
    good = b"x-amz-checksum-crc32:%b\r\n" % crc32(data).encode()
    body = in_chunks(data[:100_000], data[100_000:], trailer=good)
    assert ask(door, "PUT", f"/{bucket}/a", body, **headers)[0] == 200
    assert (door.bucket(bucket) / "a").read_bytes() == data
    assert door.client().head_object(Bucket=bucket, Key="a")["ContentEncoding"] == "gzip"
    bad = b"x-amz-checksum-crc32:%b\r\n" % crc32(b"other").encode()
    for wrong, words in [
        (in_chunks(data, trailer=bad), "The CRC32 you specified did not match the calculated checksum"),
        (in_chunks(data), "The trailer x-amz-checksum-crc32 was announced and did not come"),
        (in_chunks(data[1:], trailer=good), "The body is not as long as its headers say: 255999 of 256000"),
        (in_chunks(data, b"x", trailer=good), "more than the 256000 bytes that were announced came"),
        (in_chunks(data, trailer=good)[:-200], "it ends within a chunk"),
        (b"zz\r\n", "a chunk begins with its size"),
        (b"1\r\nabc\r\n", "a chunk ends with CR LF"),
        (in_chunks(data, trailer=good).replace(b"0\r\nx-amz", b"0\r\nnonsense\r\nx-amz"), "a trailer has a name"),
    ]:
        status, text = ask(door, "PUT", f"/{bucket}/b", wrong, **headers)
        assert status == 400
        assert words in text
        assert not (door.bucket(bucket) / "b").exists()
    assert not list((door.home / "aws/s3/incoming").iterdir())


def signed_chunks(
    door: Door, path: str, *chunks: bytes, trailer: bool, spoil: bool = False
) -> tuple[dict[str, str], bytes]:
    """What a client sends that signs each chunk, by a second implementation of the signing."""
    kind = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" + ("-TRAILER" if trailer else "")
    size = sum(map(len, chunks))
    extra = {"x-amz-trailer": "x-amz-checksum-crc32"} if trailer else {}
    extra |= {
        "X-Amz-Content-SHA256": kind,
        "x-amz-decoded-content-length": str(size),
        "content-encoding": "aws-chunked",
    }
    pairs = signed_by_s3(door.url + path, kind, extra)
    headers = {name.lower(): value for name, value in pairs.items()}
    date = headers["x-amz-date"]
    scope = f"{date[:8]}/us-east-1/s3/aws4_request"
    key = b"AWS4S3RVER"
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    previous = headers["authorization"].rpartition("Signature=")[2]
    body = b""
    empty = hashlib.sha256(b"").hexdigest()
    for chunk in (*chunks, b""):
        text = f"AWS4-HMAC-SHA256-PAYLOAD\n{date}\n{scope}\n{previous}\n{empty}\n{hashlib.sha256(chunk).hexdigest()}"
        previous = hmac.digest(key, text.encode(), "sha256").hex()
        body += f"{len(chunk):x};chunk-signature={previous}\r\n".encode() + chunk + (b"\r\n" if chunk else b"")
    if trailer:
        line = f"x-amz-checksum-crc32:{crc32(b''.join(chunks))}"
        digest = hashlib.sha256(f"{line}\n".encode()).hexdigest()
        text = f"AWS4-HMAC-SHA256-TRAILER\n{date}\n{scope}\n{previous}\n{digest}"
        body += f"{line}\r\nx-amz-trailer-signature:{hmac.digest(key, text.encode(), 'sha256').hex()}\r\n".encode()
    return headers, (body.replace(b"abc", b"abd") if spoil else body) + b"\r\n"


def signed_by_s3(url: str, kind: str, extra: dict[str, str]) -> dict[str, str]:
    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    request = AWSRequest("PUT", url, headers=extra)
    request.context = {"payload_signing_enabled": False, "client_config": None}

    class Auth(S3SigV4Auth):
        def payload(self, request: Any) -> str:
            return kind

    Auth(Credentials("S3RVER", "S3RVER"), "s3", "us-east-1").add_auth(request)
    return dict(request.headers.items())


@pytest.mark.parametrize("trailer", [False, True])
def test_chunks_that_are_signed(locked_door: Door, trailer: bool) -> None:
    path = f"/photos/signed-{trailer}"
    data = [b"abc" * 30_000, b"rest"]
    headers, body = signed_chunks(locked_door, path, *data, trailer=trailer)
    assert ask(locked_door, "PUT", path, body, **headers) == (200, "")
    assert (locked_door.home / f"buckets{path}").read_bytes() == b"".join(data)
    headers, body = signed_chunks(locked_door, path + "x", *data, trailer=trailer, spoil=True)
    status, text = ask(locked_door, "PUT", path + "x", body, **headers)
    assert (status, "The signature of a chunk of the body does not match it" in text) == (403, True)
    assert not (locked_door.home / f"buckets{path}x").exists()


def test_a_body_of_another_checksum_is_not_kept(door: Door, bucket: str) -> None:
    for headers, words in [
        (
            {"content-md5": base64.b64encode(hashlib.md5(b"x").digest()).decode()},
            "The Content-MD5 you specified did not match",
        ),
        ({"content-md5": "nonsense"}, "The Content-MD5 you specified is not valid"),
        ({"x-amz-content-sha256": hashlib.sha256(b"x").hexdigest()}, "does not match what was computed"),
        ({"x-amz-checksum-crc32": crc32(b"x")}, "The CRC32 you specified did not match the calculated checksum"),
        ({"x-amz-checksum-crc99": "AAAA"}, "Expecting a single x-amz-checksum- header"),
        ({"x-amz-checksum-crc32": crc32(b"x"), "x-amz-checksum-sha1": "AAAA"}, "crc32, sha1"),
    ]:
        status, text = ask(door, "PUT", f"/{bucket}/a", b"hello", **headers)
        assert status == 400
        assert words in text
    assert not (door.bucket(bucket) / "a").exists()


def test_a_body_shorter_than_announced_leaves_nothing(door: Door, bucket: str) -> None:
    with socket.create_connection(("127.0.0.1", door.port)) as client:
        client.sendall(
            f"PUT /{bucket}/a HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n".encode() + bytes(2_000_000)
        )
    for _ in range(100):
        if not list((door.home / "aws/s3/incoming").glob("*")):
            break
        time.sleep(0.02)
    assert not list((door.home / "aws/s3/incoming").glob("*"))
    assert not (door.bucket(bucket) / "a").exists()


def talk(door: Door, head: str, body: bytes = b"") -> tuple[str, str]:
    """The first line that comes, and all that comes after ``body`` was sent."""
    with socket.create_connection(("127.0.0.1", door.port), timeout=10) as client:
        client.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n")
        first = client.recv(65536).decode()
        if first.startswith("HTTP/1.1 100"):
            client.sendall(body)
            return first.splitlines()[0], client.recv(65536).decode()
        answer = first
        while more := client.recv(65536).decode():  # until the server closes
            answer += more
        return first.splitlines()[0], answer


def test_a_client_that_waits_is_told_to_go_on_or_refused_at_once(door: Door, bucket: str) -> None:
    head = "PUT /{} HTTP/1.1\nHost: x\nContent-Length: 5\nExpect: 100-continue{}"
    first, answer = talk(door, head.format(f"{bucket}/a", ""), b"hello")
    assert first == "HTTP/1.1 100 Continue"
    assert answer.startswith("HTTP/1.1 200")
    for path, more, status, words in [
        (f"{bucket}/../x/a", "", 400, "A part of a key may not be"),
        (f"{bucket}/a", "\nIf-None-Match: *", 412, "If-None-Match"),
        (f"{bucket}/a?uploadId=none&partNumber=1", "", 404, "The specified upload does not exist"),
        ("NO/a", "", 400, "The specified bucket is not valid"),
    ]:
        first, answer = talk(door, head.format(path, more))
        assert first.split()[1] == str(status)
        assert words in answer
        assert "connection: close" in answer


def test_a_client_that_sends_all_the_same_reads_the_refusal(door: Door, bucket: str) -> None:
    status, text = ask(door, "PUT", f"/{bucket}/../x", bytes(5_000_000))
    assert (status, "A part of a key may not be" in text) == (400, True)
    connection = http.client.HTTPConnection("127.0.0.1", door.port, timeout=20)
    for _ in range(2):  # the connection is still good
        connection.request("PUT", f"/{bucket}/a/./b", bytes(100_000))
        answer = connection.getresponse()
        assert answer.status == 400
        answer.read()
    connection.close()


def test_documents_with_entities_are_refused(door: Door, bucket: str) -> None:
    bomb = (
        '<!DOCTYPE a [<!ENTITY x "xxxxxxxxxx"><!ENTITY y "&x;&x;&x;">]><Delete><Object><Key>&y;</Key></Object></Delete>'
    )
    outside = '<!DOCTYPE a SYSTEM "file:///etc/passwd"><Delete/>'
    for text in (bomb, outside):
        for encoding in ("utf-8", "utf-16"):
            status, answer = ask(door, "POST", f"/{bucket}?delete", text.encode(encoding))
            assert status == 400
            assert "MalformedXML" in answer
            assert "document type declaration" in answer
    status, answer = ask(door, "POST", f"/{bucket}?delete", b"<Delete><Object>")
    assert (status, "not well-formed" in answer) == (400, True)
    status, answer = ask(door, "POST", f"/{bucket}?delete", b" " * (5 << 20))
    assert (status, "MaxMessageLengthExceeded" in answer) == (400, True)


def test_hosts_that_name_the_bucket(door: Door, bucket: str) -> None:
    port = door.port
    for host in (f"{bucket}.localhost:{port}", f"{bucket}.s3.localhost:{port}", f"{bucket}.s3.eu-west-3.amazonaws.com"):
        assert ask(door, "PUT", "/deep/a", host.encode(), host=host)[0] == 200
        assert (door.bucket(bucket) / "deep/a").read_bytes() == host.encode()
        assert ask(door, "GET", "/deep/a", host=host) == (200, host)
        assert "<Key>deep/a</Key>" in ask(door, "GET", "/?list-type=2", host=host)[1]
    for host in (f"localhost:{port}", "s3.us-east-1.amazonaws.com", f"127.0.0.1:{port}", f"[::1]:{port}"):
        assert ask(door, "GET", f"/{bucket}/deep/a", host=host)[0] == 200


def test_dates_are_those_of_http(door: Door, bucket: str) -> None:
    ask(door, "PUT", f"/{bucket}/a", b"x")
    connection = http.client.HTTPConnection("127.0.0.1", door.port, timeout=20)
    connection.request("HEAD", f"/{bucket}/a")
    answer = connection.getresponse()
    told = datetime.datetime.strptime(answer.headers["last-modified"], "%a, %d %b %Y %H:%M:%S GMT")
    assert abs((told - datetime.datetime.now(datetime.UTC).replace(tzinfo=None)).total_seconds()) < 60
    assert answer.headers["content-length"] == "1"
    connection.close()
