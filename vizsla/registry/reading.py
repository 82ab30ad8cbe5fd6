"""Reading the registry.

MLflow takes two seconds to import. Where its database is a SQLite file, the tables of its registry are read as they
are, in milliseconds: listing, showing, and the look that a server takes each second at what an alias means.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections import defaultdict
from pathlib import Path
from urllib.parse import quote

from vizsla.errors import StorageError
from vizsla.jobs.tracking import sqlite_file
from vizsla.registry.mlflow_store import MlflowStore
from vizsla.registry.package import ModelPackage, Reference, choose
from vizsla.registry.place import registry_uri
from vizsla.registry.tags import package_of

_VERSIONS = """
    SELECT name, version, source, creation_time, description FROM model_versions
    WHERE current_stage != 'Deleted_Internal' AND (? IS NULL OR name = ?) ORDER BY name, version
"""
_TAGS = "SELECT name, version, key, value FROM model_version_tags WHERE key LIKE 'vizsla.%' AND (? IS NULL OR name = ?)"
_ALIASES = "SELECT name, version, alias FROM registered_model_aliases WHERE ? IS NULL OR name = ?"


def packages(group: str | None = None, uri: str | None = None) -> list[ModelPackage]:
    """All packages, of one group where it is named, by group and version.

    Raises
    ------
    StorageError
        When the database cannot be read.
    ModelError
        When the registry's server cannot be reached.
    """
    uri = uri or registry_uri()
    file = sqlite_file(uri)
    if file is None:
        return MlflowStore(uri).packages(group)
    if not file.exists():
        return []
    try:
        return _read(file, group)
    except sqlite3.OperationalError:  # another version's tables
        return MlflowStore(uri).packages(group)
    except sqlite3.DatabaseError as error:
        raise StorageError(f"The registry cannot be read: {error}.", where=file, do="restore the file") from error


def find(reference: str | Reference, uri: str | None = None) -> ModelPackage:
    """The package that a reference means.

    Raises
    ------
    ModelError
        When there is none.
    UsageError
        When it is no reference.
    """
    named = Reference.parse(reference) if isinstance(reference, str) else reference
    return choose(packages(named.group, uri), named)


def _read(file: Path, group: str | None) -> list[ModelPackage]:
    address = f"file:{quote(str(file.absolute()))}?mode=ro"
    tags: defaultdict[tuple[str, int], dict[str, str]] = defaultdict(dict)
    aliases: defaultdict[tuple[str, int], list[str]] = defaultdict(list)
    with contextlib.closing(sqlite3.connect(address, uri=True, timeout=10)) as database:
        for name, version, key, value in database.execute(_TAGS, (group, group)):
            tags[name, version][key] = value
        for name, version, alias in database.execute(_ALIASES, (group, group)):
            aliases[name, version].append(alias)
        return [
            package_of(name, version, source, created, description, tags[name, version], aliases[name, version])
            for name, version, source, created, description in database.execute(_VERSIONS, (group, group))
        ]
