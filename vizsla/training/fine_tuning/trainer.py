"""A trainer that reaches into the backbone: its last blocks, or all of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vizsla.errors import StorageError
from vizsla.models.heads.linear import LinearHead
from vizsla.models.weights import BackboneSpec
from vizsla.training.callbacks import Callback, Callbacks, Deadline
from vizsla.training.checkpoint import Checkpoint, interval
from vizsla.training.fine_tuning.config import FineTuneConfig
from vizsla.training.fine_tuning.gain import Gain
from vizsla.training.fine_tuning.pictures import Pictures
from vizsla.training.trained import EpochMetrics, Stop
from vizsla.training.trainer import Frozen, Trainer, Training

if TYPE_CHECKING:
    from vizsla.training.fine_tuning.launcher import Launcher


def launcher_for(executor: str, folder: Path) -> Launcher:
    """Who starts the processes of a training that is shared by several: torchrun on this machine, or Ray Train on the
    nodes of a cluster, which may keep what it needs in ``folder``. Imports torch.

    Raises
    ------
    JobError
        When there is no way to the cluster.
    """
    if executor.partition("://")[0] == "ray":
        from vizsla.training.fine_tuning.ray_train import RayTrain

        return RayTrain(executor, folder)
    from vizsla.training.fine_tuning.torchrun import Torchrun

    return Torchrun()


def check_cuts(spec: BackboneSpec, places: Iterable[str]) -> None:
    """That a backbone can be cut before each of some blocks. Imports torch.

    Raises
    ------
    UsageError
        When it has no such block.
    ModelError
        When it cannot be cut.
    """
    from vizsla.models.backbone import load_backbone
    from vizsla.models.trunk import choose_cut, divide

    cuts = divide(load_backbone(spec)).cuts
    for place in places:
        choose_cut(cuts, place)


class FineTuner(Trainer):
    """Trains the blocks behind a cut, or all of a backbone, from the best head of the frozen one on.

    Where the validation pictures bear out no gain beyond chance, the frozen backbone and its head are the result.

    Parameters
    ----------
    cache:
        Where pixels and activations are kept.
    threads:
        Cores.
    executor:
        Where the processes run that share a training: ``local``, or a cluster.
    deadline:
        A moment of ``time.monotonic()`` at which all must be done: the rest of the job is reckoned with.
    on_progress:
        Told (done, total) of the phase that runs.
    note:
        Told in words what was decided.
    """

    def __init__(
        self,
        folder: Path,
        config: FineTuneConfig,
        spec: BackboneSpec,
        pictures: Pictures,
        cache: Path,
        *,
        threads: int,
        executor: str = "local",
        deadline: float | None = None,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
        note: Callable[[str], None] = lambda text: None,
        interval: Callable[[float], float] = interval,
    ) -> None:
        super().__init__(folder)
        self._config, self._spec, self._pictures, self._cache = config, spec, pictures, cache
        self._threads, self._executor, self._deadline, self._on_progress = threads, executor, deadline, on_progress
        self._note, self._interval = note, interval
        self._checkpoints: list[Checkpoint] = []

    @property
    def phase(self) -> tuple[str, int | None]:
        return "fine-tuning", None

    def train(self, frozen: Frozen, callback: Callback) -> Training:
        from vizsla.training.fine_tuning.schedule import stages
        from vizsla.training.fine_tuning.session import Session
        from vizsla.training.fine_tuning.stage import DeadlineError

        session = Session(
            self._spec,
            frozen,
            self._pictures,
            self._cache,
            self._config.balance,
            self._config.seed,
            threads=self._threads,
            callback=callback,
            on_progress=self._on_progress,
            note=self._note,
            launcher=launcher_for(self._executor, self.folder),
            deadline=self._deadline,
        )
        callback.on_phase("plan", None)
        config = replace(self._config, processes=session.launcher.processes(self._config))
        callback = Callbacks([callback, Deadline(self._deadline)])
        seconds = None if self._deadline is None else self._deadline - time.monotonic()
        best, logits = session.start, session.logits
        history: list[EpochMetrics] = []
        in_vain: list[str] = []
        for stage, part in stages(self.folder, session.workshop, config, session.head, seconds, self._note):
            before = session.weights
            assert isinstance(best.head, LinearHead)
            path = self.folder / f"{stage.depth}.checkpoint"
            identity = session.identity(stage, len(history))
            self._checkpoints.append(Checkpoint(path, identity, self._note, self._interval, "step"))
            end = None
            if part is not None and self._deadline is not None:
                end = time.time() + part * (self._deadline - time.monotonic())
            try:
                result, answers = session.train(stage, best.head, callback, self._checkpoints[-1], history, end)
            except DeadlineError:
                over = f"the time was over before there was anything to train on at depth {stage.depth}"
                best = replace(best, stop=Stop("minutes", over))
                break
            except StorageError as error:
                if self._config.depth != "auto":
                    raise
                in_vain.append(f"Depth {stage.depth} cannot train: {error.what} What was before is kept. {error.where}")
                self._note(in_vain[-1])
                continue
            kept, words = False, f"Depth {stage.depth} had no epoch to its end: what was before is kept."
            if len(result.history) > len(history):
                gain = Gain.of(logits, answers, session.labels)
                kept, words = gain.kept, f"Trained at depth {stage.depth}: {gain.words}"
            self._note(words)
            if kept:
                best, logits = result, answers
            else:
                session.weights = before
                in_vain.append(words)
            history = result.history
            if result.stop is not None:
                best = replace(best, stop=result.stop)
                break
        return replace(session.result(best, history), remarks=tuple(in_vain))

    def clear(self) -> None:
        for checkpoint in self._checkpoints:
            checkpoint.remove()
