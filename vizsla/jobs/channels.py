"""Channels whose data lie in a bucket: fetched when the job starts, as SageMaker's File mode does.

``python -m vizsla.jobs.channels -- COMMAND...`` fetches those of the job that ``VIZSLA_JOB_DIR`` names into
``input/data/<ChannelName>`` and becomes the command. Only what changed in the bucket is fetched; the files are links to
those in the cache, where both are on one disk, so that another job's fetching changes nothing here.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path
from typing import NoReturn

from vizsla.data import s3
from vizsla.errors import VizslaError
from vizsla.files import storage
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.spec import TrainingJobSpec
from vizsla.settings import settings

_TELL_SECONDS = 2.0


def fetch(name: str, uri: str, place: Path, cache: Path) -> None:
    """Put what lies under ``uri`` into the folder ``place``, unless it is there already. Progress goes to stdout.

    Raises
    ------
    SourceError
        When it cannot be had.
    StorageError
        When the disk is full.
    """
    if place.exists():
        return  # of an earlier attempt
    told = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal told
        if time.monotonic() - told >= _TELL_SECONDS:
            told = time.monotonic()
            print(f"[vizsla: channel {name}: {done:,} of {total:,} objects fetched]", flush=True)

    synced = s3.sync(uri, cache, everything=True, on_progress=tell)
    partial = place.with_name(f".{place.name}.partial")
    with storage(place):
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(synced.folder, partial, copy_function=_link)
        partial.rename(place)
    print(
        f"[vizsla: channel {name}: {synced.fetched:,} objects fetched, {synced.kept:,} in the cache, "
        f"{synced.bytes / 1e6:,.1f} MB]",
        flush=True,
    )


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links
        shutil.copyfile(source, target)


def main(arguments: list[str]) -> NoReturn:
    """Fetch, and become the command."""
    job = JobDirectory.open(Path(os.environ["VIZSLA_JOB_DIR"]))
    try:
        for channel in TrainingJobSpec.read(job.request).remote_channels:
            place = job.path / "input" / "data" / channel.channel_name
            fetch(channel.channel_name, channel.uri, place, settings().cache)
    except VizslaError as error:
        print(f"vizsla: {error}", file=sys.stderr)
        job.write_failure(str(error))
        sys.exit(1)
    command = arguments[arguments.index("--") + 1 :]
    sys.stdout.flush()
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
