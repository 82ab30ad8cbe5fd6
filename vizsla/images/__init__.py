"""The one path from bytes to model input, in numpy and Pillow, without torch."""

from vizsla.images.decode import Decoded, Limits, decode, read_file
from vizsla.images.preprocess import Preprocessing

__all__ = ["Decoded", "Limits", "Preprocessing", "decode", "read_file"]
