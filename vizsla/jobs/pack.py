"""``model/`` as ``model.tar.gz``, the form in which SageMaker hands models on."""

from __future__ import annotations

import os
import tarfile
import uuid
from pathlib import Path

ARCHIVE = "model.tar.gz"
_GZIP_LEVEL = 1  # weights hardly shrink: the fastest level


def holds_anything(folder: Path) -> bool:
    """Whether a file lies anywhere in ``folder``."""
    return any(files for _, _, files in os.walk(folder))


def pack_model(folder: Path, archive: Path) -> None:
    """Write everything in ``folder`` to ``archive``; links are followed, so that the archive stands alone.

    Raises
    ------
    OSError
        When a file cannot be read or the disk is full; ``archive`` is then as it was.
    """
    temporary = archive.with_name(f".{archive.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with tarfile.open(temporary, "w:gz", compresslevel=_GZIP_LEVEL, dereference=True) as tar:
            for name in sorted(os.listdir(folder)):
                tar.add(folder / name, arcname=name)
        os.replace(temporary, archive)
    finally:
        temporary.unlink(missing_ok=True)
