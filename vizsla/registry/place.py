"""Where the registry is."""

from __future__ import annotations

from pathlib import Path

from vizsla.jobs.tracking import OFF, check_tracking_uri, sqlite_address
from vizsla.settings import settings

FOLDER = "registry"
"""Below the folder of the jobs: the files of packages, where the registry's database is a file of this machine."""


def registry_uri() -> str:
    """The address of MLflow: what ``VIZSLA_TRACKING`` says, else (also with ``off``, which is about jobs) a SQLite file
    in the folder of the jobs."""
    now = settings()
    if now.tracking and now.tracking.lower() not in (OFF, "0", "none"):
        return check_tracking_uri(now.tracking, "VIZSLA_TRACKING")
    home = now.home_folder("The registry, without a server at VIZSLA_TRACKING,")
    return sqlite_address(home.absolute() / "mlflow.db")


def registry_folder() -> Path:
    """Where packages are kept whose registry is a file of this machine."""
    return settings().home_folder("The registry").absolute() / FOLDER
