"""A hook's configuration: SageMaker's ``debughookconfig.json``, or the same in YAML."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vizsla.debugging.collections import Collection
from vizsla.debugging.reductions import ReductionConfig
from vizsla.debugging.save_config import FIELDS, SaveConfig
from vizsla.errors import UsageError

ENVIRONMENT = "SMDEBUG_CONFIG_FILE_PATH"
DEFAULT_PATH = "/opt/ml/input/config/debughookconfig.json"
_KEYS = ("S3OutputPath", "LocalPath", "HookParameters", "CollectionConfigurations")


def config_path(path: str | os.PathLike[str] | None = None) -> Path:
    """Where the configuration is looked for: the path, the variable's, SageMaker's place."""
    return Path(path or os.environ.get(ENVIRONMENT) or DEFAULT_PATH)


@dataclass(frozen=True)
class HookConfig:
    """What a document says of a hook."""

    folder: str | None = None
    save_config: SaveConfig | None = None
    reduction_config: ReductionConfig | None = None
    include_regex: tuple[str, ...] = ()
    collections: tuple[Collection, ...] = ()
    save_all: bool = False
    include_workers: str = "one"
    is_default: bool = True
    """Whether it says nothing."""

    @classmethod
    def read(cls, path: Path) -> HookConfig:
        """From a file.

        Raises
        ------
        FileNotFoundError
            When there is none: the script runs outside a job.
        UsageError
            When it cannot be meant.
        """
        text = path.read_text("utf-8", "replace")
        if path.suffix in (".yaml", ".yml"):
            from vizsla.optional import require

            yaml = require("yaml", extra="tune", feature="A configuration in YAML")
            try:
                document = yaml.safe_load(text) or {}
            except yaml.YAMLError as error:
                raise UsageError(f"The hook's configuration is no YAML: {error}.", where=path) from error
        else:
            try:
                document = json.loads(text)
            except ValueError as error:
                raise UsageError(
                    f"The hook's configuration is no JSON: {error}.",
                    where=path,
                    allowed="an object with HookParameters and CollectionConfigurations",
                ) from error
        return cls.of(document, path)

    @classmethod
    def of(cls, document: Any, where: object = "DebugHookConfig") -> HookConfig:
        """From a document's ``DebugHookConfig``.

        Raises
        ------
        UsageError
            When it cannot be meant.
        """
        if not isinstance(document, Mapping):
            raise UsageError(f"The hook's configuration is no object: {document!r:.80}.", where=where)
        if unknown := sorted(set(document) - {*_KEYS}):
            raise UsageError(
                f"There is no {unknown[0]!r} in a hook's configuration.", where=where, allowed=", ".join(_KEYS)
            )
        parameters = dict(document.get("HookParameters") or {})
        collections = tuple(_collection(c, parameters) for c in document.get("CollectionConfigurations") or [])
        regexes = str(parameters.get("include_regex") or "")
        return cls(
            folder=document.get("LocalPath"),
            save_config=SaveConfig.from_parameters(parameters) if _says_steps(parameters) else None,
            reduction_config=ReductionConfig.from_parameters(parameters),
            include_regex=tuple(part.strip() for part in regexes.split(",") if part.strip()),
            collections=collections,
            save_all=str(parameters.get("save_all", "")).lower() == "true",
            include_workers=str(parameters.get("include_workers", "one")),
            is_default=not parameters and not collections,
        )


def _says_steps(parameters: Mapping[str, Any]) -> bool:
    return any(name.rpartition(".")[2] in FIELDS for name in parameters)


def _collection(entry: Mapping[str, Any], hook_parameters: Mapping[str, Any]) -> Collection:
    name = entry.get("CollectionName")
    if not name:
        raise UsageError("A collection has no name.", where="CollectionConfigurations", allowed="CollectionName")
    parameters = entry.get("CollectionParameters") or {}
    general = SaveConfig.from_parameters(hook_parameters) if _says_steps(hook_parameters) else None
    steps = SaveConfig.from_parameters(parameters, general) if _says_steps(parameters) else None
    regexes = [part.strip() for part in str(parameters.get("include_regex") or "").split(",") if part.strip()]
    return Collection(
        name,
        regexes,
        reduction_config=ReductionConfig.from_parameters(parameters),
        save_config=steps,
        save_histogram=str(parameters.get("save_histogram", "true")).lower() == "true",
    )
