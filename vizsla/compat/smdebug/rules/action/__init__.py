"""What follows when a rule fires; within a job its own actions do (`vizsla train --action`)."""

from smdebug.rules.action.action import Actions

__all__ = ["Actions"]
