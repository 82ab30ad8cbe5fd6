"""Where buckets and their objects lie: a bucket is a folder below the home, or a link to one of the user's."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from pathlib import Path

from vizsla.aws.context import STATE
from vizsla.aws.errors import AwsError
from vizsla.aws.s3.keys import BESIDE, INNER, names_of, part_of
from vizsla.files import storage

BUCKETS = "buckets"
"""The folder below the home that holds them."""

_NAME = re.compile(r"(?!\d+\.\d+\.\d+\.\d+$)[a-z0-9](?:[a-z0-9]|[.-](?=[a-z0-9-])){1,61}[a-z0-9]")


def check_bucket_name(bucket: str) -> None:
    """That a bucket may be called so.

    Raises
    ------
    AwsError
        InvalidBucketName.
    """
    if not _NAME.fullmatch(bucket):
        raise AwsError(
            "InvalidBucketName",
            f"The specified bucket is not valid: {bucket[:100]!r}. Allowed are 3 to 63 lower-case letters, digits, "
            "hyphens and dots.",
        )


def bucket_place(home: Path, bucket: str) -> Path:
    """The folder that a bucket is, whether it exists or not.

    Raises
    ------
    AwsError
        InvalidBucketName.
    """
    check_bucket_name(bucket)
    return home / BUCKETS / bucket


def find_bucket(home: Path, bucket: str) -> Path:
    """The folder of a bucket that exists.

    Raises
    ------
    AwsError
        NoSuchBucket, InvalidBucketName.
    """
    place = bucket_place(home, bucket)
    if not place.is_dir():
        raise no_such_bucket(place)
    return place


def no_such_bucket(place: Path) -> AwsError:
    """The refusal for a bucket that is not here."""
    link = " (it is a link to a folder that is gone)" if place.is_symlink() else ""
    return AwsError(
        "NoSuchBucket",
        f"The specified bucket does not exist here: there is no folder {place}{link}. It is not fetched from AWS "
        f"(that needs `vizsla aws run --pass-through`). `aws s3 mb s3://{place.name}` makes it, and so does the first "
        "object that is put into it; a link at that place makes a folder of yours the bucket.",
        404,
    )


def ensure_bucket(home: Path, bucket: str) -> Path:
    """The folder of a bucket, made where there is none.

    Raises
    ------
    AwsError
        InvalidBucketName, NoSuchBucket for a link to a folder that is gone.
    StorageError
        When it cannot be made.
    """
    place = bucket_place(home, bucket)
    if not place.is_dir():
        if place.is_symlink():
            raise no_such_bucket(place)
        with storage(place):
            place.mkdir(parents=True, exist_ok=True)
    return place


def link_bucket(home: Path, bucket: str, folder: Path) -> Path:
    """Make a folder of the user's a bucket; its files are its objects, and stay where they are.

    Raises
    ------
    AwsError
        InvalidBucketName, BucketAlreadyExists, InvalidArgument for what is no folder.
    StorageError
        When the link cannot be made.
    """
    place = bucket_place(home, bucket)
    if not folder.is_dir():
        raise AwsError("InvalidArgument", f"There is no folder {folder}, which was to be the bucket {bucket}.")
    with storage(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            place.symlink_to(folder.resolve())
        except FileExistsError as error:
            raise AwsError("BucketAlreadyExists", f"There is a bucket {bucket} already, at {place}.", 409) from error
    return place


def staging(home: Path, root: Path) -> Path:
    """The folder for what is not an object yet, on the bucket's disk, so that it can be renamed into place."""
    ours = home / STATE / "s3"
    if not ours.is_dir():
        ours.mkdir(parents=True, exist_ok=True)
    return ours if os.stat(root).st_dev == os.stat(ours).st_dev else root / INNER


def file_of(root: Path, key: str) -> Path:
    """The file of an object, as it is or where it will be.

    Raises
    ------
    AwsError
        For keys that cannot be files.
    """
    plain = plain_file(root, key)
    beside = beside_of(plain)
    return Path(beside if not os.path.isfile(plain) and os.path.isfile(beside) else plain)


def plain_file(root: Path, key: str) -> str:
    """The file of an object whose name no folder has.

    Raises
    ------
    AwsError
        For keys that cannot be files.
    """
    return os.path.join(root, *names_of(key))


def beside_of(plain: str) -> str:
    """The file of an object whose name a folder has."""
    folder, _, name = plain.rpartition("/")
    return f"{folder}/{BESIDE}{name}"


def split(uri: str) -> tuple[str, str]:
    """``s3://bucket/a/b`` to ("bucket", "a/b").

    Raises
    ------
    AwsError
        InvalidArgument where it is no such address.
    """
    scheme, separator, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme != "s3" or not separator or not bucket:
        raise AwsError("InvalidArgument", f"{uri[:200]!r} is no address of a bucket: s3://bucket/key was expected.")
    return bucket, key


def path_of(home: Path, uri: str) -> Path:
    """The file or folder of an address such as ``s3://bucket/key`` or ``s3://bucket/prefix/``, existing or not.

    Raises
    ------
    AwsError
        NoSuchBucket, and for keys that cannot be files.
    """
    bucket, key = split(uri)
    root = find_bucket(home, bucket)
    key = key.removesuffix("/")
    return file_of(root, key) if key else root


def uri_of(home: Path, path: Path) -> str:
    """The address of a file or folder in a bucket.

    Raises
    ------
    AwsError
        InvalidArgument where it is in none.
    """
    path = path.absolute()
    buckets = home.absolute() / BUCKETS
    with contextlib.suppress(ValueError):
        bucket, *names = path.relative_to(buckets).parts
        return _uri(bucket, names)
    if buckets.is_dir():
        for place in sorted(buckets.iterdir()):
            if place.is_symlink() and path.is_relative_to(place.resolve()):
                return _uri(place.name, path.relative_to(place.resolve()).parts)
    raise AwsError("InvalidArgument", f"{path} lies in no bucket.")


def _uri(bucket: str, names: list[str] | tuple[str, ...]) -> str:
    return "s3://" + "/".join([bucket, *(part_of(name) or "" for name in names)])


def tidy(home: Path, incoming_before: float, uploads_before: float) -> None:
    """Remove what killed servers have left in the staging folders: files and uploads older than these times.

    Parameters
    ----------
    incoming_before, uploads_before:
        Seconds since 1970.
    """
    places = [home / STATE / "s3", *(place / INNER for place in (home / BUCKETS).glob("*"))]
    for place in places:
        for path in (*place.glob("incoming/*"), *place.glob("uploads/*")):
            with contextlib.suppress(OSError):
                if path.is_dir() and path.stat().st_mtime < uploads_before:
                    shutil.rmtree(path, ignore_errors=True)
                elif path.is_file() and path.stat().st_mtime < incoming_before:
                    path.unlink()
