"""Metrics out of logs."""

from __future__ import annotations

import itertools
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from vizsla.jobs.scrape import Scraper

Found = list[tuple[str, float, int | None, float | None]]


def scrape(definitions: list[tuple[str, str]], blocks: list[bytes]) -> Found:
    """What is found in a log that comes in these blocks."""
    found: Found = []
    scraper = Scraper(definitions, lambda *values: found.append(values))
    for block in blocks:
        scraper.feed(block)
    scraper.close()
    return found


def test_the_expressions_that_notebooks_use() -> None:
    log = (
        b"Epoch 1\nTesting Loss: 0.75\nTesting Accuracy: 81\n"
        b"\nTest set: Average loss: 1.25, Accuracy: 4/10 (40%)\n"
        b"epoch=1; loss=0.5; acc=1e-1;\r\n 50%|##  | 1/2 loss=9\r100%|####| 2/2 loss=8\n"
    )
    definitions = [
        ("test loss", r"Testing Loss: ([0-9\.]+)"),
        ("average", r"Average loss: ([0-9\.]+)"),
        ("accuracy", r"Accuracy: (\d+)/10"),
        ("loss", r"loss=(.*?);"),
        ("bar", r"\| 2/2 loss=(\d+)$"),
        ("no number", r"(Epoch) 1"),
        ("first only", r"^Epoch (\d)"),
    ]
    assert [(name, value) for name, value, _, _ in scrape(definitions, [log])] == [
        ("first only", 1),
        ("test loss", 0.75),
        ("average", 1.25),
        ("accuracy", 4),
        ("loss", 0.5),
        ("bar", 8),
    ]


def test_a_progress_bar_that_overwrites_its_line() -> None:
    log = b"epoch 1\rloss=1\rloss=2\rdone\n"
    assert [value for _, value, _, _ in scrape([("loss", r"^loss=(\d)$")], [log])] == [1.0, 2.0]


def test_an_expression_without_end_is_given_up_and_the_others_go_on() -> None:
    found: Found = []
    slow: list[str] = []
    definitions = [("x", r"x=(\d)"), ("endless", r"(a+a+)+b"), ("y", r"y=(\d)")]
    scraper = Scraper(definitions, lambda *values: found.append(values), seconds=0.1, on_slow=slow.append)
    for turn in range(2):
        scraper.feed(b"x=%d\n%s\ny=%d\n" % (turn, b"a" * 60, turn))
    assert slow == ["endless"]
    assert [(name, value) for name, value, _, _ in found] == [("x", 0), ("y", 0), ("x", 1), ("y", 1)]


def test_lines_of_json() -> None:
    log = (
        b'{"name": "a", "value": 1}\n{"metric": "b", "value": "0.5", "step": 3, "epoch": 1.5}\n'
        b'{"name": 1, "value": 2}\n{"name": "c", "value": "x"}\n{"value": 1}\n{"name": "d", "value": NaN, "step": 1}\n'
    )
    found = scrape([], [log])
    assert found[:2] == [("a", 1.0, None, None), ("b", 0.5, 3, 1.5)]
    assert [name for name, *_ in found] == ["a", "b", "d"]


def test_values_of_one_name_are_counted() -> None:
    found = scrape([("x", r"x=(\d+)")], [b"x=5\nx=6\n", b"x=7"])
    assert found == [("x", 5.0, 1, None), ("x", 6.0, 2, None), ("x", 7.0, 3, None)]


LINES = st.lists(
    st.sampled_from(["x=1", "x=22 y", "é=3 x=4.5", "", '{"name": "j", "value": 2}', "z" * 50]), max_size=30
)


@settings(deadline=None)
@given(LINES, st.lists(st.integers(0, 2000), max_size=12))
def test_how_the_log_is_cut_into_blocks_changes_nothing(lines: list[str], cuts: list[int]) -> None:
    log = "\n".join(lines).encode()
    places = sorted({cut % (len(log) + 1) for cut in cuts} | {0, len(log)})
    blocks = [log[a:b] for a, b in itertools.pairwise(places)]
    definitions = [("x", r"x=([0-9.]+)")]
    assert scrape(definitions, blocks) == scrape(definitions, [log])


def test_metrics_without_a_value_are_known_by_what_stood_in_its_place() -> None:
    definitions = [
        ("never", r"nothing: (\d+)"),
        ("word", r"canary=(.*);"),
        ("share", r"acc: (\S+)"),
        ("thousands", r"big: ([0-9.,]+)"),
        ("later", r"later: (\S+)"),
        ("nan", r"nan: (\S+)"),
        ("one of two", r"two: (?:(a)|b)"),
    ]
    scraper = Scraper(definitions, lambda *values: None)
    scraper.feed(b"canary=dog;\ncanary=cat;\nacc: 93.5%\nbig: 1,234.5\nlater: soon\nlater: 1\nnan: nan\ntwo: b\n")
    scraper.close()
    assert scraper.missing() == {
        "never": None,
        "word": "dog",
        "share": "93.5%",
        "thousands": "1,234.5",
        "one of two": None,
    }


def test_a_metric_that_an_earlier_attempt_found_or_that_was_given_up_is_not_missing() -> None:
    slow: list[str] = []
    definitions = [("early", r"x=(\d)"), ("endless", r"(a+a+)+b")]
    scraper = Scraper(definitions, lambda *values: None, Counter(early=1), seconds=0.1, on_slow=slow.append)
    scraper.feed(b"a" * 60 + b"\n")
    assert (slow, scraper.missing()) == (["endless"], {})
