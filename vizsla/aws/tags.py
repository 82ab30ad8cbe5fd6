"""Tags: names and values on anything that has an ARN."""

from __future__ import annotations

from typing import Any

from vizsla.aws.context import Context
from vizsla.aws.records import Records, one_at_a_time
from vizsla.files import sha256_json


def _table(ctx: Context) -> Records:
    return Records(ctx.state / "tags")


def _key(arn: str) -> str:
    return sha256_json(arn)[:32]


def keep(ctx: Context, arn: str, request: dict[str, Any]) -> None:
    """Keep the tags of what a request creates: none of an earlier thing of its name."""
    if request.get("Tags"):
        _table(ctx).replace(_key(arn), {"ResourceArn": arn, "Tags": request["Tags"]})
    else:
        _table(ctx).remove(_key(arn))


def of(ctx: Context, arn: str) -> list[dict[str, str]]:
    """The tags of what has this ARN."""
    found: list[dict[str, str]] = (_table(ctx).find(_key(arn)) or {}).get("Tags", [])
    return found


def list_tags(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """ListTags."""
    return {"Tags": of(ctx, request["ResourceArn"])}


@one_at_a_time
def add(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """AddTags: one of a key that is there takes its place."""
    arn, new = request["ResourceArn"], {tag["Key"]: tag["Value"] for tag in request["Tags"]}
    merged = {tag["Key"]: tag["Value"] for tag in of(ctx, arn)} | new
    rows = [{"Key": key, "Value": value} for key, value in merged.items()]
    _table(ctx).replace(_key(arn), {"ResourceArn": arn, "Tags": rows})
    return {"Tags": rows}


@one_at_a_time
def delete(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """DeleteTags."""
    arn = request["ResourceArn"]
    rows = [tag for tag in of(ctx, arn) if tag["Key"] not in request["TagKeys"]]
    _table(ctx).replace(_key(arn), {"ResourceArn": arn, "Tags": rows})
    return {}
