"""Named groups of tensors, where scripts for PyTorch look for them."""

from smdebug.core.collection import Collection, CollectionKeys

__all__ = ["Collection", "CollectionKeys"]
