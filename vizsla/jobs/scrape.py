"""Metrics out of a log: by regular expressions, and lines that are JSON."""

from __future__ import annotations

import contextlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable

_LONGEST_LINE = 8192
_LINE_END = re.compile(r"[\r\n]+")
_SAFE = re.compile(r"\(\?|\\[AZ]")  # what may match a line but not the same place in a longer text
_JSON = re.compile(r'^[ \t]*\{[^\r\n]*"value"', re.MULTILINE)

Append = Callable[[str, float, int | None, float | None], None]
"""Takes name, value, step and epoch: :meth:`vizsla.jobs.metrics.MetricWriter.append`."""


class Scraper:
    """Finds metrics in a stream of log bytes and hands them on in the order of the log.

    A definition is a name and a regular expression whose first group is a number, searched in each line, as
    SageMaker's ``MetricDefinitions`` are. A metric found so has the count of its finds as its step. A line that is a
    JSON object with ``name`` (or ``metric``) and ``value`` is a metric too; ``step`` and ``epoch`` may be in it.

    Parameters
    ----------
    definitions:
        Pairs of name and regular expression.
    found:
        How many values each name has already, of an earlier attempt.
    """

    def __init__(
        self, definitions: Iterable[tuple[str, str]], append: Append, found: Counter[str] | None = None
    ) -> None:
        self._patterns = [(name, re.compile(regex)) for name, regex in definitions]
        # A whole block is searched first: most blocks of a long log hold nothing.
        self._quick = [None if _SAFE.search(regex) else re.compile(regex, re.MULTILINE) for _, regex in definitions]
        self._append = append
        self._found = Counter() if found is None else found
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the log."""
        end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        if not end:
            self._rest = (self._rest + data)[-_LONGEST_LINE:]
            return
        block, self._rest = self._rest + data[:end], data[end:][-_LONGEST_LINE:]
        self._block(block.decode("utf-8", "replace"))

    def close(self) -> None:
        """Take the last line, which has no end."""
        block, self._rest = self._rest, b""
        if block:
            self._block(block.decode("utf-8", "replace"))

    def _block(self, text: str) -> None:
        text = text.replace("\r", "\n")  # a progress bar's lines: ^ and $ know only \n
        possible = [
            pattern
            for pattern, quick in zip(self._patterns, self._quick, strict=True)
            if quick is None or quick.search(text)
        ]
        has_json = _JSON.search(text) is not None
        if not possible and not has_json:
            return
        for line in _LINE_END.split(text):
            if has_json and line.lstrip()[:1] == "{" and self._json(line):
                continue
            for name, pattern in possible:
                found = pattern.search(line[:_LONGEST_LINE])
                if found and found.re.groups:
                    with contextlib.suppress(ValueError, TypeError):
                        value = float(found[1])
                        self._found[name] += 1
                        self._append(name, value, self._found[name], None)

    def _json(self, line: str) -> bool:
        try:
            fields = json.loads(line)
            name = fields.get("name", fields.get("metric"))
            step, epoch = fields.get("step"), fields.get("epoch")
            if not isinstance(name, str):
                return False
            value = float(fields["value"])
            self._append(name, value, None if step is None else int(step), None if epoch is None else float(epoch))
        except (ValueError, TypeError, KeyError, AttributeError):
            return False
        return True
