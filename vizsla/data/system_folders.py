"""Folders that are no data: those that systems and tools leave behind, and those of Vizsla itself."""

from __future__ import annotations

from collections.abc import Collection

from vizsla.settings import settings

NAMES = frozenset(
    name.lower()
    for name in (
        # network storage: Synology, QNAP, Netgear
        *("@eaDir", "#recycle", "#snapshot", "@Recycle", "@Recently-Snapshot", "@tmp", "Network Trash Folder"),
        # macOS, Windows, Linux, Android
        *("__MACOSX", "Temporary Items", "$RECYCLE.BIN", "RECYCLER", "System Volume Information", "FOUND.000"),
        *("lost+found", "LOST.DIR"),
        # cameras and photo programs: ACDSee, Nikon, Capture One
        *("[Originals]", "NKSC_PARAM", "CaptureOne"),
        # tools of those who train
        *("__pycache__", "node_modules", "site-packages", "wandb", "mlruns", "mlartifacts", "lightning_logs"),
        *("catboost_info", "AutogluonModels"),
    )
)
"""Names, in lower case, that only systems and tools give. Names that begin with a dot are hidden and need no entry."""

SUFFIXES = (".lrdata", ".lrcat-data", ".photoslibrary", ".photolibrary", ".aplibrary", ".cocatalog", ".egg-info")
"""Endings of folders in which photo programs keep previews and catalogs."""

MARKERS: dict[str, str] = {
    "pyvenv.cfg": "a virtual environment",
    "conda-meta": "a conda environment",
    "job.json": "a job of vizsla",
    ".run": "a job of vizsla",
    ".manifest.parquet.digest": "what vizsla keeps of a data set",
}
"""Entries that say what the folder around them is."""


def own_folders() -> frozenset[str]:
    """The real paths of the folder of jobs and of the cache."""
    place = settings()
    return frozenset(str(folder.resolve()) for folder in (place.home, place.cache))


def is_system_folder(name: str, entries: Collection[str] = ()) -> bool:
    """Whether a folder of this name, with these names inside, is none that a person sorts pictures into."""
    lower = name.lower()
    return name.startswith(".") or lower in NAMES or lower.endswith(SUFFIXES) or not MARKERS.keys().isdisjoint(entries)
