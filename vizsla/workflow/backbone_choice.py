"""Which backbone trains, and what its depths would bring: each candidate is tried on a sample of the pictures."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vizsla.data import Dataset
from vizsla.data.split import draw
from vizsla.errors import DataError
from vizsla.evaluation.intervals import wilson
from vizsla.files import sha256_json, write_json
from vizsla.models.engine import OnnxEngine
from vizsla.models.export import ExportedBackbone, ensure_exported
from vizsla.models.heads.linear import LinearHead
from vizsla.models.weights import BackboneSpec
from vizsla.parameters import spelled
from vizsla.reports.render import duration
from vizsla.settings import settings
from vizsla.training.cache import FeatureSpace
from vizsla.training.callbacks import Callback
from vizsla.training.config import LbfgsConfig
from vizsla.training.features import extract
from vizsla.training.fine_tuning.config import FineTuneConfig, TrainingConfig
from vizsla.training.fine_tuning.gain import Gain
from vizsla.training.fine_tuning.pictures import Pictures
from vizsla.training.head_data import HeadData
from vizsla.training.heads import train_heads
from vizsla.workflow.observer import Observer
from vizsla.workflow.speed import images_per_second

if TYPE_CHECKING:
    from vizsla.training.fine_tuning.pilot import Pilot

FILE = "backbones.json"
_TRAIN, _VALID = 600, 300
"""Pictures of the sample to learn from and to measure on, at most."""
_LEAST_SAMPLE = 90
_SHARE = 0.12
"""Of the time that is left, what trying may take."""
_SHARE_ALONE, _LEAST_ALONE = 0.07, 480.0
"""The same where there is one backbone only; it is tried where there are so many seconds, and its depth is open."""
_MEASURING = 0.3
"""Of a trial's time, what measuring may take."""
_MOST_FEATURES = 0.6
"""Of the time that is left, what the features of all pictures may take."""
_TIMED_SECONDS = 1.0
COLUMNS = ("backbone", "trained", ">right, of the sample", ">pictures a second", ">all of it would take")
TITLE = "What each would bring"


@dataclass(frozen=True)
class Prospect:
    """A backbone at one depth: of ``pictures`` of the sample that were not learned from, the share that is right (with
    its 95 % interval), None where it was not tried; pictures a second in training, or through the frozen backbone;
    seconds for the whole data set, None where they are more than there are."""

    backbone: str
    depth: str
    right: float | None
    low: float | None
    high: float | None
    pictures: int
    images_per_second: float
    seconds: float | None

    @property
    def words(self) -> tuple[str, ...]:
        """Its row of the table."""
        right = "not tried"
        if self.right is not None and self.low is not None and self.high is not None:
            right = f"{100 * self.right:.1f} % ({100 * self.low:.0f} to {100 * self.high:.0f})"
        takes = "more than there is" if self.seconds is None else duration(self.seconds)
        return self.backbone, self.depth, right, f"{self.images_per_second:.0f}", takes


@dataclass(frozen=True)
class Choice:
    """The backbone that was chosen, and the table that shows why."""

    spec: BackboneSpec
    backbone: ExportedBackbone
    prospects: tuple[Prospect, ...]


@dataclass
class _Candidate:
    spec: BackboneSpec
    backbone: ExportedBackbone
    rate: float

    @cached_property
    def engine(self) -> OnnxEngine:
        return OnnxEngine(self.backbone.path)


@dataclass(frozen=True)
class _Tried:
    """What a candidate says of the sample's validation pictures, logits (n, classes): frozen, and with its last blocks
    trained where that is better (None where it was not tried); and its rows of the table."""

    frozen: npt.NDArray[np.float32]
    deeper: npt.NDArray[np.float32] | None
    prospects: list[Prospect]


