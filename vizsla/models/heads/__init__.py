"""The kinds of heads."""

from vizsla.models.heads.base import Head, softmax
from vizsla.models.heads.cosine import CosineHead
from vizsla.models.heads.linear import LinearHead

HEADS: dict[str, type[Head]] = {head.kind: head for head in (LinearHead, CosineHead)}
"""Every kind by its name."""

__all__ = ["HEADS", "CosineHead", "Head", "LinearHead", "softmax"]
