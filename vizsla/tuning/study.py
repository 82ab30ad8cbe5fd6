"""The study: every trial asked for and told, kept in SQLite (or PostgreSQL) so that a kill loses nothing.

The life of a trial: :meth:`Study.ask` draws it and stores it, running; :meth:`Study.report` takes its objective
epoch by epoch and says whether it is hopeless; :meth:`Study.tell` stores its end. One controller writes. Samplers
work on a copy in memory, so that a trial costs three short transactions and not one for each parameter and epoch.
"""

from __future__ import annotations

import itertools
import json
import math
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from vizsla.files import sha256_json
from vizsla.optional import require
from vizsla.tuning.encoding import Encoding
from vizsla.tuning.objective import Objective
from vizsla.tuning.space import Space, Value
from vizsla.tuning.storage import FEATURE, RECORD, connect, facts_of, record_of, understandable
from vizsla.tuning.strategies import EarlyStopping, Strategy, median_pruner
from vizsla.tuning.topic import check_topic, topic
from vizsla.tuning.trials import TrialRecord, TrialStatus

_NAME_LENGTH = 63
_DRAWS = 20
"""Draws for a configuration that was not tried yet, before the search counts as exhausted."""
_TOPIC = "vizsla"
_ID = "vizsla-id"


@dataclass(frozen=True)
class TrialOutcome:
    """How a trial ended. ``value`` is the objective; ``stopped`` a trial that was given up; else see TrialRecord."""

    number: int
    value: float | None = None
    stopped: bool = False
    reason: str | None = None
    cost: float | None = None
    curve: tuple[float, ...] | None = None
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Prior:
    """What earlier searches teach: ``known`` values of the same objective, and configurations to try ``first``."""

    known: tuple[tuple[dict[str, Value], float], ...] = ()
    first: tuple[dict[str, Value], ...] = ()


