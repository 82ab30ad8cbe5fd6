"""MLflow's registry, by its client: what is written, and what is read from anything but a SQLite file."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vizsla.errors import ModelError
from vizsla.jobs.recorder import make_database
from vizsla.jobs.tracking import is_local, masked
from vizsla.optional import require
from vizsla.registry.package import Approval, ModelPackage
from vizsla.registry.tags import approval_tags, package_of

_FEATURE = "The model registry"
_PAGE = 200
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
"""MLflow's own patience with a server that is down is minutes."""


class MlflowStore:
    """One registry.

    Raises
    ------
    MissingExtraError
        Without MLflow.
    ModelError
        When the server cannot be reached or refuses, at any call.
    """

    def __init__(self, uri: str) -> None:
        for name, value in _PATIENCE.items():
            os.environ.setdefault(name, value)
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        mlflow = require("mlflow", extra="track", feature=_FEATURE)
        self._errors = require("mlflow.exceptions", extra="track", feature=_FEATURE)
        self.uri = uri
        make_database(uri)
        self._client: Any = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)

    @contextlib.contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except (self._errors.MlflowException, OSError) as error:
            raise ModelError(
                f"The model registry does not answer: {str(error).splitlines()[0][:300]}.",
                where=masked(self.uri),
                do="start the server, or unset VIZSLA_TRACKING for the registry in the folder of the jobs",
            ) from error

    def packages(self, group: str | None = None) -> list[ModelPackage]:
        """All packages, by group and version."""
        with self._in_words():
            wanted = f"name = '{group}'" if group else ""
            models = self._all(self._client.search_registered_models, wanted)
            aliases: dict[tuple[str, int], list[str]] = {}
            for model in models:
                for alias, version in (model.aliases or {}).items():
                    aliases.setdefault((model.name, int(version)), []).append(alias)
            found = [
                package_of(
                    version.name,
                    int(version.version),
                    version.source,
                    version.creation_timestamp,
                    version.description,
                    version.tags or {},
                    aliases.get((version.name, int(version.version)), ()),
                )
                for version in self._all(self._client.search_model_versions, wanted)
            ]
        return sorted(found, key=lambda package: (package.group, package.version))

    def _all(self, search: Any, wanted: str) -> list[Any]:
        found, token = [], None
        while True:
            page = search(filter_string=wanted, max_results=_PAGE, page_token=token)
            found += page
            token = page.token
            if not token:
                return found

    def create(self, group: str, source: str, tags: dict[str, str], run: str | None, description: str | None) -> int:
        """Add a version to a group, which is made where there is none; the version's number."""
        with self._in_words():
            try:
                self._client.create_registered_model(group)
            except self._errors.MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            version = self._client.create_model_version(
                group, source, run_id=run, tags=tags, description=description, await_creation_for=0
            )
        return int(version.version)

    def upload(self, folder: Path, run: str | None) -> tuple[str, str]:
        """Hand the files of a package to the server, as artifacts of a run (a new one where none is known); the address
        that they have then, and the run."""
        with self._in_words():
            if run is None:
                experiment = self._client.get_experiment_by_name("vizsla")
                number = experiment.experiment_id if experiment else self._client.create_experiment("vizsla")
                run = self._client.create_run(number).info.run_id
                self._client.set_terminated(run)
            self._client.log_artifacts(run, str(folder), "package")
            return f"{self._client.get_run(run).info.artifact_uri}/package", str(run)

    def download(self, package: ModelPackage, folder: Path) -> Path:
        """The files of a package, in ``folder``."""
        artifacts = require("mlflow.artifacts", extra="track", feature=_FEATURE)
        with self._in_words():
            return Path(artifacts.download_artifacts(package.source, dst_path=str(folder), tracking_uri=self.uri))

    def has_run(self, run: str) -> bool:
        """Whether the run is known there."""
        with contextlib.suppress(self._errors.MlflowException):
            return self._client.get_run(run) is not None
        return False

    def approve(self, package: ModelPackage, approval: Approval) -> None:
        """Write down a decision."""
        with self._in_words():
            for key, value in approval_tags(approval).items():
                self._client.set_model_version_tag(package.group, str(package.version), key, value)

    def set_alias(self, package: ModelPackage, alias: str) -> None:
        """Let an alias mean this version, and no other of its group."""
        with self._in_words():
            self._client.set_registered_model_alias(package.group, alias, str(package.version))

    def delete_alias(self, group: str, alias: str) -> None:
        """Take an alias away."""
        with self._in_words():
            self._client.delete_registered_model_alias(group, alias)

    def delete(self, package: ModelPackage) -> None:
        """Take a version out of the registry, with its aliases; its number is not given again."""
        with self._in_words():
            self._client.delete_model_version(package.group, str(package.version))

    @property
    def is_local(self) -> bool:
        """Whether the registry is a file of this machine."""
        return is_local(self.uri)
