"""Writing a store."""

from vizsla.debugging.writer import StoreWriter
from vizsla.debugging.writer import StoreWriter as FileWriter

__all__ = ["FileWriter", "StoreWriter"]
