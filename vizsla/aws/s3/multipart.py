"""The operations of uploads in parts."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vizsla.aws.errors import AwsError
from vizsla.aws.s3 import checksums, conditions, uploads, xml
from vizsla.aws.s3 import metadata as meta
from vizsla.aws.s3.calls import Answer, Call, document, iso
from vizsla.aws.s3.keys import names_of
from vizsla.aws.s3.metadata import Metadata
from vizsla.aws.s3.objects import copy_range, incoming, put_in_place
from vizsla.aws.s3.uploads import MOST_PARTS, Part, Upload
from vizsla.aws.s3.writes import opened_source

_LEAST_PART = 5 << 20
_RANGE = re.compile(r"bytes=(\d+)-(\d+)")
_FULL = "FULL_OBJECT"


def create_upload(call: Call) -> Answer:
    """Begin one."""
    request = call.request
    names_of(request.key)
    algorithm = request.headers.get("x-amz-checksum-algorithm", "").lower()
    if algorithm and algorithm not in checksums.ALGORITHMS:
        raise AwsError("InvalidRequest", f"Checksum algorithm provided is unsupported: {algorithm[:50]!r}.")
    kind = request.headers.get("x-amz-checksum-type", _FULL if algorithm == "crc64nvme" else "COMPOSITE").upper()
    upload = uploads.begin(
        call.site.home,
        call.made_bucket,
        request.key,
        time.time(),
        headers=request.kept_headers(),
        user=request.user_metadata(),
        algorithm=algorithm,
        checksum_type=kind,
    )
    headers = {"x-amz-checksum-algorithm": algorithm.upper(), "x-amz-checksum-type": kind} if algorithm else {}
    return document(
        "InitiateMultipartUploadResult",
        {"Bucket": request.bucket, "Key": request.key, "UploadId": upload.id},
        headers,
    )


def check_part(call: Call) -> None:
    """What can be refused before a part has come."""
    _find(call)
    _number(call)


def upload_part(call: Call) -> Answer:
    """The content that has come becomes a part."""
    _, folder = _find(call)
    content = call.received
    made = Metadata(content.md5, checksums=dict(content.checksums))
    meta.keep(content.file, made)
    _place(content.path, folder, _number(call))
    return Answer(headers={"etag": f'"{made.etag}"', **checksums.headers_of(made.checksums)})


def upload_part_copy(call: Call) -> Answer:
    """A range of an object of this server becomes a part."""
    upload, folder = _find(call)
    number = _number(call)
    root = call.bucket
    with opened_source(call) as source, incoming(call.site.home, root) as path:
        start, count = _source_range(call.request.headers.get("x-amz-copy-source-range"), source.size)
        with open(path, "x+b", buffering=0) as target:
            copy_range(source.file, target, start, count)
            made = _measured(path, upload.algorithm)
            meta.keep(target.fileno(), made)
        modified = path.stat().st_mtime
        _place(path, folder, number)
    return document("CopyPartResult", {"ETag": f'"{made.etag}"', "LastModified": iso(modified), **_named(made)})


def _measured(path: Path, algorithm: str) -> Metadata:
    digest = checksums.ALGORITHMS[algorithm]() if algorithm else None
    md5 = hashlib.md5(usedforsecurity=False)
    with open(path, "rb", buffering=0) as file:
        while data := file.read(1 << 20):
            md5.update(data)
            if digest is not None:
                digest.update(data)
    found = {algorithm: checksums.base64_of(digest.digest())} if digest is not None else {}
    return Metadata(md5.hexdigest(), checksums=found)


def _source_range(header: str | None, size: int) -> tuple[int, int]:
    if header is None:
        return 0, size
    match = _RANGE.fullmatch(header)
    if match is None or int(match[2]) < int(match[1]) or int(match[2]) >= size:
        raise AwsError("InvalidRange", f"The range {header[:100]!r} is not valid for a source object of size {size}.")
    return int(match[1]), int(match[2]) - int(match[1]) + 1


def _place(path: Path, folder: Path, number: int) -> None:
    try:
        os.replace(path, uploads.part_file(folder, number))
    except FileNotFoundError as error:  # aborted or completed meanwhile
        raise AwsError("NoSuchUpload", "The specified upload does not exist any more.", 404) from error


def complete_upload(call: Call) -> Answer:
    """The parts that the client names become an object."""
    upload, folder = _find(call)
    request = call.request
    root = call.bucket
    parts = _chosen(call, uploads.parts_of(folder))
    made = Metadata(_etag(parts), upload.headers, upload.user, _checksum(call, upload, parts))
    with incoming(call.site.home, root) as path:
        with open(path, "xb", buffering=0) as target:
            for part in parts:
                try:
                    with open(part.path, "rb", buffering=0) as file:
                        copy_range(file, target, 0, part.size)
                except FileNotFoundError as error:  # another has completed it
                    raise AwsError("NoSuchUpload", "The specified upload does not exist any more.", 404) from error
            meta.keep(target.fileno(), made)
        put_in_place(root, request.key, path, conditions.of_write(request.headers))
    uploads.end(folder)
    tree = {
        "Location": f"{request.headers.get('host', '')}/{request.bucket}/{request.key}",
        "Bucket": request.bucket,
        "Key": request.key,
        "ETag": f'"{made.etag}"',
        "ChecksumType": upload.checksum_type if made.checksums else None,
    }
    return document("CompleteMultipartUploadResult", tree | _named(made))


def _chosen(call: Call, there: dict[int, Part]) -> list[Part]:
    root = xml.read(call.body)
    entries = root.findall("Part")
    if root.tag != "CompleteMultipartUpload" or not entries:
        raise AwsError("MalformedXML", "The XML you provided was not well-formed: CompleteMultipartUpload with Parts.")
    chosen: list[Part] = []
    for entry in entries:
        number, etag = xml.text(entry, "PartNumber") or "", (xml.text(entry, "ETag") or "").strip().strip('"')
        part = there.get(int(number)) if re.fullmatch(r"\d{1,5}", number) else None
        if part is None or part.metadata.etag != etag:
            raise AwsError(
                "InvalidPart",
                f"One or more of the specified parts could not be found, or its ETag is another: part {number[:20]!r}.",
            )
        if chosen and part.number <= chosen[-1].number:
            raise AwsError("InvalidPartOrder", "The list of parts was not in ascending order.")
        for algorithm in checksums.ALGORITHMS:
            given = xml.text(entry, f"Checksum{algorithm.upper()}")
            if given is not None and part.metadata.checksums.get(algorithm, given) != given:
                raise AwsError("InvalidPart", f"The {algorithm.upper()} of part {number} is another than was given.")
        chosen.append(part)
    small = next((part for part in chosen[:-1] if part.size < _LEAST_PART), None)
    if small is not None:
        raise AwsError(
            "EntityTooSmall",
            "Your proposed upload is smaller than the minimum allowed size: "
            f"part {small.number} has {small.size} bytes.",
        )
    return chosen


def _etag(parts: Sequence[Part]) -> str:
    joined = b"".join(bytes.fromhex(part.metadata.etag) for part in parts)
    return f"{hashlib.md5(joined, usedforsecurity=False).hexdigest()}-{len(parts)}"


def _checksum(call: Call, upload: Upload, parts: Sequence[Part]) -> dict[str, str]:
    algorithm = upload.algorithm
    values = [part.metadata.checksums.get(algorithm, "") for part in parts]
    if not algorithm or not all(values):
        return {}
    if upload.checksum_type == _FULL:
        value = checksums.whole(algorithm, [(text, part.size) for text, part in zip(values, parts, strict=True)])
    else:
        value = checksums.composite(algorithm, values)
    given = call.request.headers.get(checksums.HEADER + algorithm)
    if given is not None and given.split("-")[0] != value.split("-")[0]:
        raise AwsError(
            "BadDigest",
            f"The {algorithm.upper()} you specified did not match the calculated checksum: {given[:100]} was given, "
            f"{value} is that of the parts.",
        )
    return {algorithm: value}


def abort_upload(call: Call) -> Answer:
    """Forget one."""
    _, folder = _find(call)
    uploads.end(folder)
    return Answer(204)


def list_parts(call: Call) -> Answer:
    """What has come of an upload."""
    upload, folder = _find(call)
    most = call.request.number("max-parts", 1000, 1000, 1)
    after = call.request.number("part-number-marker", 0, MOST_PARTS)
    parts = [part for number, part in uploads.parts_of(folder).items() if number > after]
    tree = {
        "Bucket": call.request.bucket,
        "Key": upload.key,
        "UploadId": upload.id,
        "PartNumberMarker": after,
        "NextPartNumberMarker": parts[:most][-1].number if parts else None,
        "MaxParts": most,
        "IsTruncated": len(parts) > most,
        "StorageClass": "STANDARD",
        "Part": [
            {
                "PartNumber": part.number,
                "LastModified": iso(part.modified),
                "ETag": f'"{part.metadata.etag}"',
                "Size": part.size,
                **_named(part.metadata),
            }
            for part in parts[:most]
        ],
    }
    return document("ListPartsResult", tree)


def list_uploads(call: Call) -> Answer:
    """The uploads to a bucket that are not completed: all of them, at once."""
    prefix = call.request.query.get("prefix", "")
    found = [upload for upload in uploads.all_of(call.site.home, call.bucket) if upload.key.startswith(prefix)]
    tree = {
        "Bucket": call.request.bucket,
        "Prefix": prefix,
        "MaxUploads": max(1000, len(found)),
        "IsTruncated": False,
        "Upload": [
            {"Key": upload.key, "UploadId": upload.id, "StorageClass": "STANDARD", "Initiated": iso(upload.begun)}
            for upload in found
        ],
    }
    return document("ListMultipartUploadsResult", tree)


def _find(call: Call) -> tuple[Upload, Path]:
    return uploads.find(call.site.home, call.bucket, call.request.key, call.request.query.get("uploadId", ""))


def _number(call: Call) -> int:
    text = call.request.query.get("partNumber", "")
    if not re.fullmatch(r"\d{1,5}", text) or not 1 <= int(text) <= MOST_PARTS:
        raise AwsError("InvalidArgument", f"Part number must be an integer between 1 and {MOST_PARTS}, inclusive.")
    return int(text)


def _named(metadata: Metadata) -> dict[str, Any]:
    return {f"Checksum{name.upper()}": value for name, value in metadata.checksums.items()}
