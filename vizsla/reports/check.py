"""The page that ``vizsla check`` ends with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vizsla.data.checks.classes import effective_classes
from vizsla.data.dataset import SPLITS
from vizsla.data.decisions import DAMAGED, LEFT_OUT, REPAIRED
from vizsla.data.gate import GateResult
from vizsla.errors import ImageError
from vizsla.findings import SEVERITIES, Finding, FindingFile
from vizsla.images import Limits, decode, read_file
from vizsla.reports import charts
from vizsla.reports.render import count_of, render, thumbnail

_SHOWN = 24
_THUMBNAIL = 160


def page(gated: GateResult, findings: Sequence[Finding], manifest: Path, notes: Sequence[str]) -> str:
    """The whole page as HTML, pictures included. ``notes`` say how the data were read."""
    dataset = gated.facts.dataset
    counts = dataset.counts(gated.usable)
    totals, splits = counts.sum(axis=1), zip(counts.sum(axis=0).tolist(), SPLITS, strict=True)
    smallest = int(totals[totals > 0].min()) if (totals > 0).any() else 0
    status = gated.status
    return render(
        "check.html.j2",
        name=dataset.name,
        root=str(dataset.root),
        headline=_headline(findings),
        tiles=[
            ("pictures", f"{len(dataset):,}", f"{len(dataset.classes)} classes"),
            ("used", f"{int(gated.usable.sum()):,}", " · ".join(f"{n:,} {s}" for n, s in splits)),
            ("left out", f"{int((status == LEFT_OUT).sum()):,}", "copies across splits, or by hand"),
            ("cannot be read", f"{int((status == DAMAGED).sum()):,}", f"{int((status == REPAIRED).sum()):,} repaired"),
            (
                "largest : smallest",
                f"{totals.max() / smallest:.1f}" if smallest else "–",
                f"worth {effective_classes(totals):.1f} equal classes" if smallest else "",
            ),
        ],
        findings=[_finding(gated, finding) for finding in findings],
        chart=charts.stacked(counts, dataset.classes, SPLITS),
        class_rows=[{"name": name, "counts": row} for name, row in zip(dataset.classes, counts.tolist(), strict=True)],
        splits=SPLITS,
        notes=[f"{dataset.layout}.", *notes] if dataset.layout else notes,
        manifest=str(manifest),
    )


def _headline(findings: Sequence[Finding]) -> str:
    if not findings:
        return "nothing to object to"
    parts = [(severity, sum(finding.severity == severity for finding in findings)) for severity in SEVERITIES]
    return ", ".join(count_of(n, "remark" if severity == "info" else severity) for severity, n in parts if n)


def _finding(gated: GateResult, finding: Finding) -> dict[str, Any]:
    shown = finding.files[:_SHOWN]
    clusters: dict[int | None, list[dict[str, Any]]] = {}
    for file in shown:
        clusters.setdefault(file.cluster, []).append(_picture(gated, file))
    return {
        "finding": finding,
        "clusters": list(clusters.values()),
        "rest": len(finding.files) - len(shown),
    }


def _picture(gated: GateResult, file: FindingFile) -> dict[str, Any]:
    dataset, limits, image, row = gated.facts.dataset, Limits.from_settings(), "", file.row
    if row not in gated.facts.scan.errors:
        try:
            data = read_file(dataset.root / file.path if row is None else dataset.path(row), limits)
            image = thumbnail(decode(data, limits, short_side=_THUMBNAIL).image)
        except ImageError:  # it could be read a moment ago, or nobody has looked at it
            image = ""
    decision = "" if row is None else gated.reasons.get(row, "")
    left_out = row is not None and gated.status[row] == LEFT_OUT
    return {"file": file, "image": image, "left_out": left_out, "decision": decision}
