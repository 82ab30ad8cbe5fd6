"""The collections of a hook."""

from vizsla.debugging.collections import CollectionManager

__all__ = ["CollectionManager"]
