"""``vizsla check``: the gate, suspected label errors where wanted, and what it all says on one page."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vizsla.data.checks import SEVERITIES, Finding, label_errors
from vizsla.data.dataset import SPLITS
from vizsla.errors import DataError
from vizsla.files import write_bytes
from vizsla.models.weights import WeightsRequest
from vizsla.settings import settings
from vizsla.training.heads import HeadConfig, HeadData, train_heads
from vizsla.training.table import FeatureTable
from vizsla.workflow.gate import Checked, DataRequest, check_data, write_findings
from vizsla.workflow.observer import Observer, Silent
from vizsla.workflow.watch import Watch

FOLDS = 5


@dataclass(frozen=True)
class CheckRequest:
    """What to check. ``weights`` (of a backbone) turns on the search for label errors."""

    data: DataRequest
    weights: WeightsRequest | None = None


@dataclass(frozen=True)
class CheckResult:
    """What the check found, and the files that tell it."""

    checked: Checked
    findings: list[Finding]
    findings_file: Path
    report: Path
    seconds: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """The JSON object that ``vizsla check --json`` prints."""
        gated = self.checked.gated
        counts = gated.facts.dataset.counts(gated.usable)
        return {
            "pictures": len(gated.facts.dataset),
            "usable": int(gated.usable.sum()),
            "inspected": self.checked.inspected,
            "classes": {
                name: dict(zip(SPLITS, row, strict=True))
                for name, row in zip(gated.facts.dataset.classes, counts.tolist(), strict=True)
            },
            "findings": [
                {"id": f.id, "severity": f.severity, "files": len(f.files), "evidence": f.evidence}
                for f in self.findings
            ],
            "manifest": str(self.checked.manifest),
            "findings_file": str(self.findings_file),
            "report": str(self.report),
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
        }


def check(request: CheckRequest, observer: Observer | None = None) -> CheckResult:
    """Look at every picture of a source and say what is wrong with it. Nothing of the source is changed.

    Raises
    ------
    VizslaError
        Of the kind that tells what went wrong.
    """
    observer = observer or Silent()
    watch = Watch(observer, None)
    checked = check_data(request.data, observer, watch)
    findings = list(checked.gated.findings)
    if request.weights is not None:
        with watch.stage("labels"):
            found = _label_errors(checked, request.weights, observer, request.data.seed)
        if found is not None:
            findings = sorted([*findings, found], key=lambda finding: SEVERITIES.index(finding.severity))
    findings_file, report = checked.folder / "findings.jsonl", checked.folder / "report.html"
    with watch.stage("report"):
        from vizsla.reports.check import page

        write_findings(findings_file, findings)
        write_bytes(report, page(checked.gated, findings, checked.manifest).encode("utf-8", "replace"))
    return CheckResult(checked, findings, findings_file, report, watch.seconds)


def _label_errors(checked: Checked, weights: WeightsRequest, observer: Observer, seed: int) -> Finding | None:
    from vizsla.models.engine import OnnxEngine
    from vizsla.models.export import ensure_exported
    from vizsla.training.cache import FeatureSpace
    from vizsla.training.features import extract

    gated, place = checked.gated, settings()
    rows = np.flatnonzero(gated.usable)
    dataset = replace(gated.facts.dataset, copies=gated.copies).take(rows)
    backbone = ensure_exported(weights, place.cache)
    engine = OnnxEngine(backbone.path)
    extraction = extract(
        dataset,
        FeatureSpace(place.cache, backbone, engine),
        backbone.preprocessing,
        engine,
        threads=place.threads,
        on_progress=observer.progress,
    )
    seen = np.flatnonzero(extraction.usable)
    probabilities = out_of_fold(extraction.table, dataset.labels, dataset.splits, seen, len(dataset.classes), seed)
    return label_errors.find(gated.facts, rows[seen], probabilities)


def out_of_fold(
    table: FeatureTable,
    labels: npt.NDArray[np.int32],
    splits: npt.NDArray[np.int8],
    rows: npt.NDArray[np.int64],
    classes: int,
    seed: int,
) -> npt.NDArray[np.float32]:
    """Probabilities (len(rows), classes) for ``rows``, each from heads that have not seen its label.

    Train and valid pictures are judged by the head of the other folds; test pictures, which no head is trained
    on, by the mean of all.

    Raises
    ------
    DataError
        When a class has too few pictures for the folds.
    """
    test = SPLITS.index("test")
    known = rows[splits[rows] != test]
    counts = np.bincount(labels[known], minlength=classes)
    if counts.min() < FOLDS:
        raise DataError(
            f"Label errors cannot be looked for: a class has only {counts.min()} usable train and valid pictures.",
            allowed=f"at least {FOLDS} of every class",
            do="collect more of it, or leave out --label-errors",
        )
    order = np.random.default_rng(seed).permutation(len(known))
    order = order[np.argsort(labels[known][order], kind="stable")]
    fold = np.empty(len(known), np.int64)
    fold[order] = np.arange(len(known)) % FOLDS  # every class is dealt out evenly
    probabilities = np.zeros((len(rows), classes), np.float32)
    held = splits[rows] != test
    at_known, at_test = np.flatnonzero(held), np.flatnonzero(~held)
    for k in range(FOLDS):
        data = HeadData(table, labels, known[fold != k], known[fold == k], classes)
        (trained,) = train_heads(data, [HeadConfig(seed=seed, epochs=15, patience=None)])
        mine = at_known[fold == k]
        probabilities[mine] = trained.head.probabilities(table.take(rows[mine]))
        if len(at_test):
            probabilities[at_test] += trained.head.probabilities(table.take(rows[at_test])) / FOLDS
    return probabilities
