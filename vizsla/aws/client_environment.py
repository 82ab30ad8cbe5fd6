"""What a client's process is told so that it talks to this machine instead of AWS: variables, and nothing installed.

Sources: the AWS SDKs and Tools reference guide ("Service-specific endpoints"), the SageMaker Python SDK's guide to its
configuration file.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vizsla.aws.context import Context
from vizsla.files import write_bytes
from vizsla.optional import require
from vizsla.version import PACKAGE

STARTUP = PACKAGE / "aws" / "startup"
"""On the path of the commands of ``vizsla aws run``: its ``sitecustomize`` is imported when Python starts."""
_KEY, _SECRET = "VIZSLAVIZSLAVIZSLA00", "vizsla"
_NOT_WANTED = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
               "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE")  # fmt: skip
"""Variables that would lead a client elsewhere."""


def variables(ctx: Context) -> dict[str, str]:
    """What every client of AWS needs, in any language."""
    key = os.environ.get("VIZSLA_SIGV4_KEYS", "").split(",")[0].partition(":")
    return {
        "AWS_ENDPOINT_URL": ctx.address,
        "AWS_ACCESS_KEY_ID": key[0] or _KEY,
        "AWS_SECRET_ACCESS_KEY": key[2] or _SECRET,
        "AWS_DEFAULT_REGION": ctx.region,
        "AWS_REGION": ctx.region,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL_S3": ctx.address,
    }


def client_variables(ctx: Context, inherited: Mapping[str, str]) -> dict[str, str]:
    """What a command of ``vizsla aws run`` finds beside what it inherits."""
    folder = ctx.state / "client"
    path = [str(STARTUP), *filter(None, [inherited.get("PYTHONPATH")])]
    return variables(ctx) | {
        "VIZSLA_HOME": str(ctx.home),
        "VIZSLA_AWS": ctx.address,
        "PYTHONPATH": os.pathsep.join(path),
        "NO_PROXY": _joined(inherited.get("NO_PROXY"), "127.0.0.1,localhost"),
        "no_proxy": _joined(inherited.get("no_proxy"), "127.0.0.1,localhost"),
        "SAGEMAKER_SUPPRESS_V2_WARNING": "1",
        "SAGEMAKER_USER_CONFIG_OVERRIDE": str(_sdk_configuration(folder)),
        "PIP_CONSTRAINT": _joined(inherited.get("PIP_CONSTRAINT"), str(_constraint(folder)), " "),
    }


def environment(ctx: Context, inherited: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of such a command."""
    kept = {name: value for name, value in inherited.items() if name not in _NOT_WANTED}
    return kept | client_variables(ctx, inherited)


def exports(ctx: Context, inherited: Mapping[str, str]) -> str:
    """The same as lines for a shell."""
    lines = [f"unset {' '.join(_NOT_WANTED)}"]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in client_variables(ctx, inherited).items()]
    return "\n".join(lines)


def _joined(before: str | None, more: str, by: str = ",") -> str:
    return more if not before or more in before else f"{before}{by}{more}"


def _constraint(folder: Path) -> Path:
    """``pip install sagemaker`` in a notebook gives the version that the notebook was written for."""
    file = folder / "constraint.txt"
    write_bytes(file, b"sagemaker<3\n", make_folder=True)
    return file


def _sdk_configuration(folder: Path) -> Path:
    """The person's own configuration of the SDK, with its telemetry switched off."""
    yaml = require("yaml", extra="aws", feature="The configuration of SageMaker's SDK")
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    own = Path(os.environ.get("SAGEMAKER_USER_CONFIG_OVERRIDE") or f"{base}/sagemaker/config.yaml").expanduser()
    file = folder / "sagemaker.yaml"
    document: dict[str, Any] = {}
    if own.is_file() and own.resolve() != file.resolve():
        document = yaml.safe_load(own.read_text("utf-8")) or {}
    document.setdefault("SchemaVersion", "1.0")
    section = document
    for name in ("SageMaker", "PythonSDK", "Modules"):
        section = section.setdefault(name, {})
    section["TelemetryOptOut"] = True
    write_bytes(file, yaml.safe_dump(document).encode(), make_folder=True)
    return file
