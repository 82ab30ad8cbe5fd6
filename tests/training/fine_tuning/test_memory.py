"""Blocks that are freed and taken again, step after step."""

from __future__ import annotations

import ctypes
import resource

import numpy as np
import pytest

from vizsla.training.fine_tuning.memory import kept_memory


def faults() -> int:
    """Page faults of a few steps that each take 64 MB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        np.ones(64 << 20, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="this system's memory is not glibc's")
def test_a_block_that_a_step_frees_is_there_for_the_next_one() -> None:
    with kept_memory():
        faults()
        kept = faults()
    assert kept < faults() / 4
