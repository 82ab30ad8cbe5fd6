"""IAM as far as notebooks ask: roles are names, and everything is allowed.

Notebooks name roles of their author's account: GetRole answers every name that can be one. What CreateRole has made is
kept in ``aws/roles.json`` and listed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import urllib.parse
from datetime import UTC, datetime
from typing import Any

from vizsla.aws.context import Context, Operation
from vizsla.aws.errors import AwsError
from vizsla.files import write_json
from vizsla.jobs.handover import load

ROLE = "vizsla"
"""The role that everybody has."""

_NAME = re.compile(r"[\w+=,.@-]{1,64}")
_TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
_POLICY = "arn:aws:iam::aws:policy/AmazonSageMakerFullAccess"
_CHANGE = threading.Lock()


def identity_of(role: str) -> str:
    """The RoleId, ``AROA`` and 17 letters and digits."""
    return "AROA" + base64.b32encode(hashlib.sha256(role.encode()).digest()).decode()[:17]


def get_role(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """A role of any name."""
    name = _name(request)
    return {"Role": _role(ctx, name, _roles(ctx).get(name, {}))}


def create_role(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Remember a role."""
    name = _name(request)
    document = str(request.get("AssumeRolePolicyDocument", ""))
    try:
        json.loads(document)
    except ValueError as error:
        raise AwsError("MalformedPolicyDocument", f"This policy contains invalid Json: {error}.") from error
    with _CHANGE:
        roles = _roles(ctx)
        if name in roles or name == ROLE:
            raise AwsError("EntityAlreadyExists", f"Role with name {name} already exists.", 409)
        roles[name] = {
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "document": document,
            "path": request.get("Path") or "/",
            "description": request.get("Description"),
            "attached": [],
            "inline": {},
        }
        _write(ctx, roles)
    return {"Role": _role(ctx, name, roles[name])}


def delete_role(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Forget a role."""
    name = _name(request)
    with _CHANGE:
        roles = _roles(ctx)
        if name not in roles:
            raise _unknown(name)
        if roles[name]["attached"] or roles[name]["inline"]:
            raise AwsError("DeleteConflict", "Cannot delete entity, must detach all policies first.", 409)
        del roles[name]
        _write(ctx, roles)
    return {}


def list_roles(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """The role that everybody has, and those that were made."""
    prefix = request.get("PathPrefix") or "/"
    roles = {ROLE: {}} | _roles(ctx)
    listed = [_role(ctx, name, roles[name]) for name in sorted(roles)]
    return {"Roles": [role for role in listed if role["Path"].startswith(prefix)], "IsTruncated": False}


def attach_role_policy(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Remember that a policy is attached; all is allowed without it, too."""
    arn = str(request.get("PolicyArn", ""))
    if not re.fullmatch(r"arn:aws[a-z-]*:iam::(?:aws|\d{12}):policy/[\x21-\x7e]+", arn):
        raise AwsError("InvalidInput", f"ARN {arn[:200]} is not valid.")
    with _CHANGE:
        roles, role = _known(ctx, request)
        role["attached"] = sorted({*role["attached"], arn})
        _write(ctx, roles)
    return {}


def detach_role_policy(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Remember that it is not any more."""
    arn = str(request.get("PolicyArn", ""))
    with _CHANGE:
        roles, role = _known(ctx, request)
        if arn not in role["attached"]:
            raise AwsError("NoSuchEntity", f"Policy {arn[:200]} was not found.", 404)
        role["attached"].remove(arn)
        _write(ctx, roles)
    return {}


def list_attached_role_policies(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """What was attached; to a role that was not made here, what SageMaker's roles have."""
    role = _roles(ctx).get(_name(request))
    arns = [_POLICY] if role is None else role["attached"]
    return {
        "AttachedPolicies": [{"PolicyName": arn.rpartition("/")[2], "PolicyArn": arn} for arn in arns],
        "IsTruncated": False,
    }


def put_role_policy(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Remember a policy of a role's own."""
    with _CHANGE:
        roles, role = _known(ctx, request)
        role["inline"][str(request.get("PolicyName", ""))] = str(request.get("PolicyDocument", ""))
        _write(ctx, roles)
    return {}


def delete_role_policy(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Forget it."""
    with _CHANGE:
        roles, role = _known(ctx, request)
        if role["inline"].pop(str(request.get("PolicyName", "")), None) is None:
            raise AwsError(
                "NoSuchEntity", f"The role policy with name {request.get('PolicyName')} cannot be found.", 404
            )
        _write(ctx, roles)
    return {}


def list_role_policies(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """The names of a role's own policies."""
    role = _roles(ctx).get(_name(request), {})
    return {"PolicyNames": sorted(role.get("inline", {})), "IsTruncated": False}


def simulate_principal_policy(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Everything is allowed."""
    actions = request.get("ActionNames") or []
    results = [{"EvalActionName": action, "EvalResourceName": "*", "EvalDecision": "allowed"} for action in actions]
    return {"EvaluationResults": results, "IsTruncated": False}


def _role(ctx: Context, name: str, kept: dict[str, Any]) -> dict[str, Any]:
    path = kept.get("path", "/")
    role = {
        "Path": path,
        "RoleName": name,
        "RoleId": identity_of(name),
        "Arn": f"arn:aws:iam::{ctx.account}:role{path}{name}",
        "CreateDate": datetime.fromisoformat(kept.get("created", "2020-01-01T00:00:00+00:00")),
        "AssumeRolePolicyDocument": urllib.parse.quote(kept.get("document") or json.dumps(_TRUST)),
        "MaxSessionDuration": 3600,
    }
    return role | ({"Description": kept["description"]} if kept.get("description") else {})


def _name(request: dict[str, Any]) -> str:
    name = str(request.get("RoleName", ""))
    if not _NAME.fullmatch(name):
        raise AwsError(
            "ValidationError",
            f"The specified value for roleName is invalid: {name[:100]!r}. It must contain only alphanumeric "
            "characters and/or the following: +=,.@_-, 1 to 64 of them.",
        )
    return name


def _known(ctx: Context, request: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    name = _name(request)
    roles = _roles(ctx)
    if name not in roles:
        raise _unknown(name)
    return roles, roles[name]


def _unknown(name: str) -> AwsError:
    return AwsError("NoSuchEntity", f"The role with name {name} cannot be found: CreateRole has not made it.", 404)


def _roles(ctx: Context) -> dict[str, Any]:
    return load(ctx.state / "roles.json") or {}


def _write(ctx: Context, roles: dict[str, Any]) -> None:
    write_json(ctx.state / "roles.json", roles, make_folder=True)


OPERATIONS: dict[str, Operation] = {
    "AttachRolePolicy": attach_role_policy,
    "CreateRole": create_role,
    "DeleteRole": delete_role,
    "DeleteRolePolicy": delete_role_policy,
    "DetachRolePolicy": detach_role_policy,
    "GetRole": get_role,
    "ListAttachedRolePolicies": list_attached_role_policies,
    "ListRolePolicies": list_role_policies,
    "ListRoles": list_roles,
    "PutRolePolicy": put_role_policy,
    "SimulatePrincipalPolicy": simulate_principal_policy,
}
