"""Short trainings with a planted fault, and healthy ones, on real photos: what the debugger's rules are judged on."""

from .faults import faults
from .healthy import healthy
from .networks import convolutional, perceptron
from .photos import Photos, load_photos
from .pretrained import with_weights
from .run import Run, train

__all__ = [
    "Photos",
    "Run",
    "convolutional",
    "faults",
    "healthy",
    "load_photos",
    "perceptron",
    "train",
    "with_weights",
]
