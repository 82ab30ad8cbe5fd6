"""ECR as names: repositories can be made and found; nothing is pushed to them."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

from vizsla.aws.context import Context, Operation
from vizsla.aws.errors import AwsError
from vizsla.aws.records import Records
from vizsla.aws.requests import moment, now
from vizsla.files import sha256_json


def _table(ctx: Context) -> Records:
    return Records(ctx.state / "repository")


def _described(ctx: Context, document: dict[str, Any]) -> dict[str, Any]:
    name = document["repositoryName"]
    return {
        "repositoryArn": f"arn:aws:ecr:{ctx.region}:{ctx.account}:repository/{name}",
        "registryId": ctx.account,
        "repositoryName": name,
        "repositoryUri": f"{ctx.account}.dkr.ecr.{ctx.region}.amazonaws.com/{name}",
        "createdAt": moment(document["createdAt"]),
    }


def _create(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    name = request["repositoryName"]
    document = {"repositoryName": name, "createdAt": now()}
    if not _table(ctx).create(sha256_json(name)[:24], document):
        raise AwsError("RepositoryAlreadyExistsException", f"The repository with name '{name}' already exists.")
    return {"repository": _described(ctx, document)}


def _describe(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    rows = {document["repositoryName"]: document for document in _table(ctx).all()}
    names = request.get("repositoryNames") or sorted(rows)
    for name in names:
        if name not in rows:
            raise AwsError("RepositoryNotFoundException", f"The repository with name '{name}' does not exist.")
    return {"repositories": [_described(ctx, rows[name]) for name in names]}


def _token(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """What `docker login` is given; there is nothing to log in to."""
    return {
        "authorizationData": [
            {
                "authorizationToken": base64.b64encode(b"AWS:vizsla").decode(),
                "expiresAt": datetime.now(UTC) + timedelta(hours=12),
                "proxyEndpoint": f"https://{ctx.account}.dkr.ecr.{ctx.region}.amazonaws.com",
            }
        ]
    }


OPERATIONS: dict[str, Operation] = {
    "CreateRepository": _create,
    "DescribeRepositories": _describe,
    "GetAuthorizationToken": _token,
}
