"""The command within this process: where the process itself is not what is tested, its imports are paid for once."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from vizsla.cli.main import main
from vizsla.parameters import PYTHON, speak


def vizsla(
    *arguments: object, text: str | bytes = b"", folder: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """What ``vizsla ARGUMENTS`` prints and how it ends; ``text`` is its input."""
    given = text.encode() if isinstance(text, str) else text
    streams = {
        name: io.TextIOWrapper(io.BytesIO(content), "utf-8", write_through=True)
        for name, content in (("stdin", given), ("stdout", b""), ("stderr", b""))
    }
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setattr(sys, "argv", ["vizsla", *map(str, arguments)])
        for name, stream in streams.items():
            patch.setattr(sys, name, stream)
        for name, value in {"COLUMNS": "200", **environment}.items():
            patch.setenv(name, value)
        if folder is not None:
            patch.chdir(folder)
        try:
            main()
            code: int | str | None = 0
        except SystemExit as end:
            code = end.code or 0
        finally:
            speak(PYTHON)
    assert isinstance(code, int), code
    said = [streams[name].buffer.getvalue().decode() for name in ("stdout", "stderr")]  # type: ignore[attr-defined]
    return subprocess.CompletedProcess(list(map(str, arguments)), code, *said)


def process(*arguments: object, text: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """The same as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "vizsla", *map(str, arguments)],
        capture_output=True,
        text=True,
        input=text,
        env={**os.environ, "COLUMNS": "200", **environment},
        check=False,
    )
