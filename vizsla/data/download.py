"""Fetching one file by http(s): goes on where it stopped, checks what came, fetches again only what changed."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import socket
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path

from vizsla.cache import filling, use
from vizsla.data.progress import Progress
from vizsla.errors import SourceError
from vizsla.files import sha256_file, storage, write_json
from vizsla.version import VERSION

_BLOCK = 1 << 18
_ATTEMPTS = 5
_TIMEOUT_SECONDS = 30
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
_WORDS = {
    401: ("The server wants a login (401).", "fetch the file yourself, and name it"),
    403: ("The server refuses access (403).", "check the address, or sign it anew if it was a signed one"),
    404: ("There is no such file on the server (404).", "check the address"),
    410: ("The file is gone from the server (410).", "look for its new address"),
}


@dataclass
class _RemoteFile:
    """What is known of the remote file; kept beside what has arrived of it."""

    url: str
    etag: str | None = None
    modified: str | None = None
    size: int | None = None


def download(
    url: str,
    cache: Path,
    *,
    sha256: str | None = None,
    on_progress: Progress = lambda done, total: None,
    wait: float = 1.0,
) -> Path:
    """Fetch ``url`` into the cache and return the file.

    What arrived before a break, in this process or an earlier one, is kept and the rest is asked for by Range;
    a file that changed on the server in between is fetched anew. A file that is there already is only
    revalidated (by ETag or Last-Modified). Of several processes one fetches, and the others wait for it.

    Parameters
    ----------
    sha256:
        The checksum that the file must have, 64 hexadecimal digits.
    wait:
        Seconds before the second attempt; doubled for each further one.

    Raises
    ------
    SourceError
        When the host or the file cannot be reached, or what came is not what was promised.
    """
    address = urllib.parse.urlsplit(url)
    name = Path(urllib.parse.unquote(address.path)).name or "download"
    folder = cache / "downloads" / hashlib.sha256(url.encode()).hexdigest()[:16]
    file = folder / name
    with filling(folder):
        with storage(folder):
            folder.mkdir(parents=True, exist_ok=True)
        _attempts(url, file, on_progress, wait)
        if sha256 is not None:
            _verify(file, sha256, url)
        use(folder, _shown(url), file.stat().st_size)
    return file


def _attempts(url: str, file: Path, on_progress: Progress, wait: float) -> None:
    part, card_file = file.with_name(f"{file.name}.part"), file.with_name("card.json")
    broken: Exception | None = None
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(wait * 2 ** (attempt - 1))
        before = part.stat().st_size if part.is_file() else 0
        try:
            _fetch(url, file, part, card_file, on_progress)
            break
        except urllib.error.HTTPError as error:
            if error.code == 416:  # the part is longer than the file has become
                part.unlink(missing_ok=True)
            elif error.code not in _TRANSIENT:
                what, do = _WORDS.get(error.code, (f"The server answered {error.code} {error.reason}.", "try later"))
                raise SourceError(what, where=_shown(url), do=do) from error
            broken = error
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            if isinstance(reason, socket.gaierror | ConnectionRefusedError) and not before:
                raise _unreachable(url, reason) from error
            broken = error
    else:
        arrived = part.stat().st_size if part.is_file() else 0
        raise SourceError(
            f"The download broke off {_ATTEMPTS} times ({broken}).",
            where=_shown(url),
            do=f"run the same command again: it goes on after the {arrived:,} bytes that have arrived",
        )


def _fetch(url: str, file: Path, part: Path, card_file: Path, on_progress: Progress) -> None:
    """One attempt; leaves the whole file, or more of the part."""
    card = _read_card(card_file)
    if card is None or card.url != url:
        part.unlink(missing_ok=True)
        card = _RemoteFile(url)
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"User-Agent": f"vizsla/{VERSION}", "Accept-Encoding": "identity"})
    unchanged = card.etag or card.modified
    if file.is_file() and unchanged:
        request.add_header("If-None-Match" if card.etag else "If-Modified-Since", unchanged)
        have = 0
    elif have and unchanged:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", unchanged)
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == 304:
            return
        raise
    with response:
        if response.status != 206:
            have = 0
        elif not _continues(response, card, have):
            part.unlink(missing_ok=True)
            raise http.client.HTTPException("the file has changed on the server")
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else 0
        new = _RemoteFile(url, response.headers.get("ETag"), response.headers.get("Last-Modified"), total or None)
        with storage(part):
            write_json(card_file, asdict(new), make_folder=True)
            target = open(part, "ab" if have else "wb")  # noqa: SIM115 -- a broken connection is no fault of the disk
        with target:
            while block := response.read(_BLOCK):
                with storage(part):
                    target.write(block)
                have += len(block)
                on_progress(have, total)
    if total and have < total:
        raise http.client.IncompleteRead(b"", total - have)
    if total and have > total:
        part.unlink(missing_ok=True)
        raise http.client.HTTPException(f"{have:,} bytes came instead of {total:,}")
    with storage(file):
        part.replace(file)


def _continues(response: http.client.HTTPResponse, card: _RemoteFile, have: int) -> bool:
    """Whether what comes is the rest of the file that has begun to arrive: not every server heeds If-Range."""
    span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if span is None or int(span[1]) != have or (card.size and span[2] not in ("*", str(card.size))):
        return False
    etag, modified = response.headers.get("ETag"), response.headers.get("Last-Modified")
    if card.etag:
        return etag == card.etag
    return modified is None or modified == card.modified


def _verify(file: Path, expected: str, url: str) -> None:
    digest = sha256_file(file)
    if digest != expected.lower():
        file.unlink()
        raise SourceError(
            f"The file's SHA-256 is {digest}, not {expected.lower()}.",
            where=_shown(url),
            do="check the checksum and the address; the file was thrown away",
        )


def _unreachable(url: str, reason: object) -> SourceError:
    host = urllib.parse.urlsplit(url).netloc.rpartition("@")[2]
    return SourceError(
        f"The host {host} cannot be reached ({reason}).",
        where=_shown(url),
        do="check the address and the network (http_proxy and https_proxy are heeded)",
    )


def _shown(url: str) -> str:
    """The address without login and query, which may hold secrets."""
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _read_card(path: Path) -> _RemoteFile | None:
    try:
        return _RemoteFile(**json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None
