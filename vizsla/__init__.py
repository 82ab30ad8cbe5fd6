"""Vizsla: the whole life of an image classifier, on your own machine."""

__version__ = "0.1.0"
