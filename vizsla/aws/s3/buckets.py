"""The operations on buckets."""

from __future__ import annotations

import os
import shutil

from vizsla.aws.errors import AwsError
from vizsla.aws.s3 import xml
from vizsla.aws.s3.calls import Answer, Call, document, iso
from vizsla.aws.s3.listing import is_empty
from vizsla.aws.s3.places import BUCKETS, bucket_place, ensure_bucket

_MOST_BUCKETS = 10_000


def list_buckets(call: Call) -> Answer:
    """All of them by name, or a page of those that begin with a prefix."""
    request, folder = call.request, call.site.home / BUCKETS
    prefix, after = request.query.get("prefix", ""), request.query.get("continuation-token", "")
    places = [
        place
        for place in (sorted(folder.iterdir()) if folder.is_dir() else [])
        if place.is_dir() and not place.name.startswith(".") and place.name.startswith(prefix) and place.name > after
    ]
    page = places[: request.number("max-buckets", _MOST_BUCKETS, _MOST_BUCKETS, 1)]
    return document(
        "ListAllMyBucketsResult",
        {
            "Owner": {"ID": call.site.account, "DisplayName": "vizsla"},
            "Buckets": {
                "Bucket": [{"Name": place.name, "CreationDate": iso(os.lstat(place).st_mtime)} for place in page]
            },
            "ContinuationToken": page[-1].name if len(page) < len(places) else None,
            "Prefix": prefix or None,
        },
    )


def create_bucket(call: Call) -> Answer:
    """Make a folder. In us-east-1 making one's own bucket again is no error."""
    name = call.request.bucket
    region = call.site.region
    if call.body.strip():
        region = xml.text(xml.read(call.body), "LocationConstraint") or region
    if bucket_place(call.site.home, name).is_dir() and region != "us-east-1":
        raise AwsError(
            "BucketAlreadyOwnedByYou", f"You own a bucket {name} already, and this one is of region {region}.", 409
        )
    ensure_bucket(call.site.home, name)
    return Answer(headers={"location": f"/{name}"})


def head_bucket(call: Call) -> Answer:
    """Whether there is one."""
    _ = call.bucket
    return Answer(headers={"x-amz-bucket-region": call.site.region, "content-type": "application/xml"})


def delete_bucket(call: Call) -> Answer:
    """Remove an empty one; of a linked folder the link alone."""
    place = call.bucket
    if not is_empty(place):
        raise AwsError("BucketNotEmpty", "The bucket you tried to delete is not empty.", 409)
    if place.is_symlink():
        place.unlink()
    else:
        shutil.rmtree(place)
    return Answer(204)


def get_location(call: Call) -> Answer:
    """The region; of us-east-1 nothing, as S3 does."""
    _ = call.bucket
    region = None if call.site.region == "us-east-1" else call.site.region
    body = xml.write("LocationConstraint", {})
    if region:
        body = body.replace(b" />", f">{region}</LocationConstraint>".encode())
    return Answer(headers={"content-type": "application/xml"}, body=body)


def get_versioning(call: Call) -> Answer:
    """There are no versions."""
    _ = call.bucket
    return document("VersioningConfiguration", {})
