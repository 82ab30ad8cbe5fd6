"""Every error a user can meet.

An error says what was wrong, where, what is allowed and what to do. The command line prints it and exits with
``exit_code``; the Python API raises it. Anything that is not a :class:`VizslaError` is a fault of ours.
"""

from __future__ import annotations

from vizsla.parameters import door


class VizslaError(Exception):
    """An error with words for the person who meets it.

    Parameters
    ----------
    what:
        What was wrong, one sentence.
    parameter:
        The parameter that cannot be meant, by its name in Python, such as ``on_leak``.
    where:
        The file, row or address it was found at; by default the parameter, as it is spelled where it was given.
    allowed:
        What would have been accepted.
    do:
        What to do now.
    """

    exit_code = 1

    def __init__(
        self,
        what: str,
        *,
        parameter: str | None = None,
        where: object = None,
        allowed: str | None = None,
        do: str | None = None,
    ) -> None:
        if where is None and parameter is not None:
            where = door().place.format(door().spell(parameter))
        self.what = what
        self.parameter = parameter
        self.where = None if where is None else str(where)
        self.allowed = allowed
        self.do = do
        super().__init__(str(self))

    def __str__(self) -> str:
        lines = [self.what]
        for name, text in (("where", self.where), ("allowed", self.allowed), ("do", self.do)):
            if text:
                lines.append(f"  {name}: {text}")
        return "\n".join(lines)


class UsageError(VizslaError):
    """A parameter, option or combination of them that cannot be meant."""

    exit_code = 2


class DataError(VizslaError):
    """The data set cannot be used as it stands."""


class SealedError(DataError):
    """Training or tuning asked for the test split."""


class SourceError(DataError):
    """A source that cannot be reached or read: a host, a bucket, an archive, a table."""


class ImageError(VizslaError):
    """One picture that cannot become model input.

    ``kind`` is a stable word for tables and JSON, one of :data:`IMAGE_ERROR_KINDS`.
    """

    def __init__(
        self, kind: str, what: str, *, where: object = None, allowed: str | None = None, do: str | None = None
    ) -> None:
        self.kind = kind
        super().__init__(what, where=where, allowed=allowed, do=do)

    def to_dict(self) -> dict[str, str]:
        """Plain JSON values: ``kind`` and ``what``."""
        return {"kind": self.kind, "what": self.what}


IMAGE_ERROR_KINDS = {
    "unreadable": "the file system did not give the bytes",
    "empty": "no bytes",
    "too-many-bytes": "more bytes than the limit",
    "not-an-image": "not a picture",
    "unreadable-format": "a picture in a format that cannot be read here",
    "truncated": "the picture ends too early",
    "damaged": "the picture's data is broken",
    "corrupt-data": "the picture can be decoded, but its decoder says that the data is corrupt",
    "too-many-pixels": "more pixels than the limit",
    "too-slow": "decoding took longer than the limit",
    "unsupported": "a kind of picture whose pixel values have no known range",
}


class WeightsError(VizslaError):
    """A backbone or its weights cannot be had."""


class ModelError(VizslaError):
    """A saved model that is missing, damaged or of another format version."""


class BudgetError(VizslaError):
    """The time asked for is too short for an honest result."""


class JobError(VizslaError):
    """A job that cannot be made, found or run."""


class StorageError(VizslaError):
    """Results could not be written (a full disk, a read-only folder)."""


class MissingExtraError(VizslaError):
    """An optional part of Vizsla is not installed."""

    def __init__(self, feature: str, extra: str, missing: str) -> None:
        super().__init__(
            f"{feature} needs the package {missing!r}, which is not installed.",
            do=f"pip install 'vizsla[{extra}]'",
        )


def of_kind(name: str) -> type[VizslaError]:
    """The class of that name: an error that another process has told.

    Raises
    ------
    KeyError
        When there is none.
    """
    kinds = [VizslaError]
    for kind in kinds:  # grows while it is walked through
        kinds += kind.__subclasses__()
    return {kind.__name__: kind for kind in kinds}[name]
