"""``vizsla bias``: SageMaker Clarify's bias metrics of a table, as a job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vizsla.data.table_file import open_table
from vizsla.errors import DataError, UsageError
from vizsla.evaluation.bias.analysis import BiasAnalysis, analyse
from vizsla.evaluation.bias.analysis_config import AnalysisConfig, read_analysis_config
from vizsla.evaluation.bias.columns import find_column
from vizsla.files import write_bytes, write_json
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.here import running_here, withdrawn_if_refused
from vizsla.jobs.processing import absolute, document_of
from vizsla.jobs.spec import local_path
from vizsla.parameters import spelled
from vizsla.reports.pdf import browser, print_page
from vizsla.reports.render import fragment_of
from vizsla.workflow.observer import Observer, Silent
from vizsla.workflow.records import write_csv
from vizsla.workflow.saved_model import locate
from vizsla.workflow.watch import Watch

ANALYSIS, REPORT, PDF, METRICS = "analysis.json", "report.html", "report.pdf", "metrics.csv"

Cells = dict[str, list[object]]


@dataclass(frozen=True)
class BiasRequest:
    """Which table, how it is meant (``config``, Clarify's analysis_config.json) and where the results go: ``output``,
    or the job's own folder.

    ``like_clarify`` computes distances of distributions as Clarify does; ``pdf`` prints the page with a browser.
    ``model`` is asked, as the configuration's ``predictor`` says, where the table holds no predictions;
    ``allow_code``: also where it brings code of its own.
    """

    table: str | None
    config: str
    output: str | None = None
    like_clarify: bool = False
    pdf: bool = False
    seed: int = 0
    name: str | None = None
    model: str | None = None
    allow_code: bool = False

    def to_document(self) -> dict[str, Any]:
        """The document of the job."""
        values = {name: value for name, value in asdict(self).items() if name != "name"}
        values |= {"table": None if self.table is None else absolute(self.table), "config": absolute(self.config)}
        values["model"] = None if self.model is None else absolute(str(locate(self.model)))
        return document_of(values | {"output": None if self.output is None else str(Path(self.output).absolute())})

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> BiasRequest:
        """The request in a document."""
        return cls(**{"table": None} | document["Parameters"])


@dataclass(frozen=True)
class BiasResult:
    """What was found, and the files that tell it. In a notebook it shows its page."""

    job: Path
    output: Path
    report: Path
    pdf: Path | None
    analysis: BiasAnalysis

    def __repr__(self) -> str:
        return f"BiasResult({len(self.analysis.groups)} groups of {self.analysis.rows:,} rows, {str(self.report)!r})"

    def _repr_html_(self) -> str | None:
        return fragment_of(self.report)

    def to_dict(self) -> dict[str, Any]:
        """The JSON object that ``vizsla bias --json`` prints: Clarify's analysis, and where it lies."""
        return {
            "job": str(self.job),
            "output": str(self.output),
            "report": str(self.report),
            "pdf": None if self.pdf is None else str(self.pdf),
            "notes": list(self.analysis.notes),
            "analysis": self.analysis.to_dict(),
        }


def measure_bias(request: BiasRequest, observer: Observer | None = None) -> BiasResult:
    """Compute the metrics, as a job that runs in this process.

    Raises
    ------
    VizslaError
        Of the kind that tells what went wrong; what is refused leaves no job.
    """
    observer = observer or Silent()
    config = read_analysis_config(Path(request.config))
    table = _table(request, config)
    if request.pdf:
        browser()
    with running_here("bias", table.stem, request.to_document(), name=request.name) as job:
        return _run(request, config, table, job, observer, is_here=True)


def bias_in(job: JobDirectory, observer: Observer) -> BiasResult:
    """What :func:`measure_bias` does, within a job that another process controls.

    Raises
    ------
    VizslaError
        As :func:`measure_bias` does.
    """
    request = BiasRequest.from_document(job.document)
    config = read_analysis_config(Path(request.config))
    return _run(request, config, _table(request, config), job, observer, is_here=False)


def _run(
    request: BiasRequest, config: AnalysisConfig, table: Path, job: JobDirectory, observer: Observer, *, is_here: bool
) -> BiasResult:
    watch = Watch(observer, None)
    with withdrawn_if_refused(job, is_here=is_here):
        with watch.stage("dataset"):
            cells = _joined(_read(table, config.headers), config)
        if request.model is not None and config.predicted_label is None:
            from vizsla.workflow.bias_predictions import with_predictions  # with all that answers

            with watch.stage("predictions"):
                cells, config = with_predictions(
                    cells, config, request.model, table.parent, allow_code=request.allow_code
                )
        with watch.stage("metrics"):
            analysis = analyse(cells, config, like_clarify=request.like_clarify, seed=request.seed)
    for note in analysis.notes:
        observer.note(note)
    output = job.output if request.output is None else Path(request.output)
    with watch.stage("report"):
        from vizsla.reports.bias import page

        title = str((config.methods.report or {}).get("title") or f"Bias of {table.name}")
        text = page(analysis, config.model_dump(exclude_none=True), title, job.name, job.state.created)
        write_json(output / ANALYSIS, analysis.to_dict(), make_folder=True)
        write_bytes(output / REPORT, text.encode("utf-8", "replace"), make_folder=True)
        write_csv(
            output / METRICS,
            ("facet", "value", "rows", "others", "metric", "measured", "low", "high", "error"),
            (
                (g.facet, g.value, g.n, g.others, m.name, m.value, m.low, m.high, m.error)
                for g in analysis.groups
                for m in (*g.pretraining, *g.posttraining)
            ),
        )
        pdf = print_page(output / REPORT, output / PDF) if request.pdf else None
    return BiasResult(job.path, output, output / REPORT, pdf, analysis)


def _table(request: BiasRequest, config: AnalysisConfig) -> Path:
    if config.methods.post_training_bias is not None and config.predicted_label is None and request.model is None:
        raise UsageError(
            "The configuration asks a predictor for the predictions, and no model is named.",
            where=f"{request.config}: predictor",
            do=f"name the model by {spelled('model')}, or a column of predictions in predicted_label",
        )
    if request.table is not None:
        return Path(request.table)
    if config.dataset_uri is None:
        raise UsageError(
            "No table is named.", where=f"{request.config}: dataset_uri", do="name the table, or its dataset_uri"
        )
    return _local(config.dataset_uri, "dataset_uri")


def _local(address: str, field: str) -> Path:
    path = local_path(address)
    if path is None:
        raise UsageError(
            f"{field} is not on this machine: {address!r}.", where=field, allowed="a path or a file:// address"
        )
    return path


def _read(table: Path, headers: Sequence[str] | None) -> Cells:
    """The cells of a table by column; ``headers`` name the columns of one that has no line of names."""
    opened = open_table(table, headers)
    names, rows = opened.names, [row for _, row in opened.rows]
    if headers is not None and list(headers) != names:  # a kind of table that brings its names
        raise DataError(
            f"The configuration names other columns than the table has: {', '.join(headers)}.",
            where=table,
            allowed=", ".join(names),
            do="correct headers, or leave them out",
        )
    if not rows:
        raise DataError("The table has no row.", where=table, do="check that this is the right file")
    return {name: [row.get(name) for row in rows] for name in names}


def _joined(cells: Cells, config: AnalysisConfig) -> Cells:
    """The table with the columns of the other tables that are named: by the join column, else row by row."""
    for field, headers in (
        ("predicted_label_dataset_uri", config.predicted_label_headers),
        ("facet_dataset_uri", config.facet_headers),
    ):
        address = getattr(config, field)
        if address is None:
            continue
        other = _read(_local(address, field), headers)
        cells = _join(cells, other, config.joinsource_name_or_index, f"{field} {address}")
    return cells


def _join(cells: Cells, other: Cells, key: str | int | None, where: str) -> Cells:
    n, m = (len(next(iter(table.values()))) for table in (cells, other))
    if key is None:
        if n != m:
            raise DataError(
                f"The tables have {n:,} and {m:,} rows, and nothing says which belong together.",
                where=where,
                do="name the column that both have in joinsource_name_or_index",
            )
        return other | cells
    ours, theirs = find_column(list(cells), key, "joinsource_name_or_index"), str(key)
    if theirs not in other:
        theirs = find_column(list(other), key if isinstance(key, int) else ours, "joinsource_name_or_index")
    at = {str(value): row for row, value in enumerate(other[theirs])}
    if len(at) < m:
        raise DataError(f"The column {theirs!r} names a row twice.", where=where, do="leave one of each")
    if missing := [str(value) for value in cells[ours] if str(value) not in at]:
        raise DataError(
            f"{len(missing):,} of {n:,} rows have no partner, such as {ours} = {missing[0]!r}.",
            where=where,
            do="check that both tables are of the same pictures, and spell their names alike",
        )
    rows = [at[str(value)] for value in cells[ours]]
    return {name: [column[row] for row in rows] for name, column in other.items() if name != theirs} | cells
