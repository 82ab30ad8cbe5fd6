"""Images are names here: what of them runs on this machine.

Framework images run the script in the local interpreter, those of Clarify and of rules our own work. For any other the
table of :func:`add` says which folder and script take its place.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vizsla.aws.records import Records
from vizsla.errors import UsageError
from vizsla.files import sha256_json

CLARIFY = "sagemaker-clarify-processing"


@dataclass(frozen=True)
class Image:
    """What runs where a client names an image. ``program`` is a .py or .sh file in ``folder``."""

    name: str
    folder: str
    program: str


def table(state: Path) -> Records:
    """The images that were added."""
    return Records(state / "image")


def add(state: Path, name: str, folder: Path, program: str) -> Image:
    """Let a script run where a client names an image; what was there before is replaced.

    Raises
    ------
    UsageError
        When the script is not there.
    """
    if Path(program).suffix not in (".py", ".sh") or not (folder / program).is_file():
        raise UsageError(
            f"There is no script {program!r} in that folder.",
            where=folder.absolute(),
            allowed="a .py or a .sh file, as the image's entry point runs it",
        )
    image = Image(name, str(folder.absolute()), program)
    table(state).replace(_key(name), asdict(image))
    return image


def find(state: Path, name: str) -> Image | None:
    """What was added for an image; a tag that was not named stands for all."""
    for spelling in (name, name.rpartition(":")[0], name.rpartition("/")[2], name.rpartition("/")[2].partition(":")[0]):
        if spelling and (found := table(state).find(_key(spelling))) is not None:
            return Image(**found)
    return None


def every(state: Path) -> list[Image]:
    """All that were added."""
    return [Image(**document) for document in table(state).all()]


def is_clarify(request: dict[str, Any]) -> bool:
    """Whether a processing job asks for Clarify."""
    return CLARIFY in str((request.get("AppSpecification") or {}).get("ImageUri"))


def _key(name: str) -> str:
    return sha256_json(name)[:24]
