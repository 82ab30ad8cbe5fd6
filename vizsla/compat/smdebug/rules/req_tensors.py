"""What a rule needs at a step."""

from vizsla.debugging.rules.base import RequiredTensors

__all__ = ["RequiredTensors"]
