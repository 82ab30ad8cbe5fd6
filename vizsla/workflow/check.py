"""``vizsla check``: the gate, suspected label errors where wanted, and what it all says on one page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vizsla.data import quality
from vizsla.data.dataset import SPLITS
from vizsla.errors import DataError, UsageError
from vizsla.files import write_bytes
from vizsla.findings import SEVERITIES, Finding, Severity
from vizsla.models.weights import BackboneSpec
from vizsla.optional import data_frame, require
from vizsla.parameters import spelled
from vizsla.reports.render import fragment_of
from vizsla.workflow.gate import DataCheck, DataRequest, check_data, write_findings
from vizsla.workflow.observer import Observer, Silent
from vizsla.workflow.watch import Watch


@dataclass(frozen=True)
class CheckRequest:
    """What to check. ``weights`` (of a backbone) turns on the search for label errors."""

    data: DataRequest
    weights: BackboneSpec | None = None

    @classmethod
    def of(cls, data: DataRequest, label_errors: bool, backbone: str | None, weights: Path | None) -> CheckRequest:
        """With a backbone where label errors are looked for.

        Raises
        ------
        VizslaError
            When one is named and they are not, or it cannot be had.
        """
        if (backbone or weights) and not label_errors:
            raise UsageError(
                f"{spelled('backbone')} and {spelled('weights')} go with {spelled('label_errors', True)}.",
                do=f"add {spelled('label_errors', True)}, or leave them out",
            )
        return cls(data, BackboneSpec.resolve(backbone, weights) if label_errors else None)


@dataclass(frozen=True)
class CheckResult:
    """What the check found, and the files that tell it.

    ``notes`` say how the data were read, and what was not looked for. ``refusal`` is what ``fit`` would raise for these
    data, or None; it is among the findings, too. In a notebook it shows its page.

    Examples
    --------
    >>> result = vizsla.check("photos")  # doctest: +SKIP
    >>> result  # doctest: +SKIP
    CheckResult(3,885 of 3,888 pictures are used; errors: leak; warnings: corrupt-data, blurry)
    >>> result.dataframe()[["id", "path", "detail"]]  # doctest: +SKIP
    """

    checked: DataCheck
    findings: list[Finding]
    notes: list[str]
    findings_file: Path
    report: Path
    seconds: dict[str, float]
    refusal: DataError | None = None

    def __repr__(self) -> str:
        usable = self.checked.gated.usable
        grave = [(f"{severity}s", [f.id for f in self.findings if f.severity == severity]) for severity in SEVERITIES]
        words = "".join(f"; {severity}: {', '.join(ids)}" for severity, ids in grave if ids)
        return f"CheckResult({int(usable.sum()):,} of {len(usable):,} pictures are used{words})"

    def _repr_html_(self) -> str | None:
        return fragment_of(self.report)

    def dataframe(self) -> Any:
        """A ``pandas.DataFrame`` with a row for each file of each finding, and one for a finding without files.

        Raises
        ------
        MissingExtraError
            Without pandas.
        """
        columns = ["id", "severity", "path", "label", "split", "cluster", "detail"]
        rows = [
            {"id": finding.id, "severity": finding.severity} | {name: getattr(file, name, None) for name in columns[2:]}
            for finding in self.findings
            for file in finding.files or (None,)
        ]
        return data_frame(rows, columns)

    def fails(self, severity: Severity | None) -> bool:
        """Whether ``fit`` would refuse the data, or a finding is at least as grave as ``severity``."""
        grave = () if severity is None else SEVERITIES[: SEVERITIES.index(severity) + 1]
        return self.refusal is not None or any(finding.severity in grave for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """The JSON object that ``vizsla check --json`` prints."""
        gated = self.checked.gated
        counts = gated.facts.dataset.counts(gated.usable)
        return {
            "layout": gated.facts.dataset.layout,
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
            "notes": self.notes,
            "refusal": None if self.refusal is None else self.refusal.what,
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
    if request.weights is not None:  # not after minutes of looking at pictures
        require("cleanlab.filter", extra="check", feature="Looking for label errors")
    checked = check_data(request.data, observer, watch)
    findings, notes = list(checked.gated.findings), list(checked.gated.facts.dataset.notes)
    if request.data.with_quality and not quality.available():
        notes.append(
            "Dark, bright, blurry and empty pictures were not looked for: that needs pip install 'vizsla[check]'."
        )
    if request.weights is not None:
        from vizsla.workflow.suspect_labels import suspect_labels

        with watch.stage("labels"):
            suspects, small = suspect_labels(checked, request.weights, observer, request.data.seed)
        notes += small
        if suspects is not None:
            findings = sorted([*findings, suspects], key=lambda finding: SEVERITIES.index(finding.severity))
    refusal = _refusal(checked)
    if refusal is not None:
        title, fix = "These data cannot be trained on", refusal.do or refusal.allowed or "mend the data"
        findings.insert(0, Finding("cannot-train", "error", title, f"`vizsla fit` refuses: {refusal.what}", fix))
    findings_file, report = checked.folder / "findings.jsonl", checked.folder / "report.html"
    with watch.stage("report"):
        from vizsla.reports.check import page

        write_findings(findings_file, findings)
        write_bytes(report, page(checked.gated, findings, checked.manifest, notes).encode("utf-8", "replace"))
    return CheckResult(checked, findings, notes, findings_file, report, watch.seconds, refusal)


def _refusal(checked: DataCheck) -> DataError | None:
    """What ``fit`` says of these data before it begins."""
    try:
        checked.gated.check()
    except DataError as error:
        return error
    return None
