"""Refusals in AWS's words."""

from __future__ import annotations


class AwsError(Exception):
    """An answer that is an error: its code and message are what clients match.

    Parameters
    ----------
    code:
        Such as ``ValidationException``.
    message:
        One sentence.
    status:
        Of HTTP. Never 5xx for a refusal: clients would ask again.
    """

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        self.code = code
        self.message = message
        self.status = status
        super().__init__(f"{code}: {message}")


def invalid(message: str) -> AwsError:
    """What SageMaker answers to most of what it cannot do."""
    return AwsError("ValidationException", message)
