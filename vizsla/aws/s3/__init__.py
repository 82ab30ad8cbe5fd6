"""S3 over folders: a bucket is a folder below the home, an object a file in it; jobs read them without copying."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from vizsla.aws.context import ACCOUNT, REGION
from vizsla.aws.s3.application import S3Application
from vizsla.aws.s3.calls import Site
from vizsla.aws.s3.places import tidy
from vizsla.aws.s3.upstream import Upstream

_DAY = 24 * 3600


def application(
    home: Path,
    *,
    account: str = ACCOUNT,
    region: str = REGION,
    keys: Mapping[str, str] | None = None,
    make_buckets: bool = True,
    pass_through: bool = False,
) -> S3Application:
    """The door as an ASGI application; scopes of ``http`` alone.

    Parameters
    ----------
    home:
        Its folder ``buckets`` holds the buckets.
    keys:
        Secret key by access key id; without any, signatures are not looked at.
    make_buckets:
        Whether writing to a bucket that is not here makes it: notebooks name buckets of their author's account.
    pass_through:
        Whether objects of buckets that are not here are read from AWS.
    """
    now = time.time()
    home = home.absolute()
    tidy(home, now - _DAY, now - 7 * _DAY)
    site = Site(home, account, region, dict(keys or {}), make_buckets)
    return S3Application(site, Upstream() if pass_through else None)
