"""Model cards: documents about models, in versions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vizsla.aws.context import Context, Operation
from vizsla.aws.errors import AwsError
from vizsla.aws.records import one_at_a_time
from vizsla.aws.requests import moment, now, page
from vizsla.aws.sagemaker.named import Resource

CARDS = Resource("model-card", "ModelCard", "model card", "ModelCardSummaries", missing="ResourceNotFound")
_VERSIONS = "Versions"


def create(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """CreateModelCard."""
    if CARDS.table(ctx).find(CARDS.named_in(request)) is not None:
        raise AwsError("ConflictException", f"A model card with the name {request['ModelCardName']} already exists.")
    version = {name: request[name] for name in ("Content", "ModelCardStatus")} | {"CreationTime": now()}
    return CARDS.create(ctx, request | {_VERSIONS: [version]})


@one_at_a_time
def update(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """UpdateModelCard: another content is another version; a status belongs to the newest."""
    name = _name(request)
    document = CARDS.find(ctx, name)
    *others, last = document[_VERSIONS]
    versions = [*others, last | {"ModelCardStatus": request.get("ModelCardStatus", last["ModelCardStatus"])}]
    if request.get("Content", last["Content"]) != last["Content"]:
        versions.append(versions[-1] | {"Content": request["Content"], "CreationTime": now()})
    CARDS.table(ctx).replace(name, document | {_VERSIONS: versions, "LastModifiedTime": now()})
    return {"ModelCardArn": ctx.arn(CARDS.kind, name)}


def describe(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """DescribeModelCard: one version, by default the newest."""
    document = CARDS.find(ctx, _name(request))
    number = int(request.get("ModelCardVersion") or len(document[_VERSIONS]))
    if not 1 <= number <= len(document[_VERSIONS]):
        raise AwsError("ResourceNotFound", f"Model card {document['ModelCardName']} has no version {number}.")
    return _version(ctx, document, number) | {
        "Content": document[_VERSIONS][number - 1]["Content"],
        "CreatedBy": {},
    }


def list_cards(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """ListModelCards."""
    return _page(ctx, (_newest(ctx, document) for document in CARDS.table(ctx).all()), request, CARDS.key)


def list_versions(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """ListModelCardVersions."""
    document = CARDS.find(ctx, _name(request))
    rows = (_version(ctx, document, number) for number in range(1, len(document[_VERSIONS]) + 1))
    return _page(ctx, rows, request, "ModelCardVersionSummaryList")


def _page(ctx: Context, rows: Iterator[dict[str, Any]], request: dict[str, Any], key: str) -> dict[str, Any]:
    wanted = request.get("ModelCardStatus")
    rows = (row for row in rows if wanted in (None, row["ModelCardStatus"]))
    return page(rows, request, key=key, name="ModelCardName")


def _newest(ctx: Context, document: dict[str, Any]) -> dict[str, Any]:
    row = _version(ctx, document, len(document[_VERSIONS]))
    del row["ModelCardVersion"]
    return row


def _version(ctx: Context, document: dict[str, Any], number: int) -> dict[str, Any]:
    version = document[_VERSIONS][number - 1]
    return CARDS.row(ctx, document) | {
        "ModelCardVersion": number,
        "ModelCardStatus": version["ModelCardStatus"],
        "CreationTime": moment(version["CreationTime"]),
    }


def _name(request: dict[str, Any]) -> str:
    """The name of a card, which may be given as an ARN."""
    return CARDS.named_in({CARDS.field: str(request.get(CARDS.field) or "").rpartition("/")[2] or None})


OPERATIONS: dict[str, Operation] = {
    "CreateModelCard": create,
    "DescribeModelCard": describe,
    "UpdateModelCard": update,
    "DeleteModelCard": CARDS.delete,
    "ListModelCards": list_cards,
    "ListModelCardVersions": list_versions,
}
