"""The layouts, in the order in which they are tried: the surest names first."""

from __future__ import annotations

from vizsla.data.layouts import (
    cvat,
    datumaro,
    fiftyone,
    imagefolder,
    imagenet,
    kaggle,
    label_studio,
    roboflow,
    split_tables,
    table,
    webdataset,
)
from vizsla.data.layouts.reading import Layout

FOLDERS = "folders"
"""The layout that is none of :data:`LAYOUTS`: a folder for each class."""

SHARDS = "webdataset"
"""The layout of a folder of shards."""

LAYOUTS: dict[str, Layout] = {
    "imagefolder": imagefolder.LAYOUT,
    "roboflow": roboflow.LAYOUT,
    "fiftyone": fiftyone.LAYOUT,
    "datumaro": datumaro.LAYOUT,
    "cvat": cvat.LAYOUT,
    "label-studio": label_studio.LAYOUT,
    SHARDS: webdataset.LAYOUT,
    "imagenet": imagenet.LAYOUT,
    "split-tables": split_tables.LAYOUT,
    "kaggle": kaggle.LAYOUT,
    "table": table.LAYOUT,
}
"""Layouts by the name that ``layout`` takes. A file that one has read is not offered to those below it."""
