"""Models by what the registry calls them: an alias may be given to another version while they are served."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from vizsla.errors import ModelError, UsageError
from vizsla.registry.files import model_folder
from vizsla.registry.package import APPROVED, ModelPackage, Reference
from vizsla.registry.reading import find
from vizsla.serving.shelves import NamedShelf


class RegisteredShelf(NamedShelf):
    """Models given one by one, some of them as ``models:/group@alias``. Such a one is called by its group's name, and
    each of its versions is an artifact of its own, ``group/version``.

    :meth:`changes` looks at the registry; what is found takes effect with :meth:`promote`, when it has been loaded.

    Raises
    ------
    ModelError
        When there is no such version, or it is not approved.
    UsageError
        When two models would have one name.
    """

    def __init__(self, paths: Mapping[str, Path], references: Sequence[str]) -> None:
        super().__init__(paths)
        self.references: dict[str, Reference] = {}
        self._current: dict[str, ModelPackage] = {}
        self._packages: dict[str, ModelPackage] = {}
        for text in references:
            reference = Reference.parse(text)
            if reference.group in (*self.references, *paths):
                raise UsageError(
                    f"Two models have the name {reference.group!r}.", where=text, do="serve them by two servers"
                )
            package = approved(reference)
            self.references[reference.group] = reference
            self._current[reference.group] = self._packages[package.name] = package

    def locate(self, name: str) -> Path:
        """The folder of a version, or the path that was given."""
        artifact = self.artifact(name)
        package = self._packages.get(artifact)
        return super().locate(name) if package is None else model_folder(package)

    def artifact(self, name: str) -> str:
        """The version that a name means now."""
        if name in self._packages:
            return name
        group = self._group(name)
        return super().artifact(name) if group is None else self._current[group].name

    def url(self, name: str) -> str:
        """What the registry calls it."""
        if name in self._packages:
            return f"models:/{name}"
        group = self._group(name)
        return super().url(name) if group is None else f"models:/{self.references[group]}"

    def moves(self, name: str) -> bool:
        """Whether the registry says what it is."""
        return self._group(name) is not None

    def changes(self) -> list[ModelPackage]:
        """Versions that references have come to mean; each can be located by its name from now on.

        Raises
        ------
        VizslaError
            When the registry cannot be read.
        """
        found = []
        for group, reference in self.references.items():
            if reference.version is not None:
                continue
            package = find(reference)
            if package.version != self._current[group].version and package.status == APPROVED:
                self._packages[package.name] = package
                found.append(package)
        return found

    def promote(self, package: ModelPackage) -> ModelPackage:
        """Let the group's name mean this version; the one that it meant before."""
        before, self._current[package.group] = self._current[package.group], package
        return before

    def _group(self, name: str) -> str | None:
        """``dogs/model.tar.gz``, as it would be called below a folder, is ``dogs``."""
        return next((one for one in (name, name.removesuffix("/model.tar.gz")) if one in self.references), None)


def approved(reference: Reference) -> ModelPackage:
    """The package that a reference means, if it may be served.

    Raises
    ------
    ModelError
        When there is none, or it is not approved.
    """
    package = find(reference)
    if package.status != APPROVED:
        raise ModelError(
            f"{package.name} is not approved: its status is {package.status}.",
            where=f"models:/{reference}",
            do=f"`vizsla models approve {package.name}`, when it is good",
        )
    return package
