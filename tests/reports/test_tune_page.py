"""The page of a search in a real browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vizsla.reports.tune import page
from vizsla.tuning.finalists import Finalist, judge
from vizsla.tuning.objective import Objective
from vizsla.tuning.result import SearchResult
from vizsla.tuning.space import Space
from vizsla.tuning.trials import TrialRecord, best

SPACE = Space.of(
    {"lr": "0.001..0.1:log", "momentum": "0.5..0.9", "batch": "32,64", "opt": "<b>adam</b>,sgd", "e": "2..9"}
)
LOSS = Objective("valid_loss", "minimize")


def trial(number: int, value: float | None, **facts: Any) -> TrialRecord:
    params = {
        "lr": 0.001 * 1.4**number,
        "momentum": 0.5 + number / 40,
        "batch": (32, 64)[number % 2],
        "opt": ("<b>adam</b>", "sgd")[number % 2],
        "e": 2 + number % 8,
    }
    status = "Completed" if value is not None else "Failed"
    curve = () if value is None else (value + 0.5, value + 0.1, value)
    known = {"status": status, "value": value, "curve": curve, "start": 1e9, "end": 1e9 + 2, "cost": 100.0 - number}
    return TrialRecord(number, f"t-{number:03}", params, **(known | facts))


def result(trials: list[TrialRecord]) -> SearchResult:
    found = best(trials, LOSS)
    assert found is not None
    finalists = [Finalist(t, (t.value or 0.0, (t.value or 0.0) + 0.01)) for t in trials[:3]]
    return SearchResult(
        "tune-x", SPACE, LOSS, tuple(trials), found, judge(finalists, LOSS, "steps"), "it was enough",
        {"lr": 0.7, "momentum": 0.3}, 12.0, ("mind <this>",),
    )  # fmt: skip


@pytest.mark.browser
def test_the_page_shows_every_trial_and_nothing_breaks_it(browser: Any, tmp_path: Path) -> None:
    trials = [trial(i, 0.3 + abs(i - 4) / 20) for i in range(9)]
    trials += [trial(9, None, reason="<script>alert(1)</script>"), trial(10, 90.0), trial(11, 0.4, status="Stopped")]
    path = tmp_path / "page.html"
    path.write_text(page(result(trials), "2026-11-21"))
    context = browser.new_context(viewport={"width": 1200, "height": 900}, offline=True)
    shown = context.new_page()
    trouble: list[str] = []
    shown.on("console", lambda message: trouble.append(message.text) if message.type == "error" else None)
    shown.on("pageerror", lambda error: trouble.append(str(error)))
    shown.on("dialog", lambda dialog: trouble.append("a dialog"))
    shown.goto(path.as_uri())
    assert trouble == []
    text = shown.inner_text("body")
    assert "<script>alert(1)</script>" in text
    assert "mind <this>" in text
    assert "are tied" in text or "wins" in text
    assert shown.locator("section:has(h2:text('Trials')) tr").count() == 13
    assert shown.locator("section:has(h2:text('One parameter')) svg").count() == 5
    assert shown.locator("section:has(h2:text('Configurations')) polyline").count() == 10
    inside = """() => [...document.querySelectorAll('circle')].every(c => {
        const box = c.ownerSVGElement.viewBox.baseVal, x = +c.getAttribute('cx'), y = +c.getAttribute('cy');
        return x >= 0 && y >= 0 && x <= box.width && y <= box.height; })"""
    assert shown.evaluate(inside), "an outlier stays inside its chart"
    shown.set_viewport_size({"width": 390, "height": 800})
    assert shown.evaluate("document.documentElement.scrollWidth") <= 390
    context.close()


def test_one_trial_is_enough_for_a_page() -> None:
    assert "Trial 0 wins" in page(result([trial(0, 0.5)]), "2026-11-21")
