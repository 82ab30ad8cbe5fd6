"""CloudWatch Logs: the logs of jobs and endpoints, as clients wait for them."""

from __future__ import annotations

import base64
import binascii
import json
import re
import shlex
from collections.abc import Callable, Iterator
from typing import Any

from vizsla.aws.context import Context, Operation
from vizsla.aws.errors import AwsError
from vizsla.aws.log_streams import ENDPOINTS, GROUPS, PAGE_BYTES, Event, Stream, first_byte, streams

_MOST_EVENTS = 10_000
_TOKEN = re.compile(r"([fb])/(\d{1,56})")


def describe_log_groups(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """The groups of the three kinds of jobs, and one for each endpoint."""
    prefix = request.get("logGroupNamePrefix") or ""
    pattern = (request.get("logGroupNamePattern") or "").lower()
    folder = ctx.home / "endpoints"
    names = [*GROUPS, *sorted(ENDPOINTS + path.parent.name for path in folder.glob("*/config.json"))]
    names = [name for name in sorted(names) if name.startswith(prefix) and pattern in name.lower()]
    found, token = _page(names, request)
    groups = [
        {"logGroupName": name, "arn": _arn(ctx, name) + ":*", "logGroupArn": _arn(ctx, name), "storedBytes": 0}
        for name in found
    ]
    return {"logGroups": groups} | token


def describe_log_streams(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """The streams of a group, by name or by their last event."""
    group = _group(request)
    found = list(_streams(ctx, group, request.get("logStreamNamePrefix") or ""))
    described = [_described(ctx, stream) for stream in found]
    if request.get("orderBy") == "LastEventTime":
        described.sort(key=lambda stream: stream.get("lastEventTimestamp", 0))
    if request.get("descending"):
        described.reverse()
    page, token = _page(described, request)
    return {"logStreams": page} | token


def get_log_events(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Events from the head, from the end, or where a token says. The forward token stays the same at the end."""
    stream = _stream(ctx, _group(request), request.get("logStreamName") or "")
    limit = _limit(request)
    marks = stream.marks()
    token = request.get("nextToken")
    if token:
        match = _TOKEN.fullmatch(str(token))
        if match is None:
            raise AwsError("InvalidParameterException", "The specified nextToken is invalid.")
        direction, at = match[1], int(match[2])
    else:
        forward = bool(request.get("startFromHead"))
        direction = "f" if forward else "b"
        at = first_byte(marks, request.get("startTime")) if forward else marks[-1][0] if marks else 0
    events = stream.events(marks, at, limit) if direction == "f" else stream.events_before(marks, at, limit)
    start, end = (events[0].start, events[-1].end) if events else (at, at)
    begin, until = request.get("startTime"), request.get("endTime")
    return {
        "events": [_shown(event) for event in events if _within(event, begin, until)],
        "nextForwardToken": f"f/{end:056}",
        "nextBackwardToken": f"b/{start:056}",
    }


def filter_log_events(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Events of several streams that hold what the pattern says, in the order of their times within a page."""
    group = _group(request)
    chosen = request.get("logStreamNames")
    found = [
        stream
        for stream in _streams(ctx, group, request.get("logStreamNamePrefix") or "")
        if not chosen or stream.name in chosen
    ]
    fits = _pattern(request.get("filterPattern") or "")
    limit = _limit(request)
    begun, at = _opened(request.get("nextToken"))
    events: list[tuple[Stream, Event]] = []
    size = 0
    token: dict[str, Any] = {}
    for stream, event in _walk(found, begun, at, request.get("startTime")):
        if not (_within(event, request.get("startTime"), request.get("endTime")) and fits(event.message)):
            continue
        if len(events) == limit or size > PAGE_BYTES:
            token = {"nextToken": _sealed(stream.name, event.start)}
            break
        size += len(event.message)
        events.append((stream, event))
    events.sort(key=lambda item: item[1].time)
    shown = [
        {"logStreamName": stream.name, "eventId": f"{event.time:020}{event.start:036}", **_shown(event)}
        for stream, event in events
    ]
    return {"events": shown, "searchedLogStreams": []} | token


def _walk(found: list[Stream], begun: str, at: int, since: int | None) -> Iterator[tuple[Stream, Event]]:
    for stream in found:
        if stream.name < begun:
            continue
        marks = stream.marks()
        start = at if stream.name == begun else first_byte(marks, since)
        while events := stream.events(marks, start, _MOST_EVENTS):
            for event in events:
                yield stream, event
            start = events[-1].end


def _pattern(pattern: str) -> Callable[[str], bool]:
    """CloudWatch's patterns for unstructured text: all the words; ``?word`` any of them; ``-word`` none.

    Raises
    ------
    AwsError
        InvalidParameterException for patterns of fields and of JSON.
    """
    text = pattern.strip()
    if text[:1] in ("{", "[", "%"):
        raise AwsError(
            "InvalidParameterException",
            "Filter patterns for JSON, fields and regular expressions are not offered here; give words.",
        )
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise AwsError("InvalidParameterException", f"Invalid filter pattern: {error}.") from error
    some = [word[1:] for word in words if word[0] == "?" and len(word) > 1]
    none = [word[1:] for word in words if word[0] == "-" and len(word) > 1]
    every = [word for word in words if word[0] not in "?-" or len(word) == 1]

    def fits(message: str) -> bool:
        return (
            all(word in message for word in every)
            and not any(word in message for word in none)
            and (not some or any(word in message for word in some))
        )

    return fits


def _group(request: dict[str, Any]) -> str:
    name = request.get("logGroupName") or request.get("logGroupIdentifier") or ""
    return str(name).removesuffix(":*").rpartition(":log-group:")[2]


def _streams(ctx: Context, group: str, prefix: str) -> Iterator[Stream]:
    found = streams(ctx, group, prefix)
    if found is None:
        raise AwsError("ResourceNotFoundException", "The specified log group does not exist.")
    return found


def _stream(ctx: Context, group: str, name: str) -> Stream:
    for stream in _streams(ctx, group, name):
        if stream.name == name:
            return stream
    raise AwsError("ResourceNotFoundException", "The specified log stream does not exist.")


def _described(ctx: Context, stream: Stream) -> dict[str, Any]:
    marks = stream.marks()
    described = {
        "logStreamName": stream.name,
        "creationTime": stream.created,
        "arn": f"{_arn(ctx, stream.group)}:log-stream:{stream.name}",
        "storedBytes": 0,
    }
    if marks:
        last = marks[-1][1]
        described |= {"firstEventTimestamp": marks[0][1], "lastEventTimestamp": last, "lastIngestionTime": last}
    return described


def _shown(event: Event) -> dict[str, Any]:
    return {"timestamp": event.time, "message": event.message, "ingestionTime": event.time}


def _within(event: Event, begin: int | None, until: int | None) -> bool:
    return (begin is None or event.time >= begin) and (until is None or event.time < until)


def _limit(request: dict[str, Any]) -> int:
    limit = int(request.get("limit") or _MOST_EVENTS)
    if not 1 <= limit <= _MOST_EVENTS:
        raise AwsError("InvalidParameterException", f"limit must be 1 to {_MOST_EVENTS}, not {limit}.")
    return limit


def _page(rows: list[Any], request: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    limit = int(request.get("limit") or 50)
    _, at = _opened(request.get("nextToken"))
    more = {"nextToken": _sealed("", at + limit)} if len(rows) > at + limit else {}
    return rows[at : at + limit], more


def _sealed(name: str, at: int) -> str:
    return base64.urlsafe_b64encode(json.dumps([name, at]).encode()).decode()


def _opened(token: str | None) -> tuple[str, int]:
    if not token:
        return "", 0
    try:
        name, at = json.loads(base64.b64decode(token, altchars=b"-_", validate=True))
        return str(name), int(at)
    except (binascii.Error, ValueError, TypeError) as error:
        raise AwsError("InvalidParameterException", "The specified nextToken is invalid.") from error


def _arn(ctx: Context, group: str) -> str:
    return f"arn:aws:logs:{ctx.region}:{ctx.account}:log-group:{group}"


OPERATIONS: dict[str, Operation] = {
    "DescribeLogGroups": describe_log_groups,
    "DescribeLogStreams": describe_log_streams,
    "FilterLogEvents": filter_log_events,
    "GetLogEvents": get_log_events,
}
