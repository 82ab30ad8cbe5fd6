"""Messages: told on the terminal, as nothing here sends e-mail or SMS."""

from __future__ import annotations


class MessageAction:
    """Says to whom a message would have gone."""

    def __init__(self, rule_name: str, message_type: str, message_endpoint: str) -> None:
        self._rule, self._kind, self._endpoint = rule_name, message_type, message_endpoint

    def invoke(self, message: str) -> None:
        """Print it."""
        print(f"SMDebugRule:{self._rule} fired. {message} ({self._kind} to {self._endpoint} is not sent)", flush=True)
