"""What a training has gained is told by the same validation pictures before and after."""

from __future__ import annotations

import numpy as np
import pytest

from vizsla.training.fine_tuning.gain import Gain

LABELS = np.tile(np.arange(2, dtype=np.int32), 100)


def logits(sure: float, right: float, seed: int) -> np.ndarray:
    """Answers of which a share is right, with some noise."""
    rng = np.random.default_rng(seed)
    signs = np.where(rng.random(len(LABELS)) < right, 1.0, -1.0) * np.where(LABELS == 1, 1.0, -1.0)
    scores = sure * signs + rng.normal(scale=0.5, size=len(LABELS))
    return np.stack([np.zeros(len(LABELS)), scores], axis=1).astype(np.float32)


@pytest.mark.parametrize(
    ("before", "after", "kept", "words"),
    [
        (0.7, 0.95, True, None),
        (0.95, 0.7, False, "That is worse: what was before is kept."),
        (0.9, 0.9, False, "That may be chance: what was before is kept."),
    ],
)
def test_what_is_kept_and_said(before: float, after: float, kept: bool, words: str | None) -> None:
    same = logits(2, before, 0)
    other = same if before == after else logits(2, after, 0)
    gain = Gain.of(same, other, LABELS)
    assert gain.kept == kept
    assert gain.words.startswith(f"of the validation pictures {100 * gain.before:.1f} % were right before, ")
    assert words is None or gain.words.endswith(words)


def test_how_sure_the_answers_sound_does_not_count() -> None:
    before = logits(2, 0.9, 0)
    assert Gain.of(before, 10 * before, LABELS).loss == pytest.approx(0, abs=1e-6)


def test_the_best_of_several_is_kept_no_more_often_by_chance_than_one() -> None:
    """The least of n independent errors is below the bound as often as one is below its own."""
    rng = np.random.default_rng(0)
    for among in (1, 3, 8):
        kept = [Gain(loss, 1.0, 0.5, 0.5, among).kept for loss in rng.normal(size=(20_000, among)).min(axis=1)]
        assert np.mean(kept) == pytest.approx(0.159, abs=0.01)
    assert Gain(-0.02, 0.012, 0.5, 0.5).kept
    assert not Gain(-0.02, 0.012, 0.5, 0.5, among=8).kept
    assert Gain(-0.03, 0.012, 0.5, 0.5, among=8).kept
