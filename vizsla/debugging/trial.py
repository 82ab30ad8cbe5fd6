"""Everything that one job recorded."""

from __future__ import annotations

import json
import os
import re
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from vizsla.debugging.collections import Collection, CollectionKeys
from vizsla.debugging.exceptions import NoMoreData, StepNotYetAvailable, StepUnavailable, TensorUnavailable
from vizsla.debugging.mode_keys import ModeKeys
from vizsla.debugging.store import END, Reader, Row, folder_of, is_being_written, read_index
from vizsla.debugging.tensor import StepState, Tensor

_PAUSE = 0.2
_FRESH = 0.05


class Trial:
    """What lies in a store; read again when asked for more.

    Parameters
    ----------
    shows_all:
        Whether the rules' own rows (updates, predictions, what is sampled of activations) are shown too.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        name: str | None = None,
        range_steps: tuple[int, int | None] | None = None,
        *,
        shows_all: bool = True,
    ) -> None:
        self.folder = folder_of(Path(path))
        self.path, self.name = str(path), name or Path(path).name
        self.dynamic_refresh = True
        self._range, self._shows_all = range_steps, shows_all
        self._reader = Reader(self.folder)
        self._looked = 0.0
        self._rows: dict[str, list[Row]] = defaultdict(list)
        self._steps: dict[int, tuple[str, int]] = {}
        self._collections: dict[str, Collection] = {}
        self.refresh_data()

    def __repr__(self) -> str:
        return f"Trial({self.path!r}: {len(self._steps):,} steps, {len(self._rows):,} tensors)"

    def refresh_data(self) -> None:
        """Read what is new."""
        self._looked = time.monotonic()
        first, last = self._range or (0, None)
        for row in self._reader.new_rows():
            if row.step >= (first or 0) and (last is None or row.step < last) and (row.chosen or self._shows_all):
                self._rows[row.name].append(row)
                self._steps.setdefault(row.step, (row.mode, row.mode_step))

    def _fresh(self) -> dict[str, list[Row]]:
        if self.dynamic_refresh and time.monotonic() - self._looked > _FRESH:
            self.refresh_data()
        return self._rows

    @property
    def facts(self) -> dict[str, object]:
        """What the hook said once: the model, its parameters, optimizers."""
        return read_index(self.folder)

    def tensor_names(
        self,
        *,
        step: int | None = None,
        mode: ModeKeys = ModeKeys.GLOBAL,
        regex: str | Sequence[str] | None = None,
        collection: str | Collection | None = None,
    ) -> list[str]:
        """Names of what was recorded, sorted; of one step, mode, name or collection where given.

        Raises
        ------
        ValueError
            For a regex and a collection at once.
        """
        if regex is not None and collection is not None:
            raise ValueError("Only one of `regex` or `collection` can be passed to this method")
        patterns = [re.compile(p) for p in ([regex] if isinstance(regex, str) else regex or [])]
        rows = self._fresh()
        names = set(rows)
        if collection is not None:
            names &= self._members(collection)
        if patterns:
            names = {name for name in names if any(pattern.match(name) for pattern in patterns)}
        if step is None and mode is ModeKeys.GLOBAL:
            return sorted(names)

        def fits(row: Row) -> bool:
            if mode is ModeKeys.GLOBAL:
                return row.step == step
            return row.mode == mode.name and step in (None, row.mode_step)

        return sorted(name for name in names if any(fits(row) for row in rows[name]))

    tensors = tensor_names
    """The name in AWS's own example of a custom rule."""

    def _members(self, collection: str | Collection) -> set[str]:
        group = collection if isinstance(collection, Collection) else self.collection(collection)
        rows = self._fresh()
        return {
            name
            for name, own in rows.items()
            if group.name == CollectionKeys.ALL or own[0].collection == group.name or group.holds(name)
        }

    def has_tensor(self, tname: str) -> bool:
        """Whether it was recorded."""
        return tname in self._fresh()

    def tensor(self, tname: str) -> Tensor:
        """One recorded tensor.

        Raises
        ------
        TensorUnavailable
            When it was not recorded.
        """
        rows = self._fresh()
        if tname not in rows:
            raise TensorUnavailable(tname)
        return Tensor(tname, list(rows[tname]), self.folder)

    def steps(self, mode: ModeKeys | None = None, show_incomplete_steps: bool = False) -> list[int]:
        """The recorded steps: counted over all modes, or within one."""
        self._fresh()
        if mode in (None, ModeKeys.GLOBAL):
            return sorted(self._steps)
        return sorted(at for own, at in self._steps.values() if mode is not None and own == mode.name)

    def modes(self) -> list[ModeKeys]:
        """The modes that were recorded."""
        self._fresh()
        known = {mode for mode, _ in self._steps.values()}
        return [mode for mode in ModeKeys if mode.name in known]

    def mode(self, global_step: int) -> ModeKeys:
        """The mode of a step."""
        return ModeKeys[self._at(global_step)[0]]

    def mode_step(self, global_step: int) -> int:
        """The number of a step within its mode."""
        return self._at(global_step)[1]

    def mode_modestep(self, global_step: int) -> tuple[ModeKeys, int]:
        """Both."""
        mode, at = self._at(global_step)
        return ModeKeys[mode], at

    def global_step(self, mode: ModeKeys, mode_step: int) -> int:
        """The number over all modes of a step within a mode.

        Raises
        ------
        StepUnavailable
            When it was not recorded.
        """
        self._fresh()
        for step, (own, at) in self._steps.items():
            if own == mode.name and at == mode_step:
                return step
        raise StepUnavailable(mode_step, mode.name)

    def workers(self) -> list[str]:
        """Who recorded."""
        return sorted({row.worker for rows in self._fresh().values() for row in rows})

    def collections(self) -> dict[str, Collection]:
        """The collections by name: those that are always there, and the script's."""
        index = read_index(self.folder).get("collections", {})
        self._collections = {
            **{name: Collection.from_dict(values) for name, values in index.items()},
            **{name: own for name, own in self._collections.items() if name not in index},
        }
        return dict(self._collections)

    def collection(self, coll_name: str) -> Collection:
        """The collection of this name; made when there is none."""
        known = self.collections()
        if coll_name not in known:
            self._collections[coll_name] = known[coll_name] = Collection(coll_name)
        return known[coll_name]

    def has_passed_step(self, step: int, mode: ModeKeys = ModeKeys.GLOBAL) -> StepState:
        """Whether the step was recorded, will not be, or may still come."""
        over = self.loaded_all_steps  # before the steps are read: what comes between is not missed
        steps = self.steps(mode)
        if step in steps:
            return StepState.AVAILABLE
        passed = bool(steps) and steps[-1] > step
        return StepState.UNAVAILABLE if passed or over else StepState.NOT_YET_AVAILABLE

    @property
    def loaded_all_steps(self) -> bool:
        """Whether nothing more will come: the hook said so, or what recorded is gone."""
        if (self.folder / END).exists():
            return True
        if self._steps and not is_being_written(self.folder):
            return True
        try:
            state = json.loads((self.folder.absolute().parents[1] / "state.json").read_bytes())
        except (OSError, ValueError):
            return False
        return state.get("status") in ("Completed", "Failed", "Stopped")

    @property
    def last_complete_step(self) -> int:
        """The last step of which nothing more can come; -1 where there is none."""
        over = self.loaded_all_steps
        steps = self.steps() if over else self.steps()[:-1]
        return steps[-1] if steps else -1

    @property
    def last_index_token(self) -> int:
        """The number of rows that were read."""
        return sum(len(rows) for rows in self._fresh().values())

    def wait_for_steps(self, required_steps: Sequence[int], mode: ModeKeys = ModeKeys.GLOBAL) -> None:
        """Wait until the steps were passed.

        Raises
        ------
        NoMoreData
            When the training ended before.
        """
        while any(self.has_passed_step(step, mode) is StepState.NOT_YET_AVAILABLE for step in required_steps):
            time.sleep(_PAUSE)
        steps = self.steps(mode)
        if self.loaded_all_steps and (not steps or max(required_steps) > steps[-1]):
            raise NoMoreData(f"the training ended before step {max(required_steps)}")

    def inputs(self, step: int, mode: ModeKeys = ModeKeys.GLOBAL) -> list[str]:
        """Names of the inputs that were recorded at a step."""
        return self.tensor_names(step=step, mode=mode, regex=r".*_input_\d+$")

    def labels(self, step: int, mode: ModeKeys = ModeKeys.GLOBAL) -> list[str]:
        """Names of the labels: the losses' second inputs."""
        return self.tensor_names(step=step, mode=mode, regex=r".*[Ll]oss.*_input_1$")

    def predictions(self, step: int, mode: ModeKeys = ModeKeys.GLOBAL) -> list[str]:
        """Names of the predictions: the losses' first inputs."""
        return self.tensor_names(step=step, mode=mode, regex=r".*[Ll]oss.*_input_0$")

    def _at(self, global_step: int) -> tuple[str, int]:
        self._fresh()
        if global_step in self._steps:
            return self._steps[global_step]
        if global_step > max(self._steps, default=-1) and not self.loaded_all_steps:
            raise StepNotYetAvailable(global_step)
        raise StepUnavailable(global_step)


def create_trial(
    path: str | os.PathLike[str],
    name: str | None = None,
    range_steps: tuple[int, int | None] | None = None,
) -> Trial:
    """What was recorded at ``path``: a folder of records, or a job's folder.

    Raises
    ------
    FileNotFoundError
        When there is no such folder.

    Examples
    --------
    >>> trial = create_trial("runs/train-flowers")  # doctest: +SKIP
    >>> trial.tensor("CrossEntropyLoss_output_0").values(modes.TRAIN)  # doctest: +SKIP
    """
    if not Path(path).is_dir():
        raise FileNotFoundError(f"There is no folder {str(path)!r} to read a trial from")
    return Trial(path, name, range_steps)
