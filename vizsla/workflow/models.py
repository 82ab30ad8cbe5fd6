"""A model by whatever a person calls it: a path, a job's name, an address, a version in the registry."""

from __future__ import annotations

from pathlib import Path

from vizsla.errors import ModelError
from vizsla.jobs.home import job_with_model
from vizsla.jobs.spec import local_path
from vizsla.registry import files, reading
from vizsla.registry.package import SCHEME
from vizsla.serving.shelves import fetch_archive
from vizsla.settings import settings


def locate_model(name: str) -> Path:
    """The folder or archive of a model.

    Parameters
    ----------
    name:
        A model's folder, a job's folder or name, a ``model.tar.gz``; a ``file://`` or ``s3://`` address;
        ``models:/group/version`` or ``models:/group@alias``.

    Raises
    ------
    ModelError
        When there is none.
    """
    if name.startswith(SCHEME):
        return files.model_folder(reading.find(name))
    if name.startswith("s3://"):
        return fetch_archive(name, settings().cache)
    path = local_path(name)
    if path is not None:
        if path.expanduser().exists():
            return path.expanduser().absolute()
        if (job := job_with_model(name)).exists():
            return job.absolute()
    raise ModelError(
        f"There is no model {name!r}.",
        allowed="a model's folder, a job's folder or name, a model.tar.gz, s3://bucket/key, models:/GROUP@ALIAS",
        do="`vizsla fit DATA` makes one and prints its path; `vizsla jobs list` shows the jobs",
    )
