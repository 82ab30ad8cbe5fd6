"""AWS itself, for what is read of buckets that are not here: a request is signed anew, and the answer passed on.

Credentials are those of a profile in the user's files of AWS (AWS_PROFILE, else ``default``): the variables of this
process hold the door's own. Where there is none, requests are not signed, which public buckets allow.
"""

from __future__ import annotations

import http.client
import os
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Any

from vizsla.aws.errors import AwsError
from vizsla.aws.s3.calls import Answer
from vizsla.aws.s3.request import Request
from vizsla.optional import require

_SECONDS = 60
_BLOCK = 256 << 10
_ASKED = ("range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since")
_TOLD = ("connection", "date", "server", "transfer-encoding", "keep-alive", "x-amz-request-id", "x-amz-id-2")
"""Of an answer's headers, those that are about the connection."""


class Upstream:
    """Passes on GET and HEAD.

    Parameters
    ----------
    address:
        Where S3 is, with ``{region}`` in it.
    """

    def __init__(self, address: str = "https://s3.{region}.amazonaws.com") -> None:
        self._address = address
        self._regions: dict[str, str] = {}

    def answer(self, request: Request) -> Answer:
        """What AWS answers.

        Raises
        ------
        AwsError
            NoSuchBucket where it cannot be reached; what it refuses is passed on as it is.
        """
        region = self._regions.get(request.bucket, "us-east-1")
        response = self._ask(request, region)
        theirs = response.headers.get("x-amz-bucket-region", region)
        if response.status in (301, 307, 400) and theirs != region:
            response.close()
            self._regions[request.bucket] = theirs
            response = self._ask(request, theirs)
        headers = {name.lower(): value for name, value in response.getheaders() if name.lower() not in _TOLD}
        if request.method == "HEAD":
            response.close()
            return Answer(response.status, headers)
        return Answer(response.status, headers, chunks=_chunks(response))

    def _ask(self, request: Request, region: str) -> http.client.HTTPResponse:
        parts = urllib.parse.urlsplit(self._address.format(region=region))
        path = urllib.parse.quote(f"/{request.bucket}/{request.key}", safe="/-_.~")
        query = urllib.parse.urlencode(
            {name: value for name, value in request.query.items() if not name.startswith("X-Amz-")},
            quote_via=urllib.parse.quote,
        )
        target = f"{path}?{query}" if query else path
        headers = {name: request.headers[name] for name in _ASKED if name in request.headers}
        url = f"{parts.scheme}://{parts.netloc}{target}"
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.netloc, timeout=_SECONDS)
        try:
            connection.request(request.method, target, headers=_signed(request.method, url, headers, region))
            return connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise AwsError(
                "NoSuchBucket",
                f"The bucket {request.bucket} is not here, and AWS cannot be reached at {parts.netloc}: {error}.",
                404,
            ) from error


def _signed(method: str, url: str, headers: Mapping[str, str], region: str) -> dict[str, str]:
    """The headers of a request, signed where there are credentials."""
    feature = "Reading AWS's buckets through the door"
    session = require("botocore.session", extra="s3", feature=feature)
    auth = require("botocore.auth", extra="s3", feature=feature)
    requests = require("botocore.awsrequest", extra="s3", feature=feature)
    exceptions = require("botocore.exceptions", extra="s3", feature=feature)
    try:
        profile: Any = session.Session(profile=os.environ.get("AWS_PROFILE") or "default")
        credentials = profile.get_credentials()
    except exceptions.BotoCoreError:  # no such profile
        credentials = None
    if credentials is None:
        return dict(headers)
    request = requests.AWSRequest(method, url, headers=dict(headers))
    auth.S3SigV4Auth(credentials, "s3", region).add_auth(request)
    return dict(request.headers.items())


def _chunks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    with response:
        while data := response.read(_BLOCK):
            yield data
