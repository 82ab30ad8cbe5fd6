"""Model archives from S3 or anything that speaks its protocol (AWS_ENDPOINT_URL_S3), by boto3."""

from __future__ import annotations

import hashlib
import os
import threading
import uuid
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from vizsla.errors import ModelError, UsageError
from vizsla.files import storage
from vizsla.optional import require

_client_lock = threading.Lock()


@dataclass(frozen=True)
class S3Address:
    """``s3://bucket/key``."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, text: str) -> S3Address:
        """Read an address.

        Raises
        ------
        UsageError
            When it names no bucket.
        """
        bucket, _, key = text.removeprefix("s3://").partition("/")
        if not text.startswith("s3://") or not bucket:
            raise UsageError(f"{text!r} is no S3 address.", allowed="s3://bucket/prefix")
        return cls(bucket, key.strip("/"))

    def child(self, name: str) -> S3Address:
        """The object ``name`` below this prefix."""
        return S3Address(self.bucket, f"{self.key}/{name}" if self.key else name)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


def download(address: S3Address, cache_folder: Path) -> Path:
    """Fetch an object into the cache, unless the same one (by ETag) is there; large ones in parallel parts.

    Raises
    ------
    FileNotFoundError
        When there is no such object.
    ModelError
        When the store cannot be reached or refuses.
    MissingExtraError
        When boto3 is not installed.
    """
    client = _client()
    exceptions: Any = require("botocore.exceptions", extra="aws", feature="Models from S3")
    try:
        head = client.head_object(Bucket=address.bucket, Key=address.key)
    except exceptions.ClientError as error:
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 404:
            raise FileNotFoundError(str(address)) from error
        raise _refused(address, error) from error
    except exceptions.BotoCoreError as error:
        raise _refused(address, error) from error
    identity = hashlib.sha256(f"{address} {head.get('ETag')} {head['ContentLength']}".encode()).hexdigest()
    path = cache_folder / "models" / identity / "model.tar.gz"
    if path.is_file() and path.stat().st_size == head["ContentLength"]:
        return path
    with storage(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{uuid.uuid4().hex[:12]}.tmp")
        try:
            client.download_file(address.bucket, address.key, str(temporary))
            os.replace(temporary, path)
        except (exceptions.ClientError, exceptions.BotoCoreError) as error:
            raise _refused(address, error) from error
        finally:
            temporary.unlink(missing_ok=True)
    return path


@cache
def _made_client() -> Any:
    boto3 = require("boto3", extra="aws", feature="Models from S3")
    config = require("botocore.config", extra="aws", feature="Models from S3")
    return boto3.client("s3", config=config.Config(connect_timeout=5, read_timeout=30, retries={"max_attempts": 3}))


def _client() -> Any:
    with _client_lock:  # boto3's session is not safe to use from several threads; its clients are
        return _made_client()


def _refused(address: S3Address, error: Exception) -> ModelError:
    return ModelError(
        f"The model cannot be fetched: {str(error)[:300].rstrip('.')}.",
        where=str(address),
        do="check the address, the credentials (AWS_*) and AWS_ENDPOINT_URL_S3",
    )
