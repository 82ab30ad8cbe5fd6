"""Reading a store row by row."""

from vizsla.debugging.store import Reader
from vizsla.debugging.store import Reader as FileReader

__all__ = ["FileReader", "Reader"]
