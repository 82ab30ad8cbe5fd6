"""Labels as people and tools leave them, each way a small file and a row in :data:`LAYOUTS`."""

from vizsla.data.layouts.choose import list_directory, list_file
from vizsla.data.layouts.registry import FOLDERS, LAYOUTS, SHARDS

__all__ = ["FOLDERS", "LAYOUTS", "SHARDS", "list_directory", "list_file"]
