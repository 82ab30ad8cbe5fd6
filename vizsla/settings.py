"""Where things live and which limits hold: the ``VIZSLA_*`` variables, read at the time of use.

A plain dataclass and not pydantic-settings: these values are read on paths that must start in milliseconds.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from vizsla.errors import UsageError
from vizsla.parameters import spelled


@dataclass(frozen=True)
class Settings:
    """What the environment says. Sizes in bytes, times in seconds."""

    home: Path
    """Folder that holds one directory a job (``VIZSLA_HOME``; default ``./runs``); of a bucket, its mirror here."""
    cache: Path
    """Backbones and features, safe to delete (``VIZSLA_CACHE``; default ``~/.cache/vizsla``); of a bucket, what is here
    of it."""
    cache_bytes: int
    """Upper bound on the feature cache (``VIZSLA_CACHE_GB``; default 20)."""
    max_image_bytes: int
    """Largest picture file read (``VIZSLA_MAX_IMAGE_MB``; default 64)."""
    max_image_pixels: int
    """Largest picture decoded (``VIZSLA_MAX_MEGAPIXELS``; default 100)."""
    decode_seconds: float
    """Longest time one picture may take to decode (``VIZSLA_DECODE_SECONDS``; default 20)."""
    tracking: str
    """MLflow server that jobs are recorded on, or ``off`` (``VIZSLA_TRACKING``; default empty: a file in ``home``)."""
    threads: int
    """Threads for decoding and the engine (``VIZSLA_THREADS``; default: the cores this process may use)."""
    bucket: str | None = None
    """``s3://bucket/prefix`` where the jobs are, when ``VIZSLA_HOME`` says so and no folder."""
    cache_bucket: str | None = None
    """``s3://bucket/prefix`` where the cache is, when ``VIZSLA_CACHE`` says so and no folder."""

    @property
    def cache_address(self) -> str:
        """``VIZSLA_CACHE`` for another process: the bucket, or the folder's path."""
        return self.cache_bucket or str(self.cache.absolute())

    def home_folder(self, what: str) -> Path:
        """``home`` for something that needs a folder of this machine.

        Raises
        ------
        UsageError
            When it is a bucket; ``what`` is the subject of the sentence.
        """
        if self.bucket is not None:
            raise UsageError(
                f"{what} needs a folder of this machine, and VIZSLA_HOME is a bucket.",
                where=self.bucket,
                allowed=f"with a bucket: train, tune, transform with {spelled('executor', 'ray')} or sagemaker; fit, "
                "evaluate, jobs",
                do="set VIZSLA_HOME to a folder for it",
            )
        return self.home


def usable_cores() -> int:
    """Cores that this process may run on (the affinity mask, not the machine's count)."""
    try:
        return max(1, len(os.sched_getaffinity(0)))
    except AttributeError:  # not on macOS
        return max(1, os.cpu_count() or 1)


def _number(name: str, default: float, least: float) -> float:
    text = os.environ.get(name)
    if text is None or not text.strip():
        return default
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not least <= value < float("inf"):
        raise UsageError(
            f"{name}={text!r} is not a usable number.",
            where=f"environment variable {name}",
            allowed=f"a number of at least {least:g} (default {default:g})",
            do=f"correct or unset {name}",
        )
    return value


def _folder(name: str, default: str) -> Path:
    text = (None if _bucket(name) else os.environ.get(name)) or default
    try:
        return Path(text).expanduser()
    except RuntimeError as error:  # neither HOME nor the system says where it is
        raise UsageError(
            f"The folder {text!r} cannot be found: there is no such home folder.",
            where=f"environment variable {name}",
            allowed="a path, also one that begins with ~",
            do=f"set {name} to a folder that you may write to, or set HOME",
        ) from error


def settings() -> Settings:
    """Read the settings from the environment.

    Raises
    ------
    UsageError
        When a variable does not hold a usable number, or a folder is below a home that is not there.
    """
    cache_base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    bucket, cache_bucket = _bucket("VIZSLA_HOME"), _bucket("VIZSLA_CACHE")
    cache = _folder("VIZSLA_CACHE", f"{cache_base}/vizsla")
    if cache_bucket is not None:
        cache = cache / "caches" / _name_of(cache_bucket)
    return Settings(
        home=_folder("VIZSLA_HOME", "runs") if bucket is None else cache.absolute() / "homes" / _name_of(bucket),
        cache=cache,
        cache_bytes=int(_number("VIZSLA_CACHE_GB", 20, 0.001) * 1e9),
        max_image_bytes=int(_number("VIZSLA_MAX_IMAGE_MB", 64, 0.001) * 1e6),
        max_image_pixels=int(_number("VIZSLA_MAX_MEGAPIXELS", 100, 0.001) * 1e6),
        decode_seconds=_number("VIZSLA_DECODE_SECONDS", 20, 0.001),
        tracking=os.environ.get("VIZSLA_TRACKING", "").strip(),
        threads=int(_number("VIZSLA_THREADS", usable_cores(), 1)),
        bucket=bucket,
        cache_bucket=cache_bucket,
    )


def _bucket(name: str) -> str | None:
    address = os.environ.get(name, "")
    return address.rstrip("/") if address.startswith("s3://") else None


def _name_of(bucket: str) -> str:
    """Of the mirror of a bucket, which has other contents at another service."""
    service = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    return hashlib.sha256(f"{service.rstrip('/')}|{bucket}".encode()).hexdigest()[:16]
