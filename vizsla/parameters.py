"""What a parameter is called where it is given: errors, notes and findings name the thing, the door spells it.

``spelled("on_leak", "warn")`` is ``on_leak='warn'`` in Python, ``--on-leak warn`` on a command line and ``the
hyperparameter on-leak=warn`` in a job's document. Names are those of the Python interface. A door says once that it is
the one used (:func:`speak`); until then it is Python. An option that one command alone has is written with that
command, as something to type: `vizsla ui --tracking-uri`.
"""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Door:
    """One way in, and how it spells what is given there.

    ``bare`` spells a parameter, ``given`` joins that and a value; ``names`` are the irregular ones in full, of which
    those that end in ``=`` are typed before their value like that. ``place`` is a parameter as the place of an error,
    ``again`` how the same is asked for once more.
    """

    name: str
    bare: Callable[[str], str]
    given: Callable[[str, object], str]
    again: str
    place: str = "{}"
    names: Mapping[str, str] = field(default_factory=dict)

    def spell(self, parameter: str, value: object = None) -> str:
        """The parameter, or the parameter with a value: True for a switch, a tuple or a mapping for several."""
        if (whole := self.names.get(f"{parameter}={value}")) is not None:
            return whole
        bare = self.names.get(parameter) or self.bare(parameter)
        return bare if value is None else self.given(bare, value)

    def but(self, *, again: str | None = None, **names: str) -> Door:
        """This door with other irregular names."""
        return replace(self, again=again or self.again, names={**self.names, **names})


def _option(flag: str, value: object) -> str:
    if flag.endswith("="):
        return _hyperparameter(flag.removesuffix("="), value)
    if value is True:
        return flag
    if isinstance(value, Mapping):
        value = tuple(f"{name}={part}" for name, part in value.items())
    return " ".join(f"{flag} {shlex.quote(str(part))}" for part in (value if isinstance(value, tuple) else (value,)))


def _hyperparameter(name: str, value: object) -> str:
    return f"{name}={value if isinstance(value, str) else json.dumps(value)}"


PYTHON = Door(
    "python",
    bare=str,
    given=lambda name, value: f"{name}={value!r}",
    again="call it again",
    place="parameter {}",
)
COMMAND = Door(
    "command",
    bare=lambda name: "--" + name.replace("_", "-"),
    given=_option,
    again="run the command again",
    names={
        "direction": "--minimize or --maximize",
        "direction=maximize": "--maximize",
        "direction=minimize": "--minimize",
        "drop_classes": "--drop-class",
        "max_parallel": "--max-parallel-jobs",
        "metrics": "--metric",
    },
)
DOCUMENT = Door(
    "document",
    bare=lambda name: "the hyperparameter " + name.replace("_", "-"),
    given=_hyperparameter,
    again="resume the job",
    names={"data": "the channel training", "weights": "the channel weights"},
)
DOORS = {door.name: door for door in (PYTHON, COMMAND, DOCUMENT)}

_process = PYTHON
_here: ContextVar[Door | None] = ContextVar("door", default=None)


def door() -> Door:
    """The door that is used."""
    return _here.get() or _process


def speak(used: Door) -> None:
    """Spell as this door does, in the whole process."""
    global _process
    _process = used


@contextlib.contextmanager
def speaking(used: Door) -> Iterator[None]:
    """Spell as this door does in the block, and not in other threads: one that says something is given this context."""
    before = _here.set(used)
    try:
        yield
    finally:
        _here.reset(before)


def spelled(parameter: str, value: object = None) -> str:
    """A parameter as the door that is used spells it, or a parameter with a value.

    Examples
    --------
    >>> spelled("on_leak", "warn"), spelled("random_init", True), spelled("label_from")
    ("on_leak='warn'", 'random_init=True', 'label_from')
    >>> with speaking(COMMAND):
    ...     spelled("drop_classes", ("lily", "sea rose")), spelled("random_init", True), spelled("label_from")
    ("--drop-class lily --drop-class 'sea rose'", '--random-init', '--label-from')
    >>> with speaking(DOCUMENT):
    ...     spelled("drop_classes", ("lily",)), spelled("random_init", True), spelled("weights")
    ('the hyperparameter drop-classes=["lily"]', 'the hyperparameter random-init=true', 'the channel weights')
    """
    return door().spell(parameter, value)
