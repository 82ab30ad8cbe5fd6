"""Connecting to S3 and whatever speaks like it: address, region, credentials, and errors in words."""

from __future__ import annotations

import contextlib
import os
import re
import urllib.parse
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from vizsla.errors import SourceError
from vizsla.optional import require
from vizsla.parameters import door, spelled

_KEYS = ("access_key_id", "secret_access_key", "session_token")
_ROLES = (
    "AWS_PROFILE",
    "AWS_ROLE_ARN",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
"""What may be wrong where boto3's chain fails."""
_LOGIN = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"


def again() -> str:
    """What to do where a transfer has broken off."""
    return f"{door().again}: it goes on where it stopped"


def _answers() -> dict[str, tuple[str, str]]:
    """What was wrong and what to do, by the code of an answer."""
    refused = "Access is refused (403 AccessDenied).", f"{_LOGIN} of somebody who may list and read the bucket"
    expired = "The credentials have expired.", f"log in anew (such as `aws sso login`), then {again()}"
    region = "The bucket lies in another region.", "set AWS_REGION to the bucket's region"
    full = "The store is full.", f"make room there, then {again()}"
    return {
        "InsufficientStorage": full,
        "QuotaExceeded": full,
        "XMinioStorageFull": full,
        "NoSuchBucket": ("There is no such bucket.", f"check the bucket's name (and {spelled('endpoint_url')})"),
        "NoSuchKey": ("There is no such object.", "check the key (upper and lower case count)"),
        "AccessDenied": refused,
        "AllAccessDisabled": refused,
        "Forbidden": refused,
        "ExpiredToken": expired,
        "ExpiredTokenException": expired,
        "TokenRefreshRequired": expired,
        "InvalidAccessKeyId": ("The access key is unknown there (403 InvalidAccessKeyId).", f"correct it: {_LOGIN}"),
        "SignatureDoesNotMatch": (
            "The secret key does not fit the access key (403 SignatureDoesNotMatch).",
            f"correct it: {_LOGIN}",
        ),
        "PermanentRedirect": region,
        "AuthorizationHeaderMalformed": region,
        "PreconditionFailed": ("An object has changed while it was fetched.", again()),
        "SlowDown": ("The service asks to slow down.", f"wait a while, then {again()}"),
    }


def obstore() -> Any:
    """The package that speaks to S3."""
    return require("obstore", extra="s3", feature="Reading s3:// sources")


def parse(url: str) -> tuple[str, str]:
    """``s3://bucket/prefix/`` to ("bucket", "prefix").

    Raises
    ------
    SourceError
        When there is no bucket in it.
    """
    parts = urllib.parse.urlsplit(url)
    if not parts.netloc:
        raise SourceError(f"{url!r} names no bucket.", allowed="s3://bucket/prefix")
    return parts.netloc, url.split(parts.netloc, 1)[1].strip("/")


def endpoint(url: str | None) -> str | None:
    """Where the service listens: as asked for, else as the environment says; None for AWS itself."""
    address = url or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return address.rstrip("/") if address else None


def connect(bucket: str, endpoint_url: str | None, *, patient: bool = False) -> Any:
    """A store of one bucket. Without credentials requests are not signed, which public buckets allow.

    A request that fails is tried again four times, within some seconds, so that a wrong address is told soon; with
    ``patient``, for a service that has answered before, for half a minute: it may be starting again.
    """
    store = require("obstore.store", extra="s3", feature="Reading s3:// sources")
    endpoint_url = endpoint(endpoint_url)
    options: dict[str, Any] = _login()
    if endpoint_url:
        options |= {"endpoint": endpoint_url, "virtual_hosted_style_request": False}
    return store.S3Store(
        bucket,
        **options,
        client_options={
            "allow_http": bool(endpoint_url and endpoint_url.startswith("http://")),
            "connect_timeout": "10s",
            "timeout": "120s",
        },
        retry_config={
            "max_retries": 50 if patient else 4,
            "retry_timeout": timedelta(seconds=30 if patient else 60),
            "backoff": {
                "init_backoff": timedelta(milliseconds=200),
                "max_backoff": timedelta(seconds=5),
                "base": 2,
            },
        },
    )


@contextlib.contextmanager
def in_words(where: str) -> Iterator[None]:
    """Turn what S3 answers into words.

    Raises
    ------
    SourceError
        For everything that obstore raises.
    """
    exceptions = require("obstore.exceptions", extra="s3", feature="Reading s3:// sources")
    try:
        yield
    except exceptions.InvalidPathError as error:
        named = re.search(r'[Pp]ath "(.*?)"(?: contained|:)', str(error), re.DOTALL)
        raise no_file_name(named[1] if named else str(error), where) from error
    except (exceptions.BaseError, FileNotFoundError, PermissionError) as error:
        text, answers = str(error), _answers()
        code = re.search(r"<Code>(\w+)</Code>", text)
        status = re.search(r"non-2xx status code: (\d+ [^:\n]*)", text)
        by_status = {"403": "AccessDenied", "404": "NoSuchBucket", "412": "PreconditionFailed"}
        if isinstance(error, FileNotFoundError):
            by_status["404"] = "NoSuchKey"
        if code and code[1] in answers:
            what, do = answers[code[1]]
        elif status and status[1][:3] in by_status:
            what, do = answers[by_status[status[1][:3]]]
        elif answer := code or status:
            what = f"The service answered {answer[1]}."
            do = f"check the address, the credentials and {spelled('endpoint_url')}"
        elif "redirect without LOCATION" in text:  # how object_store words a 301
            what, do = answers["PermanentRedirect"]
        elif "error sending request" in text:
            what = "The endpoint cannot be reached."
            do = f"check the network and {spelled('endpoint_url')}, then {again()}"
        else:
            what = f"The transfer broke off ({text.splitlines()[0][:200]})."
            do = again()
        raise SourceError(what, where=where, do=do) from error


def no_file_name(key: str, where: str) -> SourceError:
    """The error for an object that no file can be named after."""
    return SourceError(
        f"An object's name cannot be the name of a file: {key[:300]!r}.",
        where=where,
        allowed="names without empty parts, . and .., backslashes and control characters, each part up to 200 bytes",
        do="rename it, or choose a prefix without it",
    )


def _login() -> dict[str, Any]:
    """Region and credentials: the environment's, else what boto3's chain finds (profiles, roles, single sign-on, the
    machine's own); where it finds none, requests are not signed."""
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if region and os.environ.get("AWS_ACCESS_KEY_ID"):  # importing boto3 takes a quarter of a second
        keys = {name: os.environ[f"AWS_{name.upper()}"] for name in _KEYS if os.environ.get(f"AWS_{name.upper()}")}
        return {"region": region, **keys}
    boto3 = require("boto3", extra="s3", feature="AWS profiles, roles and single sign-on")
    auth = require("obstore.auth.boto3", extra="s3", feature="AWS profiles, roles and single sign-on")
    exceptions = require("botocore.exceptions", extra="s3", feature="AWS profiles, roles and single sign-on")
    try:
        session = boto3.Session()
        options = {"region": region or session.region_name or "us-east-1"}
        if session.get_credentials() is None:
            return options | {"skip_signature": True}
        return options | {"credential_provider": auth.Boto3CredentialProvider(session)}
    except (exceptions.BotoCoreError, ValueError) as error:
        raise SourceError(
            f"There are no AWS credentials: {error}.",
            where=", ".join(f"{name}={os.environ[name]}" for name in _ROLES if os.environ.get(name)) or None,
            do=f"{_LOGIN}; or unset these variables for a public bucket",
        ) from error
