"""Everything that one job recorded."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path

from smdebug.core.collection import Collection
from smdebug.core.modes import ModeKeys
from smdebug.exceptions import NoMoreData, StepUnavailable, TensorUnavailable
from smdebug.trials.tensor import StepState, Tensor
from vizsla.debugging.store import END, SCALARS, Scalar, read_scalars
from vizsla.jobs.directory import JobDirectory

_PAUSE = 0.2


class Trial:
    """What lies in a folder of records; read again when asked for more."""

    def __init__(self, path: str, name: str | None = None, range_steps: tuple[int, int | None] | None = None) -> None:
        folder = Path(path)
        inner = folder / "output" / "debug"
        self.folder = inner if (inner / SCALARS).exists() else folder
        self.path, self.name = str(path), name or folder.name
        self._range = range_steps
        self._size = -1
        self._records: list[Scalar] = []
        self.dynamic_refresh = True

    def _all(self) -> list[Scalar]:
        file = self.folder / SCALARS
        size = file.stat().st_size if file.exists() else 0
        if size != self._size and (self.dynamic_refresh or self._size < 0):
            self._size = size
            first, last = self._range or (0, None)
            self._records = [
                record
                for record in read_scalars(self.folder)
                if record.step >= (first or 0) and (last is None or record.step < last)
            ]
        return self._records

    def tensor_names(
        self,
        *,
        step: int | None = None,
        mode: ModeKeys = ModeKeys.GLOBAL,
        regex: str | Sequence[str] | None = None,
        collection: str | Collection | None = None,
    ) -> list[str]:
        """Names of what was recorded, sorted; of one step, mode, name or collection where given."""
        if regex is not None and collection is not None:
            raise ValueError("Only one of `regex` or `collection` can be passed to this method")
        patterns = [regex] if isinstance(regex, str) else list(regex or [])
        wanted = collection.name if isinstance(collection, Collection) else collection
        names = {
            record.name
            for record in self._all()
            if (mode is ModeKeys.GLOBAL or record.mode == mode.name)
            and (step is None or step == (record.step if mode is ModeKeys.GLOBAL else record.mode_step))
            and (not patterns or any(re.match(pattern, record.name) for pattern in patterns))
            and (wanted is None or record.collection == wanted)
        }
        return sorted(names)

    tensors = tensor_names
    """The name in AWS's own example of a custom rule."""

    def has_tensor(self, tname: str) -> bool:
        """Whether it was recorded."""
        return any(record.name == tname for record in self._all())

    def tensor(self, tname: str) -> Tensor:
        """One recorded tensor.

        Raises
        ------
        TensorUnavailable
            When it was not recorded.
        """
        found = [record for record in self._all() if record.name == tname]
        if not found:
            raise TensorUnavailable(tname)
        return Tensor(tname, found)

    def steps(self, mode: ModeKeys | None = None, show_incomplete_steps: bool = False) -> list[int]:
        """The recorded steps: counted over all modes, or within one."""
        if mode in (None, ModeKeys.GLOBAL):
            return sorted({record.step for record in self._all()})
        return sorted({record.mode_step for record in self._all() if mode is not None and record.mode == mode.name})

    def modes(self) -> list[ModeKeys]:
        """The modes that were recorded."""
        return [mode for mode in ModeKeys if any(record.mode == mode.name for record in self._all())]

    def mode(self, global_step: int) -> ModeKeys:
        """The mode of a step."""
        return ModeKeys[self._at(global_step).mode]

    def mode_step(self, global_step: int) -> int:
        """The number of a step within its mode."""
        return self._at(global_step).mode_step

    def global_step(self, mode: ModeKeys, mode_step: int) -> int:
        """The number over all modes of a step within a mode."""
        for record in self._all():
            if record.mode == mode.name and record.mode_step == mode_step:
                return record.step
        raise StepUnavailable(mode_step, mode.name)

    def workers(self) -> list[str]:
        """Who recorded."""
        return sorted({record.worker for record in self._all()})

    def collections(self) -> dict[str, Collection]:
        """The recorded collections by name."""
        names = sorted({record.collection for record in self._all()})
        return {name: Collection(name, tensor_names=self.tensor_names(collection=name)) for name in names}

    def collection(self, coll_name: str) -> Collection | None:
        """The collection of this name."""
        return self.collections().get(coll_name)

    def has_passed_step(self, step: int, mode: ModeKeys = ModeKeys.GLOBAL) -> StepState:
        """Whether the step was recorded, will not be, or may still come."""
        steps = self.steps(mode)
        if step in steps:
            return StepState.AVAILABLE
        passed = bool(steps) and steps[-1] > step
        return StepState.UNAVAILABLE if passed or self.loaded_all_steps else StepState.NOT_YET_AVAILABLE

    @property
    def loaded_all_steps(self) -> bool:
        """Whether the training has ended; one that was killed did not say so itself, but its job's state does."""
        if (self.folder / END).exists():
            return True
        job = JobDirectory(self.folder.absolute().parents[1])
        return (job.path / "state.json").exists() and job.state.has_ended

    @property
    def last_complete_step(self) -> int:
        """The last step of which nothing more can come; -1 where there is none."""
        steps = self.steps() if self.loaded_all_steps else self.steps()[:-1]
        return steps[-1] if steps else -1

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

    def _at(self, global_step: int) -> Scalar:
        for record in self._all():
            if record.step == global_step:
                return record
        raise StepUnavailable(global_step)
