"""What ``fit`` is asked and what it answers."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from vizsla.data import SourceOptions
from vizsla.data.gate import GateOptions
from vizsla.errors import JobError, UsageError
from vizsla.evaluation import Evaluation
from vizsla.files import write_bytes
from vizsla.jobs import controller
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.hyperparameter_input import HyperparameterInput, read_hyperparameters
from vizsla.models import artifact
from vizsla.models.candidates import backbone_specs
from vizsla.models.model import Model, load
from vizsla.models.weights import BackboneSpec
from vizsla.optional import data_frame
from vizsla.parameters import spelled
from vizsla.reports.render import fragment_of, percent
from vizsla.settings import settings
from vizsla.training.config import LbfgsConfig
from vizsla.training.fine_tuning.config import FineTuneConfig, TrainingConfig, training_config
from vizsla.tuning.fine_tuning_space import backbones, fine_tuning_space, reaches_backbone
from vizsla.tuning.head_space import head_name, head_space
from vizsla.tuning.head_space import hyperparameters as by_name
from vizsla.tuning.limits import SearchLimits
from vizsla.tuning.presets import find_preset
from vizsla.tuning.request import SearchRequest
from vizsla.tuning.result import SearchResult
from vizsla.tuning.space import own_value
from vizsla.workflow.gate import DataRequest

REPORT, RESULT, PREDICTIONS = "report.html", "result.json", "test-predictions.csv"
"""Of a job's output: the page, what :meth:`FitResult.open` reads, and what the model says of each test picture."""


