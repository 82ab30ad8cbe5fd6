"""Reading archives that may be damaged."""

from __future__ import annotations

import errno
import lzma
import tarfile
import zlib

DAMAGED = (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError)
"""What reading a damaged archive raises."""

_PADDING_BYTES = 16 << 20


def words_of(error: BaseException) -> str:
    """One of :data:`DAMAGED`, as a part of a sentence."""
    said = str(error).rstrip(".")
    if "\n" in said:  # what each way to open it has said
        return "it is no tar archive, or its beginning is broken"
    return said


def read_to_the_end(archive: tarfile.TarFile) -> None:
    """Read what is left of an archive's file, to its checksum: tarfile takes a damaged header for the archive's end.

    Raises
    ------
    OSError, EOFError, zlib.error, lzma.LZMAError
        When it is damaged, or much follows its end.
    """
    left = 0
    while archive.fileobj is not None and (block := archive.fileobj.read(1 << 20)):
        left += len(block)
        if left > _PADDING_BYTES:
            raise OSError(errno.EINVAL, "it is damaged, or something follows its end")
