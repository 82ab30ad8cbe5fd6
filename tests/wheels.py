"""Packages to install, made here."""

from __future__ import annotations

import zipfile
from pathlib import Path


def wheel(folder: Path, version: str) -> None:
    """A package of one module, as pip installs it."""
    info = f"vizslatestpkg-{version}.dist-info"
    with zipfile.ZipFile(folder / f"vizslatestpkg-{version}-py3-none-any.whl", "w") as file:
        file.writestr("vizslatestpkg.py", f"version = {version!r}\n")
        file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: vizslatestpkg\nVersion: {version}\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")
