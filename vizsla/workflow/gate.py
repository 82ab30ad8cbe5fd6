"""Every job's way to its data: read the source, look at every picture, decide, keep the manifest."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vizsla.data.arrange import arrange
from vizsla.data.checks import layout
from vizsla.data.checks.copies import SCENE
from vizsla.data.dataset import Dataset
from vizsla.data.decisions import LEFT_OUT, Decisions
from vizsla.data.gate import GateOptions, GateResult, pass_gate
from vizsla.data.listing import Listing
from vizsla.data.manifest import read_decisions, write_manifest
from vizsla.data.scan import Companion, Elsewhere, scan
from vizsla.data.sources import SourceOptions, list_source, source_key
from vizsla.errors import DataError
from vizsla.files import write_bytes
from vizsla.findings import Finding
from vizsla.images import Limits
from vizsla.parameters import spelled
from vizsla.settings import settings
from vizsla.workflow.observer import Observer, Silent
from vizsla.workflow.watch import Watch

MANIFEST = "manifest.parquet"


@dataclass(frozen=True)
class DataRequest:
    """Which data, and how to treat what is wrong with it. ``seed`` decides the splits that are drawn.

    After ``deadline`` (``time.monotonic()``) no further picture is looked at. ``with_quality`` also looks for dark,
    bright, blurry and empty pictures.
    """

    source: str
    options: SourceOptions = field(default_factory=SourceOptions)
    gate: GateOptions = field(default_factory=GateOptions)
    seed: int = 0
    deadline: float | None = None
    with_quality: bool = True


@dataclass(frozen=True)
class DataCheck:
    """The data as it may be used. ``folder`` holds the manifest and what else is known of this source."""

    gated: GateResult
    folder: Path
    inspected: int
    seconds: float

    @property
    def manifest(self) -> Path:
        """The decisions, one row a picture."""
        return self.folder / MANIFEST

    def summary(self) -> list[str]:
        """What a training job should tell about the data, one sentence each."""
        grave = [f for f in self.gated.findings if f.severity != "info"]
        errors = [finding for finding in grave if finding.severity == "error" or finding.id == SCENE]
        lines = [finding.note for finding in grave if finding.id in layout.IDS]
        lines += [f"{finding.title}: {finding.evidence}" for finding in errors]
        others = [finding.id for finding in grave if finding not in errors and finding.id not in layout.IDS]
        if others:
            lines.append(f"The check also found: {', '.join(others)}. `vizsla check` shows the pictures.")
        dropped = sum(reason.startswith("gate: leak") for reason in self.gated.reasons.values())
        unseen = len(self.gated.facts.scan.unreached)
        if unseen:
            lines.append(f"The time was over before {unseen:,} pictures were looked at; the next run looks at them.")
        if copies := len(self.gated.copies):
            lines.append(
                f"Of truncated pictures the intact part is used: {copies:,} ({spelled('on_damaged', 'repair')})."
            )
        if dropped:
            lines.append(
                f"Left out because a copy lies in another split: {dropped:,} pictures "
                f"({spelled('on_leak', 'warn')} keeps them)."
            )
        return lines


def read_data(request: DataRequest) -> Dataset:
    """The data set as the gate would split it, without looking at any picture.

    Raises
    ------
    DataError
        When the source cannot be read.
    """
    listing = list_source(request.source, request.options)
    earlier = read_decisions(_folder(request) / MANIFEST)
    before = earlier.of(listing.paths)
    dataset = arrange(listing, seed=request.seed, frozen=before.splits if len(earlier) else None)
    return dataset.take(np.flatnonzero(before.statuses != LEFT_OUT))


def write_findings(path: Path, findings: Iterable[Finding]) -> None:
    """One line of JSON a finding."""
    lines = [json.dumps(finding.to_dict(), ensure_ascii=False) + "\n" for finding in findings]
    write_bytes(path, "".join(lines).encode("utf-8", "backslashreplace"))


def check_data(request: DataRequest, observer: Observer | None = None, watch: Watch | None = None) -> DataCheck:
    """Read a source and pass it through the gate; what has been seen before is not looked at again.

    The manifest lies under ``VIZSLA_HOME/datasets``, one folder a source. It freezes the splits, and a person may
    write decisions into it.

    Raises
    ------
    DataError
        When the data cannot be used as they stand.
    UsageError
        When an option does not fit.
    StorageError
        When the manifest or the cache cannot be written.
    """
    observer = observer or Silent()
    watch = watch or Watch(observer, None)
    return look(open_source(request, observer, watch), observer, watch, None)


@dataclass(frozen=True)
class Source:
    """A source that was listed, and the decisions of earlier runs about it; no picture was looked at."""

    request: DataRequest
    listing: Listing
    earlier: Decisions


def open_source(request: DataRequest, observer: Observer, watch: Watch) -> Source:
    """List a source; errors as of :func:`check_data`."""
    with watch.stage("dataset"):
        listing = list_source(request.source, request.options, observer.progress)
        return Source(request, listing, read_decisions(_folder(request) / MANIFEST))


def look(
    source: Source,
    observer: Observer,
    watch: Watch,
    companion: Companion | None,
    elsewhere: Elsewhere | None = None,
) -> DataCheck:
    """Look at every picture of a source and pass it through the gate; errors as of :func:`check_data`."""
    request, listing, folder = source.request, source.listing, _folder(source.request)
    place, limits = settings(), Limits.from_settings()
    with watch.stage("scan", len(listing.paths)):
        seen = scan(
            listing.root,
            listing.paths,
            cache=place.cache,
            threads=place.threads,
            limits=limits,
            with_quality=request.with_quality,
            deadline=request.deadline,
            companion=companion,
            elsewhere=elsewhere,
            on_progress=observer.progress,
        )
        if seen.errors and len(seen.errors) == len(listing.paths):
            first = min(seen.errors)
            raise DataError(
                f"No picture could be read, such as {listing.paths[first]} ({seen.errors[first].what})",
                where=listing.root,
                do=seen.errors[first].do or "check that this is the right folder and that the copy is whole",
            )
        repaired = folder / "repaired"
        gated = pass_gate(
            listing, seen, source.earlier, request.gate, seed=request.seed, repaired=repaired, limits=limits
        )
        checked = DataCheck(gated, folder, seen.inspected, seen.seconds)
        _keep_manifest(checked, listing)
    return checked


def _folder(request: DataRequest) -> Path:
    return manifest_of(request.source, request.options, settings().home).parent


def manifest_of(source: str | os.PathLike[str], options: SourceOptions, home: Path) -> Path:
    """Where the manifest of a source is kept, below the folder of the jobs."""
    return home / "datasets" / source_key(source, options.endpoint_url) / MANIFEST


def _keep_manifest(checked: DataCheck, listing: Listing) -> None:
    """Write the manifest when anything in it has changed."""
    gated, digest = checked.gated, hashlib.sha256()
    dataset = gated.facts.dataset
    for array in (dataset.labels, dataset.splits, gated.status, gated.facts.scan.records["sha256"]):
        digest.update(np.ascontiguousarray(array).tobytes())
    for texts in (dataset.paths, dataset.classes, listing.groups or [], map(str, gated.reasons.items())):
        for text in texts:
            digest.update(text.encode("utf-8", "surrogateescape") + b"\0")
        digest.update(b"\1")
    stamp, current = checked.folder / f".{MANIFEST}.digest", digest.hexdigest().encode()
    try:
        same = stamp.read_bytes() == current + str(checked.manifest.stat().st_mtime_ns).encode()
    except OSError:
        same = False
    if not same:
        write_manifest(checked.manifest, dataset, gated.facts.scan.records, gated.status, gated.reasons, listing.groups)
        write_bytes(stamp, current + str(checked.manifest.stat().st_mtime_ns).encode())
