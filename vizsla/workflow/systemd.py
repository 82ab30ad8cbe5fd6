"""A unit for systemd that brings an endpoint back when the machine starts."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from vizsla.errors import UsageError
from vizsla.files import write_bytes
from vizsla.serving.endpoint_folder import EndpointFolder
from vizsla.version import python_path
from vizsla.workflow.endpoints import KEEPER

_PRIVATE = ("VIZSLA_API_KEYS", "VIZSLA_SIGV4_KEYS")


def _quoted(text: str) -> str:
    """As systemd reads it: in quotes, with its own signs doubled."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def check_no_keys() -> None:
    """That no keys are set: they belong into no unit, and without them the endpoint would come back open.

    Raises
    ------
    UsageError
        When some are.
    """
    if private := [name for name in _PRIVATE if os.environ.get(name)]:
        raise UsageError(
            f"{private[0]} is set, and the unit would start the endpoint without it: keys are written into no unit.",
            where=f"environment variable {private[0]}",
            do=f"create the endpoint without {private[0]}, and give the key to the unit in a file of yours "
            "(EnvironmentFile=)",
        )


def write_unit(folder: EndpointFolder) -> Path:
    """Write a unit for systemd that brings the endpoint back when the machine starts; nothing is switched on."""
    base = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    unit = base / "systemd" / "user" / f"vizsla-endpoint-{folder.name}.service"
    wanted = [name for name in os.environ if name.startswith(("VIZSLA_", "AWS_ENDPOINT")) and name not in _PRIVATE]
    variables = {name: os.environ[name] for name in wanted}
    variables |= {"VIZSLA_HOME": str(folder.path.parents[1]), "PYTHONPATH": python_path()}
    lines = [
        "[Unit]",
        f"Description=Vizsla endpoint {folder.name}",
        "",
        "[Service]",
        *(f"Environment={_quoted(f'{name}={value}')}" for name, value in sorted(variables.items()) if value),
        f"ExecStart={_quoted(sys.executable)} -m {KEEPER} {_quoted(str(folder.path))}",
        "Restart=on-failure",
        "",
        "[Install]",
        "WantedBy=default.target",
    ]
    write_bytes(unit, ("\n".join(lines) + "\n").encode(), make_folder=True)
    return unit