class Study:
    """See the module's text. Make or go on with one by :meth:`open`."""

    def __init__(
        self,
        name: str,
        space: Space,
        objective: Objective,
        strategy: Strategy,
        storage: Any,
        *,
        total: int,
        epochs: int = 0,
        early_stopping: EarlyStopping = "auto",
        seed: int = 0,
        prior: Prior | None = None,
    ) -> None:
        optuna = require("optuna", extra="tune", feature=FEATURE)
        self._storage, self._study_id = storage, storage.get_study_id_from_name(name)
        self.id: str = storage.get_study_user_attrs(self._study_id)[_ID]
        """Tells this study from all others, of the same name too."""
        self.before = 0
        """Trials of earlier searches in the same study, which the limit on trials counts."""
        self.name, self.space, self.objective, self.strategy = name, space, objective, strategy
        self._optuna, self._encoding = optuna, Encoding(space)
        self._records: dict[int, TrialRecord] = {}
        self._sampler_trials: dict[int, Any] = {}
        self._unlearned: list[TrialRecord] = []
        pruner = strategy.pruner(epochs) if strategy.pruner else median_pruner()
        self._prunes = early_stopping == "auto"
        old = storage.get_all_trials(self._study_id, deepcopy=False)
        self._sampler_storage = optuna.storages.InMemoryStorage()
        self._sampler_study = optuna.create_study(
            storage=self._sampler_storage,
            study_name=name,
            direction=objective.direction,
            sampler=strategy.sampler(seed + len(old), total),
            pruner=pruner,
        )
        self._searched = self._encoding.distributions()
        prior = prior or Prior()
        self._tried: set[str] = set()
        for values, value in prior.known:
            self._sampler_study.add_trial(self._frozen("COMPLETE", values, value=value))
        self._start = self._starting(prior, total, seed)
        for trial in old:
            self._recall(trial)

    @classmethod
    def open(
        cls,
        uri: str,
        name: str,
        space: Space,
        objective: Objective,
        strategy: Strategy,
        *,
        problem: Mapping[str, str] | None = None,
        **options: Any,
    ) -> Study:
        """The study ``name`` at ``uri`` (a file for SQLite, or ``postgresql://...``), made where there is none.

        ``problem`` says by part what the trials are of, where several searches may share the study. Further options
        are those of the constructor.

        Raises
        ------
        UsageError
            When the study there searches another space, objective or problem.
        VizslaError
            When ``uri`` cannot be opened.
        """
        optuna = require("optuna", extra="tune", feature=FEATURE)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with understandable(uri):
            backend = connect(optuna, uri)
            stored = optuna.create_study(
                storage=backend, study_name=name, direction=objective.direction, load_if_exists=True
            )
            earlier = stored.user_attrs.get(_TOPIC)
            if earlier is None:
                stored.set_user_attr(_TOPIC, topic(space, objective, problem))
            else:
                check_topic(uri, name, earlier, space, objective, problem)
            if _ID not in stored.user_attrs:
                stored.set_user_attr(_ID, uuid.uuid4().hex)
        return cls(name, space, objective, strategy, backend, **options)

    def trials(self) -> list[TrialRecord]:
        """All trials, in order."""
        return [self._records[number] for number in sorted(self._records)]

    def running(self) -> list[TrialRecord]:
        """The trials that were asked for and have no end yet, those of a killed controller too."""
        return [t for t in self.trials() if not t.ended]

    def ask(self, count: int) -> list[TrialRecord]:
        """Draw up to ``count`` new trials and store them; fewer where every combination was tried."""
        records: list[TrialRecord] = []
        # A sampler's matrices are tiny: threads that wait for each other cost five times what they compute.
        with require("threadpoolctl", extra="tune", feature=FEATURE).threadpool_limits(1):
            for _ in range(count):
                draw = self._next()
                if draw is None:
                    break
                trial, values = draw
                number = len(self._records)
                record = TrialRecord(
                    number, _trial_name(self.name, self.id, number, values), values, "InProgress", start=time.time()
                )
                frozen = self._frozen("RUNNING", values, as_stored=True, attributes={RECORD: facts_of(record)})
                self._storage.create_new_trial(self._study_id, template_trial=frozen)
                self._records[number], self._sampler_trials[number] = record, trial
                self._tried.add(_key(values))
                records.append(record)
        return records

    def report(self, number: int, epoch: int, value: float) -> bool:
        """Take the objective after an epoch (counted from 1); True when the trial should be given up."""
        record = self._records[number]
        self._records[number] = replace(record, curve=(*record.curve, value))
        if not math.isfinite(value) or not self._prunes:
            return False
        trial = self._sampler_trials[number]
        trial.report(value, epoch)
        return bool(trial.should_prune())

    def tell(self, outcome: TrialOutcome) -> TrialRecord:
        """Store how a trial ended. A value that is no number is a failure."""
        record = self._records[outcome.number]
        status: TrialStatus = "Completed"
        reason, value = outcome.reason, outcome.value
        if value is not None and not math.isfinite(value):
            status, reason, value = "Failed", f"the objective {self.objective.metric} became {value}", None
        elif outcome.stopped:
            status = "Stopped"
        elif value is None:
            status, reason = "Failed", reason or "no reason was given"
        record = replace(
            record,
            status=status,
            value=value,
            reason=reason,
            end=time.time(),
            cost=outcome.cost,
            curve=record.curve if outcome.curve is None else outcome.curve,
            metrics=outcome.metrics,
        )
        self._records[outcome.number] = record
        self._storage.set_trial_user_attr(self._trial_id(record.number), RECORD, facts_of(record))
        self._finish(record)
        return record

    def importances(self) -> dict[str, float]:
        """How much each parameter decides the objective (PED-ANOVA, Watanabe et al. 2023); they sum to 1.

        Empty where too few trials were completed to say.
        """
        complete = [t for t in self.trials() if t.complete]
        if len(complete) < 5 or len({t.value for t in complete}) < 2:
            return {}
        study = self._optuna.create_study(direction=self.objective.direction)
        for trial in complete:
            study.add_trial(self._frozen("COMPLETE", trial.params, value=trial.value, as_stored=True))
        evaluator = self._optuna.importance.PedAnovaImportanceEvaluator()
        shares: dict[str, float] = self._optuna.importance.get_param_importances(study, evaluator=evaluator)
        return {name: float(share) for name, share in shares.items() if math.isfinite(share)}

    def _starting(self, prior: Prior, total: int, seed: int) -> Iterator[dict[str, Value]]:
        yield from prior.first
        start = self.strategy.start(self.space, total, seed)
        # Each known trial takes the place of one that would only look around; a grid is tried whole.
        yield from start if self.strategy.finite else itertools.islice(start, len(prior.known), None)

    def _next(self) -> tuple[Any, dict[str, Value]] | None:
        """A configuration that was not tried, as a trial in memory and as the person's values."""
        for values in self._start:
            if _key(values) not in self._tried:
                self._sampler_study.enqueue_trial(self._encoding.encode(values))
                return self._sampler_study.ask(self._searched), values
        if self.strategy.finite:
            return None
        size = self.space.grid_size()
        if size is not None and len(self._tried) >= size:
            return None
        for _ in range(_DRAWS):
            trial = self._sampler_study.ask(self._searched)
            values = self._encoding.decode(trial.params)
            if _key(values) not in self._tried:
                return trial, values
            self._sampler_study.tell(trial, state=self._optuna.trial.TrialState.FAIL)
        for values in self._untried():
            self._sampler_study.enqueue_trial(self._encoding.encode(values))
            return self._sampler_study.ask(self._searched), values
        return None

    def _untried(self) -> Iterator[dict[str, Value]]:
        """Configurations drawn at random that were not tried: what is left when a sampler repeats itself."""
        for point in np.random.default_rng(len(self._tried)).random((1000, len(self.space.parameters))):
            values = self._encoding.at(point)
            if _key(values) not in self._tried:
                yield values

    def _recall(self, stored: Any) -> None:
        """Take a stored trial into memory: as it ended, or as running."""
        facts = stored.user_attrs.get(RECORD)
        if facts is None:  # another program's trial
            return
        record = record_of(stored.number, facts)
        self._records[stored.number] = record
        self._tried.add(_key(record.params))
        study_id = self._sampler_storage.get_study_id_from_name(self.name)
        trial_id = self._sampler_storage.create_new_trial(study_id, self._frozen("RUNNING", record.params))
        self._sampler_trials[stored.number] = self._optuna.trial.Trial(self._sampler_study, trial_id)
        if not record.ended:
            self._records[stored.number] = replace(record, curve=())
            return
        if self._prunes:
            for epoch, value in enumerate(record.curve, 1):
                if math.isfinite(value):
                    self._sampler_trials[stored.number].report(value, epoch)
                    self._sampler_trials[stored.number].should_prune()  # ASHA marks the rungs here
        self._finish(record)

    def _finish(self, record: TrialRecord) -> None:
        """Bring a trial's end to the sampler and to the stored study."""
        states = self._optuna.trial.TrialState
        pruned = record.status == "Stopped" and any(math.isfinite(v) for v in record.curve)
        state = states.COMPLETE if record.complete else states.PRUNED if pruned else states.FAIL
        trial = self._sampler_trials.pop(record.number)
        lesson = self._lesson(record)
        if record.complete or lesson is not None:
            self._sampler_study.tell(trial, record.value if record.complete else lesson)
        else:
            self._sampler_study.tell(trial, state=states.PRUNED if pruned and self._prunes else states.FAIL)
            if record.status == "Failed":
                self._unlearned.append(record)
        self._learn_late()
        trial_id = self._trial_id(record.number)
        if not self._storage.get_trial(trial_id).state.is_finished():
            self._storage.set_trial_state_values(trial_id, state, [record.value] if record.complete else None)

    def _learn_late(self) -> None:
        """Teach what failed before there was any value."""
        lessons = [(record, self._lesson(record)) for record in self._unlearned]
        for record, lesson in lessons:
            if lesson is not None:
                self._sampler_study.add_trial(self._frozen("COMPLETE", record.params, value=lesson))
                self._unlearned.remove(record)

    def _lesson(self, record: TrialRecord) -> float | None:
        """What a sampler should think of a trial without a final value: samplers overlook those that have none, and
        would ask for the same again. Given up: its last value; failed: the worst that was seen.

        None where nothing was seen yet, and for what the strategy's own pruner gave up.
        """
        if record.status == "Failed":
            seen = [
                v for t in self._records.values() for v in (*t.curve, t.value) if v is not None and math.isfinite(v)
            ]
            return max(seen, key=self.objective.cost) if seen else None
        if record.complete or self.strategy.pruner is not None:
            return None
        finite = [v for v in record.curve if math.isfinite(v)]
        return finite[-1] if finite else None

    def _trial_id(self, number: int) -> int:
        trial_id: int = self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)
        return trial_id

    def _frozen(
        self,
        state: str,
        values: Mapping[str, Value],
        *,
        value: float | None = None,
        as_stored: bool = False,
        attributes: dict[str, Any] | None = None,
    ) -> Any:
        trial = self._optuna.trial
        return trial.create_trial(
            state=trial.TrialState[state],
            params=dict(values) if as_stored else self._encoding.encode(values),
            distributions=self._encoding.stored() if as_stored else self._searched,
            value=value,
            user_attrs=attributes or {},
        )


def _key(values: Mapping[str, Value]) -> str:
    return json.dumps({name: values[name] for name in sorted(values)})


def _trial_name(study: str, unique: str, number: int, values: Mapping[str, Value]) -> str:
    """SageMaker's form: the tuning job's name, the number and a few characters that tell it from others.

    ``unique`` is the study's: a later search of the same name must not meet this one's jobs.
    """
    ending = f"-{number:03}-{sha256_json([study, unique, number, dict(values)])[:8]}"
    return study[: _NAME_LENGTH - len(ending)].rstrip("-") + ending
