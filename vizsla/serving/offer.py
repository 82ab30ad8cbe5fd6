"""Which models a server offers, from what a person names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vizsla.errors import UsageError
from vizsla.parameters import spelled
from vizsla.registry.package import SCHEME
from vizsla.serving.registered import RegisteredShelf
from vizsla.serving.shelves import FolderShelf, NamedShelf, S3Shelf, Shelf, container, fetch_archive, models_by_name


@dataclass(frozen=True)
class Offer:
    """A shelf, and the models on it that are loaded at the start, the default one first."""

    shelf: Shelf
    pinned: tuple[str, ...] = ()

    @classmethod
    def of(cls, models: Sequence[str], models_dir: str | None, cache: Path) -> Offer:
        """Some models, or a folder or prefix of them; without either what lies in ``/opt/ml``, as SageMaker's hosting
        starts a container.

        Raises
        ------
        VizslaError
            When both were given, or one cannot be found.
        """
        if models and models_dir:
            raise UsageError(f"Models and {spelled('models_dir')} were both given.", do="give one of them")
        if not models and not models_dir and os.environ.get("SAGEMAKER_MULTI_MODEL", "").lower() == "true":
            return cls(FolderShelf(container() / "models", filled_later=True))
        if models_dir and models_dir.startswith("s3://"):
            return cls(S3Shelf(models_dir, cache))
        if models_dir:
            return cls(FolderShelf(Path(models_dir)))
        paths_or_addresses = list(models) or [str(container() / "model")]
        registered = [text for text in paths_or_addresses if text.startswith(SCHEME)]
        others = [text for text in paths_or_addresses if text not in registered]
        paths = models_by_name(others, lambda address: fetch_archive(address, cache))
        if not registered:
            return cls(NamedShelf(paths), tuple(paths))
        shelf = RegisteredShelf(paths, registered)
        names = (*shelf.references, *paths) if paths_or_addresses[0] in registered else (*paths, *shelf.references)
        return cls(shelf, names)
