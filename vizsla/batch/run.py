"""The way of a batch transform: inputs are read, answered and written at the same time, a bounded number of them.

Reading from and writing to a bucket waits for the network: that has threads of its own. Each core decodes a picture and
runs the engine on it. What is finished is journalled in the order of the inputs.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from vizsla.batch.answering import Answerer, Outcome
from vizsla.batch.inputs import Input, Inputs
from vizsla.batch.journal import Journal
from vizsla.batch.records import split_lines
from vizsla.errors import DataError, ImageError, UsageError
from vizsla.files import storage
from vizsla.serving.faults import RequestError

_NETWORK_THREADS = 16
_AHEAD = 4
"""Records on their way, for each thread that works on them: enough that none waits, and a bound on memory."""


class Output(Protocol):
    """Takes the answers to whole inputs."""

    def put(self, key: str, content: bytes) -> None:
        """Write the output of an input."""
        ...

    def put_file(self, key: str, file: Path) -> None:
        """Write it from a file, which goes."""
        ...


@dataclass(frozen=True)
class Unit:
    """What is on its way together: a whole input, or ``count`` lines of one of which ``record`` is the last. The end of
    a file of lines is a unit of its own."""

    key: str
    source: Input
    record: int | None = None
    body: bytes | None = None
    count: int = 1
    is_end: bool = False


@dataclass
class Summary:
    """What was transformed: records in all, those without an answer by the kind of their error, and how fast those of
    this attempt went."""

    records: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    first_error: str | None = None
    done_now: int = 0
    seconds: float = 0.0

    @property
    def failed(self) -> int:
        """Records without an answer."""
        return self.errors.total()

    @property
    def per_second(self) -> float:
        """Records a second, of this attempt."""
        return self.done_now / self.seconds if self.seconds else 0.0


class Run:
    """One attempt at a transform.

    Parameters
    ----------
    output:
        Where answers to whole inputs go; None keeps them in the journal, for a table.
    parts:
        A folder for outputs that grow line by line.
    lines:
        Whether each line of an input is a record; ``join`` follows each answer in the output.
    on_progress:
        Called after each record, with the summary so far.
    """

    def __init__(
        self,
        answerer: Answerer,
        journal: Journal,
        output: Output | None,
        parts: Path,
        *,
        lines: bool,
        join: bytes = b"",
        is_remote: bool = False,
        on_progress: Callable[[Summary], None] = lambda summary: None,
    ) -> None:
        self._answerer, self._journal, self._output, self._parts = answerer, journal, output, parts
        self._lines, self._join, self._is_remote, self._on_progress = lines, join, is_remote, on_progress
        self._before = journal.read()
        self.summary = Summary(self._before.total, Counter(self._before.errors))
        self._lock = threading.Lock()
        self._finished: dict[int, tuple[Unit, list[Outcome]]] = {}
        self._next = 0
        self._failure: BaseException | None = None

    def run(self, inputs: Inputs) -> Summary:
        """Transform what is left to do.

        Raises
        ------
        VizslaError
            What ends the whole: the output cannot be written, the bucket is gone, a filter fits no record, none of the
            records has an answer.
        """
        threads = self._answerer.threads
        network = _NETWORK_THREADS if inputs.is_remote or self._is_remote else 0
        room = threading.BoundedSemaphore(_AHEAD * (threads + network))
        began = time.monotonic()
        with ThreadPoolExecutor(threads) as workers, ThreadPoolExecutor(network or 1) as carriers:
            for number, unit in enumerate(self._units(inputs)):
                room.acquire()
                if self._failure is not None:
                    break
                if inputs.is_remote and unit.body is None and not unit.is_end:
                    carriers.submit(self._guarded, room, self._fetch, workers, room, number, unit, carriers)
                else:
                    workers.submit(self._guarded, room, self._answer, room, number, unit, carriers)
            for _ in range(_AHEAD * (threads + network)):  # all that is on its way is done
                if self._failure is None:
                    room.acquire()
        if self._failure is not None:
            raise self._failure
        return self._ended(inputs, began)

    def _ended(self, inputs: Inputs, began: float) -> Summary:
        self.summary.seconds = time.monotonic() - began
        if self.summary.records and self.summary.failed == self.summary.records:
            kinds = ", ".join(f"{kind} {count:,} times" for kind, count in self.summary.errors.most_common(5))
            raise DataError(
                f"None of the {self.summary.records:,} inputs could be transformed: {kinds}. The first one: "
                f"{self.summary.first_error or 'see the outputs'}",
                where=inputs.where,
            )
        return self.summary

    def _units(self, inputs: Inputs) -> Iterator[Unit]:
        for source in _once(inputs) if inputs.may_repeat else inputs.each():
            if source.key in self._before.done:
                continue
            if not self._lines:
                yield Unit(source.key, source)
                continue
            yield from self._line_units(source)

    def _line_units(self, source: Input) -> Iterator[Unit]:
        skip = self._before.records if source.key == self._before.begun else 0
        if self._output is not None:
            skip = self._begin_part(source.key, skip)
        record = -1
        pack: list[bytes] = []
        size = 0
        try:
            for record, line in enumerate(split_lines(source.blocks(), self._answerer.most)):
                if record < skip:
                    continue
                if not self._answerer.packs:
                    yield Unit(source.key, source, record, line or b"")
                    continue
                if pack and size + len(line or b"") > self._answerer.most:
                    yield Unit(source.key, source, record - 1, b"\n".join(pack), len(pack))
                    pack, size = [], 0
                pack.append(line or b"")
                size += len(pack[-1]) + 1
            if pack:
                yield Unit(source.key, source, record, b"\n".join(pack), len(pack))
        except ImageError as error:  # the file cannot be read (on)
            if pack:
                yield Unit(source.key, source, record, b"\n".join(pack), len(pack))
            yield Unit(source.key, _broken(source, error), record + 1, None)
        yield Unit(source.key, source, record + 1, is_end=True)

    def _begin_part(self, key: str, skip: int) -> int:
        """Have the growing output end where the journal says; how many records are in it. An attempt that was killed
        just when it had given the whole to its place begins anew."""
        part = self._part(key)
        with storage(part):
            part.parent.mkdir(parents=True, exist_ok=True)
            with open(part, "ab") as file:
                end = self._before.end if skip else 0
                if file.tell() < end:
                    self.summary.records -= skip
                    skip = end = 0
                file.truncate(end)
        return skip

    def _part(self, key: str) -> Path:
        return self._parts / f"{key}.part"

    def _guarded(self, room: threading.BoundedSemaphore, step: Callable[..., None], *arguments: Any) -> None:
        try:
            step(*arguments)
        except BaseException as error:  # noqa: BLE001 - raised by the thread that waits
            self._failure = self._failure or error
            room.release()

    def _fetch(
        self,
        workers: ThreadPoolExecutor,
        room: threading.BoundedSemaphore,
        number: int,
        unit: Unit,
        carriers: ThreadPoolExecutor,
    ) -> None:
        try:
            body = unit.source.read()
        except ImageError as error:
            unit = replace(unit, source=_broken(unit.source, error))
        else:
            unit = replace(unit, body=body)
        workers.submit(self._guarded, room, self._answer, room, number, unit, carriers)

    def _answer(self, room: threading.BoundedSemaphore, number: int, unit: Unit, carriers: ThreadPoolExecutor) -> None:
        outcomes = [] if unit.is_end else self._outcomes(number, unit)
        if self._output is not None and not self._lines:  # a core need not wait for the disk or the network
            carriers.submit(self._guarded, room, self._write, room, number, unit, outcomes)
        else:
            self._write(room, number, unit, outcomes)

    def _outcomes(self, number: int, unit: Unit) -> list[Outcome]:
        """One for all records of a unit; where they fail together one for each, so that a bad one spoils no other."""
        is_first = number == 0 and not self._before.total
        if unit.count > 1 and unit.body is not None:
            try:
                return [self._answerer.answer_all(unit.body, unit.count)]
            except (ImageError, RequestError, UsageError):
                lines = unit.body.split(b"\n")
                return [self._outcome(line, is_first and at == 0) for at, line in enumerate(lines)]
        try:
            body = unit.source.read() if unit.body is None else unit.body
        except ImageError as error:
            return [Outcome.failed(error)]
        return [self._outcome(body, is_first)]

    def _outcome(self, body: bytes, is_first: bool) -> Outcome:
        try:
            return self._answerer.answer(body)
        except (ImageError, RequestError) as error:
            return Outcome.failed(error)
        except UsageError as error:  # a filter that matches nothing
            if is_first:  # of the very first record: it fits none
                raise
            return Outcome.failed(error)

    def _write(self, room: threading.BoundedSemaphore, number: int, unit: Unit, outcomes: list[Outcome]) -> None:
        if self._output is not None and not self._lines and outcomes:
            self._output.put(unit.key, outcomes[0].content + self._join)
        with self._lock:
            self._finished[number] = unit, outcomes
            while (ready := self._finished.pop(self._next, None)) is not None:
                self._commit(*ready)
                self._next += 1
                room.release()  # only now: what waits behind a slow record must not grow

    def _commit(self, unit: Unit, outcomes: list[Outcome]) -> None:
        if not outcomes:
            if self._output is not None:
                self._output.put_file(unit.key, self._part(unit.key))
            self._journal.append({"input": unit.key, "record": None})
            return
        count = unit.count // len(outcomes)
        for left, outcome in zip(reversed(range(len(outcomes))), outcomes, strict=True):
            record = None if unit.record is None else unit.record - left
            self._commit_record(unit.key, record, count, outcome)
        self._on_progress(self.summary)

    def _commit_record(self, key: str, record: int | None, count: int, outcome: Outcome) -> None:
        line: dict[str, Any] = {"input": key}
        if record is not None:
            line |= {"record": record, "end": self._grow(key, outcome)}
        if outcome.error is not None:
            line["error"] = outcome.error
        if self._output is None and outcome.row is not None:
            line |= outcome.row
        if count > 1:
            line["count"] = count
        self._journal.append(line)
        self.summary.records += count
        self.summary.done_now += count
        if outcome.error is not None:
            self.summary.errors[outcome.error["kind"]] += count
            self.summary.first_error = self.summary.first_error or f"{key}: {outcome.error['what']}"

    def _grow(self, key: str, outcome: Outcome) -> int:
        if self._output is None:
            return 0
        with open(self._part(key), "ab", buffering=0) as file:
            file.write(outcome.content + self._join)
            return file.tell()


def _broken(source: Input, error: ImageError) -> Input:
    def read() -> bytes:
        raise error

    return Input(source.key, read, source.blocks)


def _once(inputs: Inputs) -> Iterator[Input]:
    """Each of them, as long as none is there twice."""
    seen: set[int] = set()
    for source in inputs.each():
        if hash(source.key) in seen:
            raise DataError(
                f"The input {source.key!r:.200} is there twice.",
                where=inputs.where,
                do="take one of them out: both would have the same output",
            )
        seen.add(hash(source.key))
        yield source


@contextlib.contextmanager
def opened_journal(path: Path) -> Iterator[Journal]:
    """A journal that is closed after the block."""
    journal = Journal(path)
    try:
        yield journal
    finally:
        journal.close()
