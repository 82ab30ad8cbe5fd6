"""Actions as AWS serialises them."""

from __future__ import annotations

import json
import sys

from smdebug.rules.action.message_action import MessageAction
from smdebug.rules.action.stop_training_action import StopTrainingAction


class Actions:
    """The actions of ``action_str``: a list of ``{"name": "stoptraining" | "email" | "sms", ...}`` in JSON."""

    def __init__(self, actions_str: str = "", rule_name: str = "") -> None:
        self._actions: list[MessageAction | StopTrainingAction] = []
        try:
            entries = json.loads(actions_str or "[]")
        except ValueError as error:
            print(f"[vizsla] the actions of {rule_name} are no JSON: {error}", file=sys.stderr, flush=True)
            entries = []
        for entry in [entries] if isinstance(entries, dict) else entries:
            name = str(entry.get("name", "")).lower()
            if name == "stoptraining":
                self._actions.append(StopTrainingAction(rule_name, entry.get("training_job_prefix")))
            elif name in ("email", "sms"):
                self._actions.append(MessageAction(rule_name, name, str(entry.get("endpoint", ""))))

    def invoke(self, message: str | None = None) -> None:
        """Let them follow."""
        for action in self._actions:
            action.invoke(message or "")
