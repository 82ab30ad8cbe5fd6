"""Models by what the registry calls them: an alias may be given to another version while they are served."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from vizsla.errors import ModelError, UsageError
from vizsla.registry.files import model_folder
from vizsla.registry.package import APPROVED, ModelPackage, Reference
from vizsla.registry.reading import find
from vizsla.serving.attempts import Attempts
from vizsla.serving.shelves import NamedShelf


class RegisteredShelf(NamedShelf):
    """Models given one by one, some of them as ``models:/group@alias``, which :func:`vizsla.serving.promotion.follow`
    follows. Each version is an artifact of its own, ``group/version``.

    :meth:`changes` looks at the registry; what is found takes effect with :meth:`promote`, when it has been loaded.

    Parameters
    ----------
    references:
        Of models that are called by their group's name; :meth:`add` gives others.

    Raises
    ------
    ModelError
        When there is no such version, or it is not approved.
    UsageError
        When two models would have one name.
    """

    def __init__(self, paths: Mapping[str, Path], references: Sequence[str] = ()) -> None:
        super().__init__(paths)
        self.references: dict[str, Reference] = {}
        self._current: dict[str, ModelPackage] = {}
        self._packages: dict[str, ModelPackage] = {}
        self.attempts = Attempts(None)
        """At versions that are loaded to be promoted."""
        self.on_promote: Callable[[], None] = lambda: None
        """Called when a name has come to mean another version."""
        for text in references:
            reference = Reference.parse(text)
            if reference.group in (*self.references, *paths):
                raise UsageError(
                    f"Two models have the name {reference.group!r}.", where=text, do="serve them by two servers"
                )
            self.add(reference.group, reference, approved(reference))

    def add(self, name: str, reference: Reference, package: ModelPackage) -> None:
        """Let a name follow a reference, which means a package now."""
        self.references[name] = reference
        self._current[name] = self._packages[package.name] = package

    def remove(self, name: str) -> None:
        """Follow a name no more, or forget the path that it stands for."""
        self.references.pop(name, None)
        self._current.pop(name, None)
        self.paths.pop(name, None)

    def locate(self, name: str) -> Path:
        """The folder of a version, or the path that was given."""
        artifact = self.artifact(name)
        package = self._packages.get(artifact)
        return super().locate(name) if package is None else model_folder(package)

    def artifact(self, name: str) -> str:
        """The version that a name means now."""
        if name in self._packages:
            return name
        own = self._name_of(name)
        return super().artifact(name) if own is None else self._current[own].name

    def url(self, name: str) -> str:
        """What the registry calls it."""
        if name in self._packages:
            return f"models:/{name}"
        own = self._name_of(name)
        return super().url(name) if own is None else f"models:/{self.references[own]}"

    def moves(self, name: str) -> bool:
        """Whether the registry says what it is."""
        return self._name_of(name) is not None

    def is_meant(self, artifact: str) -> bool:
        """Whether a name means it now."""
        return artifact in self.paths or any(package.name == artifact for package in self._current.values())

    def changes(self) -> list[tuple[str, ModelPackage]]:
        """Names, and the versions that their references have come to mean; each of these can be located by its own
        name from now on.

        Raises
        ------
        VizslaError
            When the registry cannot be read.
        """
        found = []
        for name, reference in list(self.references.items()):
            if reference.version is not None:
                continue
            package = find(reference)
            current = self._current.get(name)
            if current is not None and package.version != current.version and package.status == APPROVED:
                self._packages[package.name] = package
                found.append((name, package))
        return found

    def promote(self, name: str, package: ModelPackage) -> ModelPackage:
        """Let a name mean this version; the one that it meant before."""
        before, self._current[name] = self._current[name], package
        self.on_promote()
        return before

    def _name_of(self, name: str) -> str | None:
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
