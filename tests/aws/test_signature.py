"""Signature Version 4: the examples of AWS's own documents, botocore's signer, and what is refused."""

from __future__ import annotations

import datetime
import hashlib
import urllib.parse
from typing import Any

import pytest

from vizsla.aws.errors import AwsError
from vizsla.aws.signature import secret_of, temporary, verify

KEYS = {"AKIAIOSFODNN7EXAMPLE": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}
THEN = datetime.datetime(2013, 5, 24, 0, 0, tzinfo=datetime.UTC)
HOST = (b"Host", b"examplebucket.s3.amazonaws.com")
NOTHING = hashlib.sha256(b"").hexdigest()


def authorization(signed: str, signature: str) -> tuple[bytes, bytes]:
    return b"Authorization", (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
        f"SignedHeaders={signed},Signature={signature}"
    ).encode()


def test_get_object_of_the_s3_reference() -> None:
    headers = [
        HOST,
        (b"Range", b"bytes=0-9"),
        (b"x-amz-content-sha256", NOTHING.encode()),
        (b"x-amz-date", b"20130524T000000Z"),
        authorization(
            "host;range;x-amz-content-sha256;x-amz-date",
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
    ]
    assert verify("GET", b"/test.txt", b"", headers, NOTHING, KEYS, s3=True, now=THEN).key_id == next(iter(KEYS))
    with pytest.raises(AwsError, match="signature we calculated does not match"):
        verify("GET", b"/other.txt", b"", headers, NOTHING, KEYS, s3=True, now=THEN)


def test_list_objects_of_the_s3_reference() -> None:
    headers = [
        HOST,
        (b"x-amz-content-sha256", NOTHING.encode()),
        (b"x-amz-date", b"20130524T000000Z"),
        authorization(
            "host;x-amz-content-sha256;x-amz-date",
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ]
    verify("GET", b"/", b"prefix=J&max-keys=2", headers, NOTHING, KEYS, s3=True, now=THEN)


PRESIGNED = (
    "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
    "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
    "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
)


def test_presigned_address_of_the_s3_reference() -> None:
    def ask(query: str, now: datetime.datetime = THEN) -> None:
        verify("GET", b"/test.txt", query.encode(), [HOST], "", KEYS, s3=True, now=now)

    ask(PRESIGNED)
    ask(PRESIGNED, THEN + datetime.timedelta(hours=23))
    for query, now, words in [
        (PRESIGNED, THEN + datetime.timedelta(hours=25), "Request has expired"),
        (PRESIGNED, THEN - datetime.timedelta(hours=1), "Request is not yet valid"),
        (PRESIGNED.replace("86400", "86401"), THEN, "does not match"),
        (PRESIGNED.replace("86400", "9999999"), THEN, "1 to 604800 seconds"),
        (PRESIGNED.replace("IOSFODNN7", "IOSFODNN8"), THEN, "does not exist in our records"),
        (PRESIGNED + "&extra=1", THEN, "does not match"),
    ]:
        with pytest.raises(AwsError, match=words) as caught:
            ask(query, now)
        assert caught.value.status in (400, 403)


def test_chunks_of_the_s3_reference() -> None:
    """The upload of 66,560 letters in two chunks."""
    headers = [
        (b"Host", b"s3.amazonaws.com"),
        (b"x-amz-date", b"20130524T000000Z"),
        (b"x-amz-storage-class", b"REDUCED_REDUNDANCY"),
        (b"x-amz-content-sha256", b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
        (b"Content-Encoding", b"aws-chunked"),
        (b"x-amz-decoded-content-length", b"66560"),
        (b"Content-Length", b"66824"),
        authorization(
            "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;"
            "x-amz-storage-class",
            "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
        ),
    ]
    payload = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
    path = b"/examplebucket/chunkObject.txt"
    signed = verify("PUT", path, b"", headers, payload, KEYS, s3=True, now=THEN)
    first = signed.chunk(signed.signature, hashlib.sha256(b"a" * 65536).hexdigest())
    assert first == "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"
    second = signed.chunk(first, hashlib.sha256(b"a" * 1024).hexdigest())
    assert second == "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"
    assert signed.chunk(second, NOTHING) == "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"


def signed_by_botocore(service: str, method: str, url: str, body: bytes, key: str, secret: str, **headers: str) -> Any:
    pytest.importorskip("botocore")
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    request = AWSRequest(method, url, headers=headers, data=body)
    SigV4Auth(Credentials(key, secret), service, "eu-west-3").add_auth(request)
    return [(name.encode(), value.encode()) for name, value in request.headers.items()] + [
        (b"host", urllib.parse.urlsplit(url).netloc.encode())
    ]


@pytest.mark.parametrize("service", ["sagemaker", "sts", "iam", "logs", "monitoring", "ecr"])
def test_every_service_as_botocore_signs_it(service: str) -> None:
    url, body = "http://127.0.0.1:4566/a%20b/c?x=1&a=%2F%20", b'{"TrainingJobName": "\xc3\xa4"}'
    headers = signed_by_botocore(service, "POST", url, body, "K", "S", **{"X-Amz-Target": "SageMaker.Describe"})

    def ask(body: bytes, keys: dict[str, str]) -> None:
        digest = hashlib.sha256(body).hexdigest()
        verify("POST", b"/a%20b/c", b"x=1&a=%2F%20", headers, digest, keys)

    ask(body, {"K": "S"})
    with pytest.raises(AwsError, match="signature we calculated does not match") as caught:
        ask(body + b" ", {"K": "S"})
    wrong = "SignatureDoesNotMatch" if service in ("sts", "iam") else "InvalidSignatureException"
    assert (caught.value.code, caught.value.status) == (wrong, 403)
    with pytest.raises(AwsError, match="security token included in the request is invalid") as caught:
        ask(body, {"other": "S"})
    unknown = "InvalidClientTokenId" if service in ("sts", "iam") else "UnrecognizedClientException"
    assert caught.value.code == unknown


def test_what_is_no_signature_is_refused_in_words() -> None:
    def ask(*headers: tuple[bytes, bytes], s3: bool = False, now: datetime.datetime = THEN) -> AwsError:
        with pytest.raises(AwsError) as caught:
            verify("GET", b"/", b"", [HOST, *headers], NOTHING, KEYS, s3=s3, now=now)
        return caught.value

    assert "The request is not signed" in ask().message
    assert ask(s3=True).code == "AccessDenied"
    assert "Please use AWS4-HMAC-SHA256" in ask((b"authorization", b"AWS AKIA:sig"), s3=True).message
    date = (b"x-amz-date", b"20130524T000000Z")
    signed = authorization("host;x-amz-date", "0" * 64)
    assert "which were not signed: x-amz-meta-a" in ask(date, signed, (b"x-amz-meta-a", b"1"), s3=True).message
    late = THEN + datetime.timedelta(minutes=16)
    assert ask(date, signed, s3=True, now=late).code == "RequestTimeTooSkewed"
    assert "is not near 20130524T001600Z" in ask(date, signed, now=late).message
    assert "is no time" in ask((b"x-amz-date", b"yesterday"), signed).message


def test_temporary_credentials_follow_from_the_keys() -> None:
    key_id, secret = temporary("arn:aws:iam::000000000000:role/a me", {"K": "S"})
    assert secret_of(key_id, {"K": "S"}) == secret
    assert secret_of(key_id, {"K": "other"}) != secret
    assert secret_of("AKIAUNKNOWN", {"K": "S"}) is None
    assert secret_of(key_id, {}) is None
