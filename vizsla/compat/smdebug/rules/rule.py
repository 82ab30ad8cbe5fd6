"""The base class of rules."""

from vizsla.debugging.rules.base import RequiredTensors, Rule

__all__ = ["RequiredTensors", "Rule"]
