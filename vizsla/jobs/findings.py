"""``output/findings.jsonl`` of a job: what the check of the data and the rules of debugger and profiler found, a line
each."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from vizsla.debugging.finding import RuleFinding
from vizsla.files import storage, write_bytes
from vizsla.profiling.finding import ProfileFinding

Source = Literal["debugger", "profiler"]

FINDINGS = "findings.jsonl"


def append_findings(output: Path, findings: Iterable[RuleFinding | ProfileFinding]) -> None:
    """Add what rules have found.

    Raises
    ------
    StorageError
        When the file system refuses.
    """
    text = "".join(_line(finding) for finding in findings)
    if text:
        with storage(output / FINDINGS), open(output / FINDINGS, "a", encoding="utf-8") as file:
            file.write(text)


def replace_findings(
    output: Path,
    findings: Iterable[RuleFinding | ProfileFinding],
    rules: Iterable[str],
    source: Source = "debugger",
) -> None:
    """Put what ``rules`` have found in the place of what they had found before; what others found stays.

    Raises
    ------
    StorageError
        When the file system refuses.
    """
    asked = set(rules)
    values = [(line, json.loads(line)) for line in _lines(output)]
    kept = [line for line, value in values if value.get("source") != source or value.get("rule") not in asked]
    text = "".join(f"{line}\n" for line in kept) + "".join(_line(finding) for finding in findings)
    if text or (output / FINDINGS).exists():
        write_bytes(output / FINDINGS, text.encode())


def read_rule_findings(output: Path) -> list[RuleFinding]:
    """What rules have found so far."""
    values = [json.loads(line) for line in _lines(output)]
    return [RuleFinding.from_dict(value) for value in values if value.get("source") == "debugger"]


def read_profile_findings(output: Path) -> list[ProfileFinding]:
    """What the profiler's rules have found so far."""
    values = [json.loads(line) for line in _lines(output)]
    return [ProfileFinding.from_dict(value) for value in values if value.get("source") == "profiler"]


def _line(finding: RuleFinding | ProfileFinding) -> str:
    return json.dumps(finding.to_dict(), ensure_ascii=False) + "\n"


def _lines(output: Path) -> list[str]:
    """The whole lines; one that is being written has no end yet."""
    try:
        text = (output / FINDINGS).read_text("utf-8", "replace")
    except FileNotFoundError:
        return []
    whole = text[: text.rfind("\n") + 1].splitlines()
    return [line for line in whole if line.startswith("{")]
