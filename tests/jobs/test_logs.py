"""Logs of bounded size, and whoever reads them while they grow."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vizsla.jobs import log_reader
from vizsla.jobs.log_reader import LogPosition, end_of, near_the_end, read_log_after
from vizsla.jobs.logs import CappedLog, join_tails

LEFT_OUT = re.compile(r"\n\[vizsla: .*\]\n")


def read_on(folder: Path, at: LogPosition) -> tuple[str, LogPosition]:
    """All that there is to read after ``at``."""
    texts = []
    while True:
        text, at = read_log_after(folder / "logs.txt", folder, at)
        if not text:
            return "".join(texts), at
        texts.append(text)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 700), max_size=20), st.integers(1, 500), st.integers(2, 500))
def test_a_capped_log_is_its_beginning_and_its_end(sizes: list[int], head: int, tail: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log, whole = CappedLog(folder / "logs.txt", folder, head, tail), b""
        for i, size in enumerate(sizes):
            block = bytes([97 + i]) * size
            log.write(block)
            whole += block
        log.close()
        kept = (folder / "logs.txt").read_bytes()
        if len(whole) <= head + tail // 2:
            assert kept == whole
        else:
            assert kept[:head] == whole[:head]
            rest = kept[head:]
            end = rest.rpartition(b"]\n")[2]
            assert whole.endswith(end)
            assert len(end) >= min(tail // 2, len(whole) - head)
            assert len(rest) <= tail + 100
        assert {path.name for path in folder.iterdir()} <= {"logs.txt", "joins.json"}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.integers(0, 120), max_size=12), max_size=3), st.integers(1, 500))
def test_who_keeps_up_reads_the_whole_log_and_every_attempt(attempts: list[list[int]], head: int) -> None:
    """Blocks of up to half of what is kept at the end, so that nothing is gone before it was read."""
    with tempfile.TemporaryDirectory() as name:
        folder, at, seen, whole = Path(name), LogPosition(), "", ""
        for turn, sizes in enumerate(attempts):
            log = CappedLog(folder / "logs.txt", folder, head, 240)
            for i, size in enumerate(sizes):
                block = chr(97 + 12 * (turn % 2) + i) * size
                log.write(block.encode())
                whole += block
                text, at = read_on(folder, at)
                seen += text
                assert seen == whole
            log.close()
            assert read_on(folder, at)[0] == ""


@pytest.mark.parametrize("begin", ["read", "near the end", "end"])
def test_nothing_is_lost_whenever_the_writer_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begin: str
) -> None:
    """The writer comes before each single look that a reader takes at the files: with a line, lines, or the end."""
    waiting: list[Callable[[], None]] = []
    looks = 0

    def looking(real: Callable[..., object]) -> Callable[..., object]:
        def look(*words: object) -> object:
            nonlocal looks
            looks += 1
            if looks == moment and waiting:
                waiting.pop()()
            return real(*words)

        return look

    for name in ("size", "joins", "tails_of", "read_text_after"):
        monkeypatch.setattr(log_reader, name, looking(getattr(log_reader, name)))
    for moment in range(1, 40):
        for turn, (before, lines) in enumerate([(1, 3), (1, 30), (30, 30), (30, 0)]):
            folder = tmp_path / f"{moment}-{turn}"
            folder.mkdir()
            log = CappedLog(folder / "logs.txt", folder, head=100, tail=4000)
            log.write(b"".join(b"early %03d\n" % i for i in range(before)))
            later = [b"late %03d\n" % i for i in range(lines)]
            looks, at, seen = 0, LogPosition(), ""
            waiting[:] = [partial(log.write, b"".join(later)) if lines else log.close]
            if begin == "near the end":
                _, at = near_the_end(log.path, folder, at)
            elif begin == "end":
                at = end_of(log.path, folder)
            all_is_late = begin == "end" and waiting
            for _ in range(8):
                text, at = read_log_after(log.path, folder, at)
                seen += text
            while waiting:
                waiting.pop()()
            if lines:
                log.close()
            seen += read_on(folder, at)[0]
            whole = log.path.read_text()
            assert whole.endswith(seen), (moment, turn)
            assert begin == "end" or seen == whole, (moment, turn)
            assert not all_is_late or seen == b"".join(later).decode(), (moment, turn)


@settings(max_examples=100, deadline=None)
@example([(20, False)], 1, True)
@given(st.lists(st.tuples(st.integers(0, 100), st.booleans()), max_size=20), st.integers(1, 170), st.booleans())
def test_who_does_not_keep_up_misses_the_middle_and_is_told(
    blocks: list[tuple[int, bool]], head: int, killed: bool
) -> None:
    """What is read is in order, never twice, and ends as the log does; so it is where the supervisor was killed."""
    with tempfile.TemporaryDirectory() as name:
        folder, at, seen, whole = Path(name), LogPosition(), "", ""
        log, count = CappedLog(folder / "logs.txt", folder, 3 * head, 198), 0
        for size, reads in blocks:
            block = "".join(chr(0x4E00 + count + i) for i in range(size))  # each once, of three bytes
            count += size
            log.write(block.encode())
            whole += block
            if reads:
                text, at = read_on(folder, at)
                seen += text
        if killed:
            join_tails(folder / "logs.txt", folder)
        else:
            log.close()
        seen += read_on(folder, at)[0]
        characters = LEFT_OUT.sub("", seen)
        assert characters == "".join(sorted(set(characters)))
        assert set(characters) <= set(whole)
        assert characters == whole or LEFT_OUT.search(seen)
        assert characters.endswith(whole[-33:])


def test_whoever_is_far_behind_reads_the_end(tmp_path: Path) -> None:
    log = tmp_path / "logs.txt"
    log.write_bytes(b"0123456789abcde\n" * (1 << 20))
    assert near_the_end(log, tmp_path, LogPosition()) == ("", LogPosition()), "16 MiB are no more than that"
    log.write_bytes(b"0123456789abcde\n" * (2 << 20))
    words, at = near_the_end(log, tmp_path, LogPosition(100))
    assert f"{at.at - 100:,} bytes of the log are not shown" in words
    text, end = read_log_after(log, tmp_path, at)
    assert text.startswith("0123456789abcde\n")
    assert end == LogPosition(log.stat().st_size)


def test_whoever_is_far_behind_a_log_that_goes_on_in_another_file_reads_its_end(tmp_path: Path) -> None:
    log = CappedLog(tmp_path / "logs.txt", tmp_path, 1 << 20, 32 << 20)
    for _ in range(20):
        log.write(b"0123456789abcde\n" * (1 << 16))
    words, at = near_the_end(log.path, tmp_path, LogPosition(1600))
    text, end = read_log_after(log.path, tmp_path, at)
    assert f"{(20 << 20) - 1600 - len(text):,} bytes of the log are not shown" in words
    assert text.startswith("0123456789abcde\n")
    log.write(b"and on\n")
    assert read_log_after(log.path, tmp_path, end)[0] == "and on\n"
    log.write(b"to the end\n")
    log.close()
    assert read_log_after(log.path, tmp_path, end)[0] == "and on\nto the end\n"


def test_whoever_begins_at_the_end_reads_only_what_is_new(tmp_path: Path) -> None:
    for lines in (3, 30):  # within the beginning, and behind it
        log = CappedLog(tmp_path / f"{lines}.txt", tmp_path, 100, 2000)
        log.write(b"0123456789\n" * lines)
        at = end_of(log.path, tmp_path)
        log.write(b"new\n")
        log.close()
        assert read_log_after(log.path, tmp_path, at)[0] == "new\n"
        (tmp_path / "joins.json").unlink(missing_ok=True)
