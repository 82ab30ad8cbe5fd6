"""Opening trials."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from smdebug.trials.trial import Trial


def create_trial(
    path: str,
    name: str | None = None,
    profiler: bool = False,
    range_steps: tuple[int, int | None] | None = None,
    **_: object,
) -> Trial:
    """What was recorded at ``path``: a folder of records, a job's folder, or ``s3://bucket/prefix``."""
    if str(path).startswith("s3://"):
        from vizsla.aws.local import local_path_of

        if (folder := local_path_of(str(path))) is None:
            from smdebug.trials.s3_trial import fetched

            folder = fetched(str(path))
        path = str(folder)
    return Trial(str(path), name, range_steps, shows_all=False)


@contextmanager
def no_refresh(trials: Trial | Sequence[Trial]) -> Iterator[None]:
    """Within the block the trials stay as they were read last."""
    chosen = [trials] if isinstance(trials, Trial) else list(trials)
    for trial in chosen:
        trial.dynamic_refresh = False
    try:
        yield
    finally:
        for trial in chosen:
            trial.dynamic_refresh = True


@contextmanager
def refresh(trials: Trial | Sequence[Trial]) -> Iterator[None]:
    """Within the block the trials are read again when there is more."""
    chosen = [trials] if isinstance(trials, Trial) else list(trials)
    before = [trial.dynamic_refresh for trial in chosen]
    for trial in chosen:
        trial.dynamic_refresh = True
    try:
        yield
    finally:
        for trial, was in zip(chosen, before, strict=True):
            trial.dynamic_refresh = was
