"""Features on disk, addressed by content: picture's bytes x preprocessing x backbone x engine.

A *space* is a folder of immutable shards, written in one step and never changed, so that a kill leaves whole
shards only and any number of processes can add to a space at once (a picture computed twice is stored twice and
harmless). A shard that does not read back as written is removed and its pictures are computed again.
"""

from __future__ import annotations

import contextlib
import json
import os
import uuid
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from vizsla import shared_cache
from vizsla.cache import stat
from vizsla.files import sha256_json
from vizsla.models.engine import Engine
from vizsla.models.export import ExportedBackbone, exported

Key = bytes
"""SHA-256 of a picture's bytes, 32 bytes."""

_SUFFIX = ".features"


@dataclass(frozen=True)
class Usage:
    """What one space of features, or one exported backbone (``pictures`` None), takes.

    ``last_used`` is in seconds since 1970.
    """

    backbone: str
    weights: str
    path: Path
    pictures: int | None
    bytes: int
    last_used: float


class FeatureSpace:
    """The stored features of one backbone behind one preprocessing on one engine."""

    def __init__(self, cache: Path, backbone: ExportedBackbone, engine: Engine) -> None:
        self.features = backbone.features
        identity = {
            "preprocessing": backbone.preprocessing.to_dict(),
            "backbone_sha256": backbone.sha256,
            "engine": engine.name,
            "precision": engine.precision,
            "features": backbone.features,
        }
        self.folder = cache / "features" / sha256_json(identity)[:32]
        self._description = {"backbone": backbone.name, "weights": backbone.weights, **identity}

    def ready(self) -> Path:
        """The folder, made and described."""
        if not (self.folder / "space.json").is_file():
            shared_cache.write(self.folder / "space.json", json.dumps(self._description, indent=2).encode())
        return self.folder

    def index(self) -> Index:
        """What is stored at this moment.

        Raises
        ------
        SourceError
            When the cache is in a bucket that does not answer as it should.
        """
        shared_cache.fetch(self.folder)
        shards = []
        for path in sorted(self.folder.glob(f"*{_SUFFIX}")):
            shard = _open_shard(path, self.features)
            if shard is None:
                shared_cache.remove(path)
            else:
                shards.append(shard)
        return Index(shards)

    def add(self, keys: Sequence[Key], features: npt.NDArray[np.float32]) -> None:
        """Store the features (n, d) of n pictures in one step.

        Raises
        ------
        StorageError, SourceError
            When the file system or the bucket refuses.
        """
        keys_array = np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 32)
        features = np.ascontiguousarray(features, np.float32)
        checksum = _checksum(keys_array, features)
        content = safetensors.numpy.save(
            {"keys": keys_array, "features": features}, metadata={"crc32": f"{checksum:08x}"}
        )
        shared_cache.write(self.ready() / f"{uuid.uuid4().hex}{_SUFFIX}", content)


@dataclass(frozen=True)
class _Shard:
    path: Path
    words: npt.NDArray[np.uint64]
    """The first eight bytes of each key."""


class Index:
    """Where each stored picture is: 16 bytes of memory a picture."""

    def __init__(self, shards: Sequence[_Shard]) -> None:
        self._paths = [shard.path for shard in shards]
        words = np.concatenate([s.words for s in shards]) if shards else np.empty(0, np.uint64)
        owner = np.repeat(np.arange(len(shards), dtype=np.int32), [len(s.words) for s in shards])
        row = np.concatenate([np.arange(len(s.words), dtype=np.int32) for s in shards]) if shards else owner
        order = np.argsort(words, kind="stable")
        self._words, self._owner, self._row = words[order], owner[order], row[order]

    def __len__(self) -> int:
        return len(self._words)

    def __contains__(self, key: Key) -> bool:
        word = np.frombuffer(key, np.uint64, 1)[0]
        at = int(np.searchsorted(self._words, word))
        return at < len(self._words) and bool(self._words[at] == word)

    def contains(self, keys: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
        """Which of the keys (n, 32) are stored, bool (n,)."""
        words = np.ascontiguousarray(keys).view(np.uint64)[:, 0]
        if not len(self._words):
            return np.zeros(len(words), bool)
        at = np.minimum(np.searchsorted(self._words, words), len(self._words) - 1)
        stored: npt.NDArray[np.bool_] = self._words[at] == words
        return stored

    def read(
        self, keys: npt.NDArray[np.uint8], wanted: npt.NDArray[np.int64]
    ) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]:
        """Read stored features, one shard at a time.

        Parameters
        ----------
        keys:
            (n, 32) uint8, one key a row.
        wanted:
            Rows of ``keys`` to look up.

        Yields
        ------
        Rows of ``keys`` and their features (rows, d). What is not stored (any more) is not yielded.
        """
        words = np.ascontiguousarray(keys[wanted]).view(np.uint64)[:, 0]
        at = np.minimum(np.searchsorted(self._words, words), max(0, len(self._words) - 1))
        found = self._words[at] == words if len(self._words) else np.zeros(len(words), bool)
        owners, rows, wanted = self._owner[at[found]], self._row[at[found]], wanted[found]
        for owner in np.unique(owners):
            mine = owners == owner
            try:
                with safetensors.safe_open(self._paths[owner], framework="numpy") as shard:
                    stored_keys, features = shard.get_tensor("keys"), shard.get_tensor("features")
            except (OSError, safetensors.SafetensorError):
                continue  # another process has just evicted it
            same = (stored_keys[rows[mine]] == keys[wanted[mine]]).all(axis=1)
            yield wanted[mine][same], features[rows[mine][same]]
            with contextlib.suppress(OSError):
                os.utime(self._paths[owner])


def _open_shard(path: Path, features: int) -> _Shard | None:
    """Read a shard's keys and verify its checksum; None when it is damaged."""
    try:
        with safetensors.safe_open(path, framework="numpy") as shard:
            keys, values = shard.get_tensor("keys"), shard.get_tensor("features")
            expected = (shard.metadata() or {}).get("crc32")
    except (OSError, safetensors.SafetensorError):
        return None
    if keys.shape != (len(values), 32) or values.shape[1:] != (features,):
        return None
    if f"{_checksum(keys, values):08x}" != expected:
        return None
    return _Shard(path, np.ascontiguousarray(keys).view(np.uint64)[:, 0].copy())


def _checksum(keys: npt.NDArray[np.uint8], features: npt.NDArray[np.float32]) -> int:
    return zlib.crc32(features.reshape(-1).view(np.uint8).data, zlib.crc32(keys.reshape(-1).data))


def usage(cache: Path) -> list[Usage]:
    """What each space and each exported backbone takes, the last used first."""
    spaces = [
        Usage(name, weights, path, None, at.st_size, at.st_mtime)
        for name, weights, path in exported(cache)
        if (at := stat(path))
    ]
    for folder in (cache / "features").glob("*/"):
        shards = [at for path in folder.glob(f"*{_SUFFIX}") if (at := stat(path))]
        description = _describe(folder)
        width = 32 + 4 * int(str(description.get("features") or 0))
        spaces.append(
            Usage(
                backbone=str(description.get("backbone", "?")),
                weights=str(description.get("weights", "?")),
                path=folder,
                pictures=sum(at.st_size // width for at in shards),
                bytes=sum(at.st_size for at in shards),
                last_used=max((at.st_mtime for at in shards), default=0.0),
            )
        )
    return sorted(spaces, key=lambda space: -space.last_used)


def _describe(folder: Path) -> dict[str, object]:
    try:
        content = json.loads((folder / "space.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