@dataclass(frozen=True)
class FitRequest:
    """What is asked of ``fit``. ``minutes`` bounds the whole job; ``name`` is the job's name, else one is made.
    ``backbone`` may name several with commas between them, or be ``auto``: they are compared on a sample of the data.
    ``data`` is anything that :func:`vizsla.data.open_dataset` reads; ``source`` says how to read it, ``gate`` what to
    do about what is wrong with it; ``size`` are the pixels of a side that the backbone sees.

    ``executor`` says where pictures are looked at: on this machine, or by the cores of a cluster, to the same bits.

    ``tune`` searches for the head's hyperparameters first; ``head`` then says what is not searched. ``preset`` is the
    one that ``head`` was made from, whose epochs are printed as training scripts print them.

    Raises
    ------
    UsageError
        When ``minutes`` leaves no time.
    """

    data: Path | str
    backbone: str | None = None
    weights: Path | None = None
    random_init: bool = False
    head: TrainingConfig = field(default_factory=LbfgsConfig)
    minutes: float | None = None
    name: str | None = None
    source: SourceOptions = field(default_factory=SourceOptions)
    gate: GateOptions = field(default_factory=GateOptions)
    tune: SearchRequest | None = None
    preset: str | None = None
    size: int | None = None
    executor: str = "local"

    def __post_init__(self) -> None:
        if not str(self.data).strip():
            raise UsageError(
                "No data set is named: the path is empty.",
                where="parameter data",
                allowed="a folder, table, archive or address",
                do="check that the variable you meant is set",
            )
        if self.minutes is not None and not self.minutes > 0:
            raise UsageError(
                f"minutes={self.minutes!r} leaves no time.",
                parameter="minutes",
                allowed="a number above 0, such as 5",
            )

    @classmethod
    def of(
        cls,
        data: str | os.PathLike[str],
        values: Mapping[str, Any],
        hyperparameters: HyperparameterInput = (),
        *,
        tune: int | SearchRequest | None = None,
        seed: int = 0,
        preset: str | None = None,
        **options: Any,
    ) -> FitRequest:
        """From hyperparameters by name, as every door gets them; ``options`` are other fields, None for the default.

        Parameters
        ----------
        values:
            Those of a head. With ``tune`` they stay the same in every trial, and what they name is not searched.
        hyperparameters:
            More of them, as pairs, in a file, as JSON or by name; ``values`` come first.
        tune:
            So many trials of the default search (True: 20), or a search.
        preset:
            The name of hyperparameters that come after all of these; in a search, of its ranges where it has none.

        Raises
        ------
        UsageError
            When a hyperparameter is unknown or out of range, or is fixed and searched.
        """
        for parameter, config in (("source", SourceOptions), ("gate", GateOptions)):
            for name in values.keys() & {f.name for f in fields(config)}:
                raise UsageError(
                    f"There is no hyperparameter {name!r}.",
                    where=f"parameter {name}",
                    do=f"give it in {parameter}=vizsla.{config.__name__}({name}=...)",
                )
        options = {name: value for name, value in options.items() if value is not None}
        named = by_name(read_hyperparameters(hyperparameters)) | by_name(values)
        named = {name: own_value(value) for name, value in named.items()}
        common = find_preset(preset) if preset is not None else None
        if tune is None or tune is False:
            named = ({} if common is None else common.values) | named | {"seed": seed}
            return cls(os.fspath(data), head=training_config(named, options.get("minutes")), preset=preset, **options)
        if tune is True:
            tune = SearchRequest()
        elif isinstance(tune, int):
            tune = SearchRequest(limits=SearchLimits(trials=tune))
        space = tune.space
        if common is not None:
            if space is None:
                space, named = common.space(named), {}
            given = {head_name(name) for name in (*space.parameters, *space.static, *named)}
            named |= {name: value for name, value in common.values.items() if name not in given}
        if reaches_backbone(space, named):
            _check_trained_once(tune)
            searched = fine_tuning_space(space, named)
            if names := backbones(searched):
                if "backbone" in options:
                    raise UsageError(
                        "The backbone is named twice: as what is searched, and as what all trials begin with.",
                        parameter="backbone",
                        do=f"leave {spelled('backbone', options['backbone'])} out",
                    )
                options["backbone"] = ",".join(names)
            search = replace(tune, space=searched)
            return cls(os.fspath(data), head=FineTuneConfig(seed=seed), tune=search, **options)
        named.pop("depth", None)
        search = replace(tune, space=head_space(space, named))
        return cls(os.fspath(data), head=LbfgsConfig(seed=seed), tune=search, **options)

    def data_request(self, deadline: float | None = None) -> DataRequest:
        """The data asked for; no picture is looked at after ``deadline`` (``time.monotonic()``).

        Looking for blur and the like would double the time of a first run; that is left to ``vizsla check``.
        """
        return DataRequest(str(self.data), self.source, self.gate, self.head.seed, deadline, with_quality=False)

    def backbone_specs(self) -> tuple[BackboneSpec, ...]:
        """The backbones to choose among, checked; mostly one."""
        specs = backbone_specs(self.backbone, self.weights, random_init=self.random_init, seed=self.head.seed)
        return tuple(replace(spec, size=self.size) for spec in specs)


