"""The one path from bytes to model input, in numpy and Pillow, without torch."""

from vizsla.images.damage import Damage, damage
from vizsla.images.decode import DecodedImage, Limits, decode, read_file
from vizsla.images.formats import FileType, file_type, readable_formats, readable_suffixes
from vizsla.images.memory import from_memory
from vizsla.images.preprocess import Preprocessing

__all__ = [
    "Damage",
    "DecodedImage",
    "FileType",
    "Limits",
    "Preprocessing",
    "damage",
    "decode",
    "file_type",
    "from_memory",
    "read_file",
    "readable_formats",
    "readable_suffixes",
]