class Chooser:
    """Tries candidates on a sample; what was decided in a job before a kill stays.

    Parameters
    ----------
    folder:
        The job's checkpoints.
    dataset, keys:
        The pictures, sealed, and SHA-256 of each one's bytes, uint8 (n, 32), where known.
    seconds:
        What is left for everything; None: as long as it takes.
    """

    def __init__(
        self,
        folder: Path,
        dataset: Dataset,
        keys: npt.NDArray[np.uint8] | None,
        config: TrainingConfig,
        seconds: float | None,
        observer: Observer,
    ) -> None:
        self._folder, self._dataset, self._keys, self._config = folder, dataset, keys, config
        self._cache, self._threads, self._observer = settings().cache, settings().threads, observer
        self._deadline = None if seconds is None else time.monotonic() + seconds

    def choose(self, specs: Sequence[BackboneSpec], first: ExportedBackbone) -> Choice:
        """The candidate that answers best on the sample, at the depth that trains; of those that chance may have
        parted, the cheapest. ``first`` is the export of the first one.

        Raises
        ------
        WeightsError
            When the weights of one of them cannot be had.
        """
        asked = sha256_json([[spec.key() for spec in specs], self._config.to_dict()])
        stored = self._stored(asked)
        if stored is not None:
            spec, prospects = specs[stored[0]], stored[1]
            return Choice(spec, first if spec == specs[0] else ensure_exported(spec, self._cache), prospects)
        candidates = self._feasible(self._candidates(specs, first))
        sample, share = self._sample(candidates)
        tried = [self._try(candidate, sample, share / len(candidates)) for candidate in candidates]
        prospects = tuple(prospect for one in tried for prospect in one.prospects)
        # Like with like: trained blocks are compared where those of every candidate could be tried.
        every = all(one.deeper is not None for one in tried)
        logits_of = [one.deeper if every and one.deeper is not None else one.frozen for one in tried]
        best, answers = candidates[0], logits_of[0]
        for candidate, logits in zip(candidates[1:], logits_of[1:], strict=True):
            if Gain.of(answers, logits, sample.labels[sample.rows("valid")]).kept:
                best, answers = candidate, logits
        self._observer.table(TITLE, COLUMNS, [prospect.words for prospect in prospects])
        if len(specs) > 1:
            cheaper = " Those that cost more were not better beyond chance." if best is not candidates[-1] else ""
            self._observer.note(f"{best.backbone.name} is the backbone that trains.{cheaper}")
        chosen = {"asked": asked, "chosen": list(specs).index(best.spec)}
        write_json(self._folder / FILE, chosen | {"prospects": [asdict(prospect) for prospect in prospects]})
        return Choice(best.spec, best.backbone, prospects)

    def is_open(self, specs: Sequence[BackboneSpec]) -> bool:
        """Whether there is something to try: several backbones; or one whose depth is open, and time enough that its
        trial costs little."""
        if len(specs) > 1:
            return True
        open_depth = isinstance(self._config, FineTuneConfig) and self._config.depth == "auto"
        return open_depth and self._deadline is not None and self._left > _LEAST_ALONE

    @property
    def _left(self) -> float:
        return float("inf") if self._deadline is None else self._deadline - time.monotonic()

    def _stored(self, asked: str) -> tuple[int, tuple[Prospect, ...]] | None:
        """What was decided before, and the table of it."""
        try:
            document = json.loads((self._folder / FILE).read_text("utf-8"))
            prospects = tuple(Prospect(**values) for values in document["prospects"])
            return (int(document["chosen"]), prospects) if document["asked"] == asked else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _candidates(self, specs: Sequence[BackboneSpec], first: ExportedBackbone) -> list[_Candidate]:
        """As many as can be exported and timed in a fair share of the time."""
        end = time.monotonic() + _SHARE * self._left
        candidates = [self._candidate(specs[0], first)]
        for at, spec in enumerate(specs[1:], 1):
            if time.monotonic() > end:
                names = ", ".join(spec.backbone for spec in specs[at:])
                self._observer.note(f"Left out, as there is no time to try them: {names}.")
                break
            candidates.append(self._candidate(spec, None))
        return candidates

    def _candidate(self, spec: BackboneSpec, backbone: ExportedBackbone | None) -> _Candidate:
        candidate = _Candidate(spec, backbone or ensure_exported(spec, self._cache), 0.0)
        rows = np.random.default_rng(0).permutation(len(self._dataset))
        candidate.rate = images_per_second(
            self._dataset, rows, candidate.backbone.preprocessing, candidate.engine, self._threads, _TIMED_SECONDS
        )
        return candidate

    def _feasible(self, candidates: list[_Candidate]) -> list[_Candidate]:
        """Those whose features the time allows, or else the quickest; the cheapest first."""
        candidates = sorted(candidates, key=lambda candidate: -candidate.rate)
        within = [c for c in candidates if len(self._dataset) / c.rate <= _MOST_FEATURES * self._left] or candidates[:1]
        for candidate in candidates[len(within) :]:
            took = duration(len(self._dataset) / candidate.rate)
            self._observer.note(
                f"{candidate.backbone.name} is left out: its features of all pictures alone would take {took}."
            )
        return within

    def _sample(self, candidates: list[_Candidate]) -> tuple[Dataset, float]:
        """A fair sample of training and validation pictures, sealed like the whole, and the seconds to try with."""
        share = (_SHARE if len(candidates) > 1 else _SHARE_ALONE) * self._left
        each = sum(1 / candidate.rate for candidate in candidates)
        most = max(_LEAST_SAMPLE, int(0.4 * share / each)) if np.isfinite(share) else _TRAIN + _VALID
        parts = []
        for split, count in (("train", min(_TRAIN, 2 * most // 3)), ("valid", min(_VALID, most // 3))):
            rows = self._dataset.rows("train" if split == "train" else "valid")
            order = np.argsort([draw(self._config.seed, self._dataset.paths[int(row)]) for row in rows], kind="stable")
            parts.append(rows[order[:count]])
        self._rows = np.concatenate(parts)
        return self._dataset.take(self._rows), share

    def _try(self, candidate: _Candidate, sample: Dataset, seconds: float) -> _Tried:
        began = time.monotonic()
        extraction = extract(
            sample,
            FeatureSpace(self._cache, candidate.backbone, candidate.engine),
            candidate.backbone.preprocessing,
            candidate.engine,
            threads=self._threads,
            keys=None if self._keys is None else self._keys[self._rows],
            on_progress=self._observer.progress,
        )
        usable = extraction.usable
        rows = [part[usable[part]] for part in (sample.rows("train"), sample.rows("valid"))]
        if not len(rows[1]):
            raise DataError(
                "No validation picture of the sample can be read, and backbones are compared on them.",
                where=self._dataset.root,
                do=f"name one backbone: {spelled('backbone', candidate.backbone.name)}",
            )
        data = HeadData(extraction.table, sample.labels, rows[0], rows[1], len(sample.classes), sample.groups)
        (start,) = train_heads(data, [LbfgsConfig(balance=self._config.balance, seed=self._config.seed)])
        assert isinstance(start.head, LinearHead)
        logits = start.head.logits(data.table.take(data.valid))
        right = int((logits.argmax(axis=1) == data.labels[data.valid]).sum())
        frozen = Prospect(
            candidate.backbone.name,
            "the head alone",
            right / len(data.valid),
            *wilson(right, len(data.valid)),
            len(data.valid),
            candidate.rate,
            len(self._dataset) / candidate.rate,
        )
        if not isinstance(self._config, FineTuneConfig):
            return _Tried(logits, None, [frozen])
        left = seconds - (time.monotonic() - began)
        pictures = Pictures(sample, extraction.keys)
        tried, prospects = self._try_deeper(candidate, data, pictures, start.head, left)
        deeper = None if tried is None else tried.logits if tried.gain.kept else logits
        return _Tried(logits, deeper, [frozen, *prospects])

    def _try_deeper(
        self, candidate: _Candidate, data: HeadData, pictures: Pictures, head: LinearHead, seconds: float
    ) -> tuple[Pilot | None, list[Prospect]]:
        """The last blocks trained on the sample, where that is quick enough, and what each depth costs."""
        from vizsla.models.backbone import load_backbone
        from vizsla.training.fine_tuning import schedule
        from vizsla.training.fine_tuning.pilot import pilot
        from vizsla.training.fine_tuning.stage import Workshop, best_device

        config = self._config
        assert isinstance(config, FineTuneConfig)
        backbone = load_backbone(candidate.spec)
        workshop = Workshop(
            backbone,
            candidate.backbone.sha256,
            pictures,
            data,
            self._cache,
            self._threads,
            best_device(),
            Callback(),
            self._observer.progress,
        )
        train, valid = (len(self._dataset.rows(split)) for split in ("train", "valid"))
        cuts = schedule.cuts_for(backbone, config, config.views * train + valid, schedule.room(self._cache))
        planned = schedule.asked_for(config, cuts, backbone, workshop.device)
        began, device = time.monotonic(), workshop.device
        costs = schedule.measure(
            backbone, workshop.examples, planned, cuts, head, self._threads, device, seconds=_MEASURING * seconds
        )
        tried = None
        if costs.last:
            tried = pilot(workshop, planned[0], head, costs, seconds - (time.monotonic() - began))
        left = self._left if self._deadline is not None else 1e9
        timed = schedule.within(
            planned,
            costs,
            train,
            valid,
            left - len(self._dataset) / candidate.rate,
            auto=config.is_open,
        )
        takes = {stage.depth: (stage, took) for stage, took in timed}
        prospects = []
        for wanted in planned:
            stage, took = takes.get(wanted.depth, (wanted, None))
            cost = costs.last[stage.cut].training if stage.cut is not None else costs.full
            row = Prospect(
                candidate.backbone.name,
                f"from {stage.cut} on" if stage.depth == "last" else "all of it",
                None,
                None,
                None,
                0,
                1 / cost.train if cost.train else 0.0,
                took,
            )
            if stage.depth == "last" and tried is not None:
                right, n = tried.gain.after, len(data.valid)
                low, high = wilson(round(right * n), n)
                row = replace(row, right=right, low=low, high=high, pictures=n)
            prospects.append(row)
        return tried, prospects
