"""Named groups of tensors."""

from vizsla.debugging.collections import Collection, CollectionKeys

__all__ = ["Collection", "CollectionKeys"]
