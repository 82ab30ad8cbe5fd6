"""What only this door knows, such as which model a name means: small JSON documents, replaced whole."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from vizsla.errors import VizslaError
from vizsla.files import storage, write_json

Answer = TypeVar("Answer")
Arguments = ParamSpec("Arguments")
_CHANGE = threading.RLock()


def one_at_a_time(change: Callable[Arguments, Answer]) -> Callable[Arguments, Answer]:
    """For what reads a document and puts another in its place: of two at once neither is lost."""

    @functools.wraps(change)
    def alone(*arguments: Arguments.args, **named: Arguments.kwargs) -> Answer:
        with _CHANGE:
            return change(*arguments, **named)

    return alone


class Records:
    """The named documents of one kind, each a file of its own.

    Names are checked before they come here: they are file names.

    Examples
    --------
    >>> models = Records(context.state / "model")  # doctest: +SKIP
    >>> models.create("dogs", {"ModelName": "dogs"})  # doctest: +SKIP
    True
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def create(self, name: str, document: dict[str, Any]) -> bool:
        """Keep a new document; False where there is one of that name."""
        place = self._place(name)
        draft = place.with_name(f".{uuid.uuid4().hex}.tmp")
        write_json(draft, document, make_folder=True)
        try:
            os.link(draft, place)
        except FileExistsError:
            return False
        finally:
            draft.unlink()
        return True

    def find(self, name: str) -> dict[str, Any] | None:
        """The document of that name.

        Raises
        ------
        VizslaError
            When its file is damaged.
        """
        place = self._place(name)
        try:
            found = json.loads(place.read_bytes())
            if not isinstance(found, dict):
                raise ValueError("it is no JSON object")
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise VizslaError(
                f"What is kept of {name!r} cannot be read: {error}.",
                where=place,
                do="delete it, or that file, and make it again",
            ) from error
        return found

    def replace(self, name: str, document: dict[str, Any]) -> None:
        """Put a document in the place of the one of that name."""
        write_json(self._place(name), document, make_folder=True)

    def remove(self, name: str) -> bool:
        """Forget a document; False where there is none."""
        with storage(self.folder):
            try:
                self._place(name).unlink()
            except FileNotFoundError:
                return False
        return True

    def all(self) -> Iterator[dict[str, Any]]:
        """All documents, by name; those whose files are damaged hide no others."""
        for place in sorted(self.folder.glob("[!.]*.json")):
            with contextlib.suppress(VizslaError):
                if (found := self.find(place.stem)) is not None:
                    yield found

    def _place(self, name: str) -> Path:
        return self.folder / f"{name}.json"
