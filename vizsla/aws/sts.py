"""STS: who one is. Everybody is the same role, of the account of this server."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from vizsla.aws.context import Context, Operation
from vizsla.aws.errors import AwsError
from vizsla.aws.iam import ROLE, identity_of
from vizsla.aws.signature import temporary

_ROLE_ARN = re.compile(r"arn:aws[a-z-]*:iam::(\d{12}):role/(?:[\x21-\x7e]+/)?([\w+=,.@-]{1,64})")
_SESSION = re.compile(r"[\w+=,.@-]{2,64}")


def get_caller_identity(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """An assumed role: the SDK takes the execution role from its Arn, and refuses a user's."""
    return {
        "UserId": f"{identity_of(ROLE)}:SageMaker",
        "Account": ctx.account,
        "Arn": f"arn:aws:sts::{ctx.account}:assumed-role/{ROLE}/SageMaker",
    }


def assume_role(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Credentials that this server takes for as long as it has the keys that it has."""
    arn, session = str(request.get("RoleArn", "")), str(request.get("RoleSessionName", ""))
    match = _ROLE_ARN.fullmatch(arn)
    if match is None:
        raise AwsError("ValidationError", f"{arn[:200]} is invalid: arn:aws:iam::<account>:role/<name> was expected.")
    if not _SESSION.fullmatch(session):
        raise AwsError(
            "ValidationError",
            f"Value {session[:80]!r} at 'roleSessionName' failed to satisfy constraint: Member must satisfy regular "
            "expression pattern: [\\w+=,.@-]{2,64}",
        )
    account, role = match.groups()
    return {
        "Credentials": _credentials(ctx, f"{arn} {session}", request),
        "AssumedRoleUser": {
            "AssumedRoleId": f"{identity_of(role)}:{session}",
            "Arn": f"arn:aws:sts::{account}:assumed-role/{role}/{session}",
        },
        "PackedPolicySize": 0,
    }


def get_session_token(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """The same for whoever asks."""
    return {"Credentials": _credentials(ctx, "session", request)}


def _credentials(ctx: Context, name: str, request: dict[str, Any]) -> dict[str, Any]:
    seconds = int(request.get("DurationSeconds") or 3600)
    if not 900 <= seconds <= 129_600:
        raise AwsError("ValidationError", f"DurationSeconds must be 900 to 129600, not {seconds}.")
    key_id, secret = temporary(name, ctx.keys)
    return {
        "AccessKeyId": key_id,
        "SecretAccessKey": secret,
        "SessionToken": base64.b64encode(f"vizsla {name}".encode()).decode(),
        "Expiration": datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=seconds),
    }


OPERATIONS: dict[str, Operation] = {
    "AssumeRole": assume_role,
    "GetCallerIdentity": get_caller_identity,
    "GetSessionToken": get_session_token,
}
