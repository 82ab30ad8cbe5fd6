"""A Jupyter kernel whose notebooks talk to this machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from vizsla.aws.client_environment import client_variables
from vizsla.aws.context import Context
from vizsla.aws.server import HOST, PORT, running
from vizsla.files import write_json
from vizsla.settings import settings

NAME = "vizsla"


def install(python: Path | None = None, prefix: Path | None = None) -> Path:
    """Write the kernel's specification; its folder.

    Parameters
    ----------
    python:
        The interpreter that runs the notebooks; it needs ipykernel. By default this one.
    prefix:
        Below its ``share/jupyter``; by default the user's own Jupyter folder.
    """
    home = settings().home.absolute()
    other = running(home)
    ctx = Context(home, other.address if other is not None else f"http://{HOST}:{PORT}")
    folder = _data_folder(prefix) / "kernels" / NAME
    document = {
        "argv": [str(python or sys.executable), "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "Python (Vizsla)",
        "language": "python",
        "env": client_variables(ctx, {}),
    }
    write_json(folder / "kernel.json", document, make_folder=True)
    return folder


def _data_folder(prefix: Path | None) -> Path:
    """Where Jupyter looks for kernels (jupyter_core.paths)."""
    if prefix is not None:
        return prefix / "share" / "jupyter"
    if (named := os.environ.get("JUPYTER_DATA_DIR")) is not None:
        return Path(named)
    return Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share").expanduser() / "jupyter"
