"""A unit for systemd that brings an endpoint back when the machine starts."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from vizsla.files import write_bytes
from vizsla.serving.endpoint_folder import EndpointFolder
from vizsla.version import python_path
from vizsla.workflow.endpoints import KEEPER


def write_unit(folder: EndpointFolder) -> Path:
    """Write a unit for systemd that brings the endpoint back when the machine starts; nothing is switched on."""
    base = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    unit = base / "systemd" / "user" / f"vizsla-endpoint-{folder.name}.service"
    private = ("VIZSLA_API_KEYS", "VIZSLA_SIGV4_KEYS")
    wanted = [name for name in os.environ if name.startswith(("VIZSLA_", "AWS_ENDPOINT")) and name not in private]
    variables = {name: os.environ[name] for name in wanted}
    variables |= {"VIZSLA_HOME": str(folder.path.parents[1]), "PYTHONPATH": python_path()}
    lines = [
        "[Unit]",
        f"Description=Vizsla endpoint {folder.name}",
        "",
        "[Service]",
        *(
            f'Environment="{name}={value}"'
            for name, value in sorted(variables.items())
            if value and name not in private
        ),
        f"ExecStart={sys.executable} -m {KEEPER} {folder.path}",
        "Restart=always",
        "",
        "[Install]",
        "WantedBy=default.target",
    ]
    write_bytes(unit, ("\n".join(lines) + "\n").encode(), make_folder=True)
    return unit