@dataclass(frozen=True)
class FitResult:
    """What ``fit`` made: a model that is measured and saved, and the report.

    ``seconds`` is the time of each stage; ``images_per_second`` that of the ``computed`` pictures, which went
    through the backbone (None when all features were in the cache); ``unreached`` counts the pictures that
    ``minutes`` cut off. In a notebook it shows its report.

    Examples
    --------
    >>> result = vizsla.fit("photos")  # doctest: +SKIP
    >>> result.evaluation.accuracy  # doctest: +SKIP
    Estimate(0.900 [0.868, 0.925])
    >>> result.load().predict("rose.jpg").label  # doctest: +SKIP
    'rose'
    >>> vizsla.FitResult.open("runs/train-photos-2026-11-29-10-00-00-000")  # doctest: +SKIP
    FitResult(accuracy 90.0 % (86.8 % to 92.5 %) on 430 test pictures, 'runs/train-photos-2026-11-29-10-00-00-000')
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(ser_json_inf_nan="strings")

    job: Path
    model: Path
    archive: Path
    report: Path
    evaluation: Evaluation
    seconds: dict[str, float]
    images_per_second: float | None
    computed: int
    damaged: tuple[dict[str, str], ...]
    unreached: int
    warnings: tuple[str, ...]
    search: SearchResult | None = None
    """What the search found, where there was one."""

    @classmethod
    def open(cls, job: str | os.PathLike[str]) -> FitResult:
        """The result of a fit that has ended, by its folder or, of a job under ``VIZSLA_HOME``, its name.

        Raises
        ------
        JobError
            When there is no such job, it has not completed, or it is none of ``fit``.
        """
        directory = controller.find(os.fspath(job), settings().home)
        if not directory.state.ended_well:
            raise JobError(
                f"Job {directory.name!r} has no result: it is {directory.state.status}.",
                where=directory.path,
                do=f"`vizsla jobs resume {directory.name}` goes on with it",
            )
        try:
            return _stored().validate_json((directory.output / RESULT).read_bytes()).at(directory)
        except (OSError, ValidationError) as error:
            raise JobError(
                f"Job {directory.name!r} keeps no result of a fit that this version can read.",
                where=directory.output / RESULT,
                allowed="a job of fit, tune, or train DATA",
                do=f"vizsla.load({str(directory.path)!r}) gives its model, where it has saved one",
            ) from error

    def at(self, job: JobDirectory) -> FitResult:
        """The same result, of a job that lies there."""
        archive, report = job.output / artifact.ARCHIVE, job.output / REPORT
        return replace(self, job=job.path, model=job.model, archive=archive, report=report)

    def save(self) -> None:
        """Leave in the job what :meth:`open` reads."""
        write_bytes(self.job / "output" / RESULT, _stored().dump_json(self))

    def load(self) -> Model:
        """The model.

        Raises
        ------
        ModelError
            When it is not there any more, or is damaged.
        """
        return load(self.model)

    def predictions(self) -> Any:
        """A ``pandas.DataFrame`` of the test pictures: path, label, predicted, probability.

        Raises
        ------
        MissingExtraError
            Without pandas.
        """
        with open(self.job / "output" / PREDICTIONS, encoding="utf-8", errors="surrogateescape", newline="") as file:
            rows = [row | {"probability": float(row["probability"])} for row in csv.DictReader(file)]
        return data_frame(rows, ["path", "label", "predicted", "probability"])

    def __fspath__(self) -> str:
        """Its model, for whatever takes the path of one: ``vizsla.serve(result)``."""
        return str(self.model)

    def __repr__(self) -> str:
        accuracy = self.evaluation.accuracy
        interval = f"{percent(accuracy.low)} to {percent(accuracy.high)}"
        measured = f"accuracy {percent(accuracy.value)} ({interval}) on {self.evaluation.n:,} test pictures"
        return f"FitResult({measured}, {str(self.job)!r})"

    def _repr_html_(self) -> str | None:
        return fragment_of(self.report)

    def to_dict(self) -> dict[str, Any]:
        """The JSON object that ``vizsla fit --json`` prints."""
        return {
            "job": str(self.job),
            "model": str(self.model),
            "archive": str(self.archive),
            "report": str(self.report),
            "metrics": self.evaluation.to_dict(),
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
            "images_per_second": self.images_per_second and round(self.images_per_second, 1),
            "computed": self.computed,
            "damaged": list(self.damaged),
            "unreached": self.unreached,
            "warnings": list(self.warnings),
            **({} if self.search is None else {"tuning": self.search.to_dict()}),
        }


def _check_trained_once(search: SearchRequest) -> None:
    for name, usual in (("seeds", (1,)), ("finalists", (None, 0))):
        if getattr(search, name) not in usual:
            raise UsageError(
                f"{name}={getattr(search, name)!r} is for heads: a trial trains the backbone once.",
                parameter=name,
                do=f"leave {spelled(name)} out",
            )


@cache
def _stored() -> TypeAdapter[FitResult]:
    return TypeAdapter(FitResult)
