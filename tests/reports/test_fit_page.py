"""The report in a real browser: whole, self-contained, readable."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vizsla.workflow.fit import FitRequest, FitResult, fit

pytestmark = pytest.mark.browser


@pytest.fixture
def result(folder_of_photos: Callable[..., Path]) -> FitResult:
    data = folder_of_photos({"red": 30, "green": 30, "blau mit Leerzeichen": 30})
    (data / "red" / "000.jpg").write_text("words")
    return fit(FitRequest(data, "test_resnet", random_init=True))


@pytest.fixture
def page(browser: Any, result: FitResult) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1200, "height": 900}, offline=True)
    page = context.new_page()
    page.trouble = []
    page.on("console", lambda message: page.trouble.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: page.trouble.append(str(error)))
    page.on("requestfailed", lambda request: page.trouble.append(request.url))
    page.goto(result.report.as_uri())
    yield page
    context.close()


def test_the_page_needs_nothing_from_outside(page: Any, result: FitResult) -> None:
    assert page.trouble == []
    source = result.report.read_text("utf-8")
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", source)
    assert page.locator("img").count() > 0
    assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")


def test_the_page_says_what_was_measured(page: Any, result: FitResult) -> None:
    text = page.inner_text("body")
    accuracy = result.evaluation.accuracy
    assert f"{100 * accuracy.value:.1f} %" in text
    assert f"{100 * accuracy.low:.1f} %" in text
    assert "red/000.jpg" in text
    assert "untrained" in text
    for label in ("red", "green", "blau mit Leerzeichen"):
        assert label in text
    assert "vizsla predict" in text


def test_curves_and_confusion_are_drawn(page: Any, result: FitResult) -> None:
    assert page.locator("svg").count() >= 3
    drawn = page.locator("svg rect title, svg title").all_text_contents()
    confusion = result.evaluation.confusion
    assert any(str(int(confusion[0, 0])) in title for title in drawn)


@pytest.mark.parametrize("width", [380, 800, 1400])
def test_nothing_runs_over_the_edge(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("dark", [False, True])
def test_in_a_notebook_it_touches_nothing_else(browser: Any, result: FitResult, tmp_path: Path, dark: bool) -> None:
    theirs = '<h1 id="theirs">Theirs</h1><table id="table"><tr><td>1</td></tr></table>'
    theme = f"data-jp-theme-light={'false' if dark else 'true'}"
    context = browser.new_context(viewport={"width": 420, "height": 900}, color_scheme="dark", offline=True)
    page = context.new_page()
    looks = """() => ['#theirs', '#table', 'body'].map(one => {
        const style = getComputedStyle(document.querySelector(one));
        return [style.color, style.backgroundColor, style.font, style.margin, style.width].join(); })"""
    path = tmp_path / "notebook.html"
    path.write_text(f"<!doctype html><body {theme}>{theirs}")
    page.goto(path.as_uri())
    before = page.evaluate(looks)
    path.write_text(f"<!doctype html><body {theme}>{theirs}{result._repr_html_()}")
    page.goto(path.as_uri())
    assert page.evaluate(looks) == before
    assert page.evaluate("document.documentElement.scrollWidth") <= 420
    assert page.locator("svg").count() >= 3
    ink = page.evaluate("getComputedStyle(document.querySelector('.vizsla h1')).color")
    assert ink == ("rgb(228, 232, 238)" if dark else "rgb(29, 36, 48)"), "the notebook's theme, not the system's"
    context.close()
