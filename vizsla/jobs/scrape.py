"""Metrics out of a log: by regular expressions, and lines that are JSON."""

from __future__ import annotations

import json
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterable
from types import FrameType

_LONGEST_LINE = 8192
_SAFE = re.compile(r"\(\?|\\[AZ]")  # what may match a line but not the same place in a longer text
_JSON = re.compile(r'^[ \t]*\{[^\r\n]*"value"', re.MULTILINE)

Append = Callable[[str, float, int | None, float | None], None]
"""Takes name, value, step and epoch: :meth:`vizsla.jobs.metrics.MetricWriter.append`."""


_Definition = tuple[str, re.Pattern[str], re.Pattern[str] | None]


class _TooSlowError(Exception):
    pass


class Scraper:
    """Finds metrics in a stream of log bytes and hands them on in the order of the log.

    A definition is a name and a regular expression whose first group is a number, searched in each line, as
    SageMaker's ``MetricDefinitions`` are. A metric found so has the count of its finds as its step. A line that is a
    JSON object with ``name`` (or ``metric``) and ``value`` is a metric too; ``step`` and ``epoch`` may be in it.

    Parameters
    ----------
    definitions:
        Pairs of name and regular expression.
    counts:
        How many values each name has already, of an earlier attempt.
    seconds:
        Processor time that one definition may take for one block; one that takes longer is given up. Needs the main
        thread: the engine of regular expressions is interrupted by a signal (SIGPROF).
    on_slow:
        Told the name of a definition that was given up.
    """

    def __init__(
        self,
        definitions: Iterable[tuple[str, str]],
        append: Append,
        counts: Counter[str] | None = None,
        *,
        seconds: float | None = None,
        on_slow: Callable[[str], None] = lambda name: None,
    ) -> None:
        # A whole block is searched first: most blocks of a long log hold nothing.
        self._definitions = [
            (name, re.compile(regex), None if _SAFE.search(regex) else re.compile(regex, re.MULTILINE))
            for name, regex in definitions
        ]
        self._seconds, self._on_slow = seconds, on_slow
        self._armed = False
        if seconds is not None:
            signal.signal(signal.SIGPROF, self._expire)
        self._append = append
        self._names = [name for name, *_ in self._definitions]
        self._no_numbers: dict[str, str] = {}
        self._refused: Counter[str] = Counter()
        self._counts = Counter() if counts is None else counts
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

    def missing(self) -> dict[str, str | None]:
        """Metrics without any value so far: what was found first in the place of a number, None where nothing was."""
        given_up = set(self._names) - {name for name, *_ in self._definitions}
        names = [name for name in dict.fromkeys(self._names) if not self._counts[name] and name not in given_up]
        return {name: self._no_numbers.get(name) for name in names}

    def left_out(self) -> list[str]:
        """Words for metrics that have values and were given others that are no numbers."""
        return [
            f"{count:,} times metric {name!r} has no value: {no_value(self._no_numbers[name])}"
            for name, count in self._refused.items()
            if self._counts[name]
        ]

    def _block(self, text: str) -> None:
        text = text.replace("\r", "\n")  # a progress bar's lines: ^ and $ know only \n
        values: list[tuple[int, str, float, int | None, float | None]] = []  # by line, in the order of the log
        if _JSON.search(text) is not None:
            for number, line in enumerate(text.split("\n")):
                if line.lstrip()[:1] == "{" and (fields := self._json(line)) is not None:
                    values.append((number, *fields))
        json_lines = {number for number, *_ in values}
        for definition in list(self._definitions):
            try:
                matches = self._within_time(definition, text, json_lines)
            except _TooSlowError:
                self._definitions.remove(definition)
                self._on_slow(definition[0])
                continue
            for number, matched in matches:
                try:
                    values.append((number, definition[0], float(matched), None, None))
                except ValueError:
                    self._no_numbers.setdefault(definition[0], matched)
                    self._refused[definition[0]] += 1
        for number, name, value, step, epoch in sorted(values, key=lambda row: row[0]):
            if number not in json_lines:
                self._counts[name] += 1
                step = self._counts[name]
            self._append(name, value, step, epoch)

    def _within_time(self, definition: _Definition, text: str, json_lines: set[int]) -> list[tuple[int, str]]:
        if self._seconds is None:
            return _matches(definition, text, json_lines)
        try:
            self._armed = True
            signal.setitimer(signal.ITIMER_PROF, self._seconds)
            return _matches(definition, text, json_lines)
        finally:
            self._armed = False
            signal.setitimer(signal.ITIMER_PROF, 0)

    def _expire(self, number: int, frame: FrameType | None) -> None:
        if self._armed:
            raise _TooSlowError

    def _json(self, line: str) -> tuple[str, float, int | None, float | None] | None:
        try:
            fields = json.loads(line)
            name = fields.get("name", fields.get("metric"))
            step, epoch = fields.get("step"), fields.get("epoch")
            if not isinstance(name, str) or isinstance(fields["value"], bool):
                return None
            value = float(fields["value"])
            return name, value, None if step is None else int(step), None if epoch is None else float(epoch)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            return None


def no_value(matched: str | None) -> str:
    """Words for a metric that :meth:`Scraper.missing` names."""
    if matched is None:
        return "its regular expression matched nothing in the log"
    return f"its regular expression matched {matched!r:.80}, which is no number"


def _matches(definition: _Definition, text: str, json_lines: set[int]) -> list[tuple[int, str]]:
    """Numbers of lines, and the texts found in them."""
    _, pattern, quick = definition
    result: list[tuple[int, str]] = []
    if quick is not None and not quick.search(text):
        return result
    for number, line in enumerate(text.split("\n")):
        match = None if number in json_lines else pattern.search(line[:_LONGEST_LINE])
        if match and match.re.groups and match[1] is not None:
            result.append((number, match[1]))
    return result
