"""The layouts, in the order in which they are tried: the surest names first."""

from __future__ import annotations

from vizsla.data.layouts import imagefolder, kaggle, table
from vizsla.data.layouts.reading import Layout

FOLDERS = "folders"
"""The layout that is none of :data:`LAYOUTS`: a folder for each class."""

LAYOUTS: dict[str, Layout] = {
    "imagefolder": imagefolder.LAYOUT,
    "kaggle": kaggle.LAYOUT,
    "table": table.LAYOUT,
}
"""Layouts by the name that ``--layout`` takes. A file that one has read is not offered to those below it."""
