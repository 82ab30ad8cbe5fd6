"""AWS's wire formats: JSON 1.0 and 1.1, and Query with its answers in XML.

Source: smithy.io, "AWS JSON 1.1 protocol" and "AWS Query protocol".
"""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from starlette.responses import Response

from vizsla.aws.errors import AwsError

NAMESPACES = {
    "sts": "https://sts.amazonaws.com/doc/2011-06-15/",
    "iam": "https://iam.amazonaws.com/doc/2010-05-08/",
    "monitoring": "http://monitoring.amazonaws.com/doc/2010-08-01/",
}
"""The XML name space of the services that are asked by Query."""


def read_json(body: bytes) -> dict[str, Any]:
    """The members of a request.

    Raises
    ------
    AwsError
        When the body is no JSON object.
    """
    try:
        members = json.loads(body or b"{}")
    except (ValueError, RecursionError) as error:
        raise AwsError("SerializationException", f"The body is no JSON: {error}.") from error
    if not isinstance(members, dict):
        raise AwsError("SerializationException", "The body is no JSON object.")
    return members


def _request_id() -> str:
    """A random UUID; it names a request and guards nothing, so that it need not come from the system."""
    return str(uuid.UUID(int=random.getrandbits(128), version=4))


def json_answer(members: Mapping[str, Any], version: str = "1.1") -> Response:
    """An answer in JSON; times are seconds since 1970."""
    return Response(
        json.dumps(members, default=_plain),
        headers={"x-amzn-RequestId": _request_id()},
        media_type=f"application/x-amz-json-{version}",
    )


def json_error(error: AwsError, version: str = "1.1") -> Response:
    """A refusal in JSON."""
    return Response(
        json.dumps({"__type": error.code, "message": error.message, "Message": error.message}),
        status_code=error.status,
        headers={"x-amzn-RequestId": _request_id(), "x-amzn-ErrorType": error.code},
        media_type=f"application/x-amz-json-{version}",
    )


def cbor_error(error: AwsError) -> Response:
    """A refusal in CBOR (RFC 8949), for clients that speak nothing else: a map of two texts."""

    def text(words: str) -> bytes:
        raw = words.encode()
        return b"\x79" + len(raw).to_bytes(2, "big") + raw

    return Response(
        b"\xa2" + text("__type") + text(error.code) + text("message") + text(error.message),
        status_code=error.status,
        headers={"x-amzn-RequestId": _request_id(), "smithy-protocol": "rpc-v2-cbor"},
        media_type="application/cbor",
    )


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.timestamp()
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def read_query(body: bytes) -> tuple[str, dict[str, Any]]:
    """The operation and the members of a form body; all values are text, lists are ``Name.member.1``.

    Examples
    --------
    >>> read_query(b"Action=GetRole&RoleName=me&Version=2010-05-08")
    ('GetRole', {'RoleName': 'me'})

    Raises
    ------
    AwsError
        MalformedQueryString.
    """
    tree: dict[str, Any] = {}
    try:
        pairs = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
        action = pairs.pop("Action", "")
        pairs.pop("Version", None)
        for name, text in pairs.items():
            place, parts = tree, name.split(".")
            for part in parts[:-1]:
                place = place.setdefault(part, {})
            place[parts[-1]] = text
        return action, {name: _listed(value) for name, value in tree.items()}
    except (
        AttributeError,
        TypeError,
        ValueError,
    ) as error:  # a name that is both text and a tree, a list of no numbers
        raise AwsError("MalformedQueryString", "The names of the query string contradict each other.") from error


def _listed(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if list(value) == ["member"]:
        items = value["member"]
        return [_listed(items[number]) for number in sorted(items, key=int)]
    return {name: _listed(part) for name, part in value.items()}


def xml_answer(action: str, members: Mapping[str, Any], service: str) -> Response:
    """An answer to a Query request; times are ISO 8601."""
    request_id = _request_id()
    text = (
        f'<{action}Response xmlns="{NAMESPACES[service]}"><{action}Result>{_elements(members)}</{action}Result>'
        f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{action}Response>"
    )
    return Response(text, headers={"x-amzn-RequestId": request_id}, media_type="text/xml")


def xml_error(error: AwsError, service: str) -> Response:
    """A refusal of a Query request."""
    request_id, namespace = _request_id(), NAMESPACES.get(service, "")
    text = (
        f'<ErrorResponse xmlns="{namespace}"><Error><Type>Sender</Type><Code>{escape(error.code)}</Code>'
        f"<Message>{escape(error.message)}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>"
    )
    return Response(text, error.status, {"x-amzn-RequestId": request_id}, media_type="text/xml")


def _elements(value: Any) -> str:
    if isinstance(value, Mapping):
        return "".join(f"<{name}>{_elements(part)}</{name}>" for name, part in value.items() if part is not None)
    if isinstance(value, list | tuple):
        return "".join(f"<member>{_elements(part)}</member>" for part in value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, bool):
        return str(value).lower()
    return escape(str(value))
