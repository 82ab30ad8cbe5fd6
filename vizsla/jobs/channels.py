"""Channels whose data lie in a bucket: fetched when the job starts, as SageMaker's File mode does.

Put before a job's command (:func:`vizsla.jobs.script.before`), it fetches those of the job that ``VIZSLA_JOB_DIR``
names into ``input/data/<ChannelName>`` and becomes the command. Only what changed in the bucket is fetched; each job
has copies of its own, so that nothing that another one does changes them.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path
from typing import NoReturn

from vizsla.cache import bound
from vizsla.data import s3
from vizsla.errors import VizslaError
from vizsla.files import storage, write_json
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.handover import FETCHED
from vizsla.jobs.kinds import kind_of
from vizsla.parameters import door, speak
from vizsla.profiling.startup import preparing
from vizsla.settings import settings

_TELL_SECONDS = 2.0


def fetch(name: str, uri: str, job: Path, cache: Path) -> None:
    """Fill the channel's folder with what lies under ``uri``, unless an earlier attempt did. Progress goes to stdout.

    Raises
    ------
    SourceError
        When it cannot be had.
    StorageError
        When the disk is full.
    """
    folder, done = job / FETCHED / name, job / ".run" / f"fetched-{name}.json"
    if done.exists():
        return
    last_line = time.monotonic()

    def tell(count: int, total: int) -> None:
        nonlocal last_line
        if time.monotonic() - last_line >= _TELL_SECONDS:
            last_line = time.monotonic()
            print(f"[vizsla: channel {name}: {count:,} of {total:,} objects fetched]", flush=True)

    print(f"[vizsla: channel {name}: looking at {uri}]", flush=True)
    with storage(folder):
        for entry in folder.iterdir():  # the folder itself stays: it may be mounted already
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    counts = s3.copy(uri, cache, folder, on_progress=tell)
    document = {"uri": uri, "objects": counts.fetched + counts.kept, "bytes": counts.bytes}
    write_json(done, document)
    print(
        f"[vizsla: channel {name}: {counts.fetched:,} objects fetched, {counts.kept:,} in the cache, "
        f"{counts.bytes / 1e6:,.1f} MB]",
        flush=True,
    )


def main(arguments: list[str]) -> NoReturn:
    """Fetch, and become the command."""
    job = JobDirectory.open(Path(os.environ["VIZSLA_JOB_DIR"]))
    speak(door().but(again=f"`vizsla jobs resume {job.name}`", endpoint_url="AWS_ENDPOINT_URL_S3"))
    try:
        with preparing("channels"):
            for channel in kind_of(job.kind).spec(job.document).remote_channels:
                fetch(channel.channel_name, channel.uri, job.path, settings().cache)
        bound(settings().cache, settings().cache_bytes)
    except VizslaError as error:
        print(f"vizsla: {error}", file=sys.stderr)
        job.write_failure(str(error))
        sys.exit(1)
    _, *command = arguments
    sys.stdout.flush()
    os.execvp(command[0], command)
