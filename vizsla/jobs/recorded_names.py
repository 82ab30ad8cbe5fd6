"""Names as MLflow takes them (its mlflow/utils/validation.py), where no two become one."""

from __future__ import annotations

import re
from collections.abc import Iterable

_LONGEST = 250
_REFUSED = re.compile(r"[^\w\-. :/]")
"""A colon is refused on Windows alone."""


class RecordedNames:
    """What each name is called in MLflow.

    A name may be treated as a file's there: it must be a path that leads nowhere else. So ``mAP@[.5]`` is called
    ``mAP__.5_`` and ``val//acc`` is called ``val/acc``, or ``val/acc_2`` where there is a ``val/acc`` already.

    Parameters
    ----------
    by_name:
        What was called how before, so that it stays so; see :attr:`by_name`.
    """

    def __init__(self, by_name: dict[str, str] | None = None) -> None:
        self.by_name = dict(by_name or {})
        """What names are called by now, as plain JSON."""
        self._taken = set(self.by_name.values())

    def add(self, names: Iterable[str]) -> None:
        """Decide how names are called; those that can stay as they are come first."""
        new = [name for name in dict.fromkeys(names) if name not in self.by_name]
        for name in sorted(new, key=lambda name: _allowed(name) != name):
            self.by_name[name] = chosen = self._free(_allowed(name))
            self._taken.add(chosen)

    def __getitem__(self, name: str) -> str:
        self.add([name])
        return self.by_name[name]

    def _free(self, wanted: str) -> str:
        name, count = wanted, 1
        while name in self._taken:
            count += 1
            ending = f"_{count}"
            name = wanted[: _LONGEST - len(ending)].rstrip("/") + ending
        return name


def _allowed(name: str) -> str:
    parts = _REFUSED.sub("_", name)[:_LONGEST].split("/")
    return "/".join("_" * len(part) if part in (".", "..") else part for part in parts if part) or "_"
