"""A page as PDF, by a browser that is there."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from vizsla.errors import UsageError
from vizsla.parameters import spelled

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def find_browser() -> str | None:
    """A browser that prints, where one is installed."""
    return next((path for name in _BROWSERS if (path := shutil.which(name))), None)


def browser() -> str:
    """A browser that prints.

    Raises
    ------
    UsageError
        When none is installed.
    """
    found = find_browser()
    if found is None:
        raise UsageError(
            "There is no browser to print with.",
            parameter="pdf",
            allowed=", ".join(_BROWSERS),
            do=f"install one, or leave {spelled('pdf', True)} out and print the report yourself",
        )
    return found


def print_page(page: Path, pdf: Path) -> Path:
    """Print a page; the file that it is then.

    Raises
    ------
    UsageError
        When there is no browser.
    """
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            [browser(), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}",
             "--no-pdf-header-footer", f"--print-to-pdf={pdf.absolute()}", page.absolute().as_uri()],
            check=True, capture_output=True, timeout=120,
        )  # fmt: skip
    return pdf
