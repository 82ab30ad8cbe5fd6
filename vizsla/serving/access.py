"""Who may ask: keys when some are configured, only this machine otherwise, and never another web page."""

from __future__ import annotations

import contextlib
import datetime
import functools
import hmac
import ipaddress
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from vizsla.errors import UsageError
from vizsla.parameters import spelled
from vizsla.serving.faults import RequestError
from vizsla.serving.sigv4 import Claim, SignatureError, SignedRequest, claim_of_headers

API_KEYS, SIGV4_KEYS = "VIZSLA_API_KEYS", "VIZSLA_SIGV4_KEYS"
_SERVICE = "sagemaker"
"""What requests to ``sagemaker-runtime`` are signed for."""


@dataclass(frozen=True)
class Access:
    """``api_keys`` are accepted in ``x-api-key`` or as a bearer token; ``sigv4`` is secret by access key id.
    ``local`` tells that the server listens on loopback only; ``public_origins`` (such as ``https://models.example.com``)
    are what a proxy before it is called."""

    api_keys: tuple[str, ...] = field(default=(), repr=False)
    sigv4: Mapping[str, str] = field(default_factory=dict, repr=False)
    local: bool = True
    public_origins: tuple[str, ...] = ()

    @classmethod
    def from_environment(cls, host: str, *, anonymous: bool, public_origins: Sequence[str] = ()) -> Access:
        """Read the keys; a server that others can reach needs some, unless ``anonymous`` says otherwise.

        Raises
        ------
        UsageError
            When a variable or an origin cannot be read, or keys are needed and there are none.
        """
        for origin in public_origins:
            parts = urlsplit(origin)
            if (
                parts.scheme not in ("http", "https")
                or not parts.netloc
                or origin != f"{parts.scheme}://{parts.netloc}"
            ):
                raise UsageError(
                    f"{origin!r} is no origin.",
                    where="vizsla serve --public-origin",
                    allowed="such as https://models.example.com",
                )
        api_keys = tuple(key.strip() for key in os.environ.get(API_KEYS, "").split(",") if key.strip())
        if not all(map(_fits_header, api_keys)):
            raise UsageError(f"{API_KEYS} holds a key that no header can carry.", allowed=_KEY_SIGNS)
        sigv4 = {}
        for pair in filter(None, map(str.strip, os.environ.get(SIGV4_KEYS, "").split(","))):
            key_id, separator, secret = pair.partition(":")
            if not separator or not key_id or not secret:
                raise UsageError(
                    f"{SIGV4_KEYS} cannot be read.", allowed="ACCESS_KEY_ID:SECRET, several separated by commas"
                )
            if not _fits_header(key_id):
                raise UsageError(f"{SIGV4_KEYS} holds a key id that no header can carry.", allowed=_KEY_SIGNS)
            sigv4[key_id] = secret
        local = is_loopback(host)
        if not local and not api_keys and not sigv4 and not anonymous:
            raise UsageError(
                f"On {host} everybody who can reach this machine could use the server.",
                parameter="host",
                do=f"set {API_KEYS} or {SIGV4_KEYS}, or listen on 127.0.0.1, or say {spelled('allow_anonymous', True)}",
            )
        return cls(api_keys, sigv4, local, tuple(public_origins))

    @property
    def open(self) -> bool:
        """Whether no key is needed."""
        return not self.api_keys and not self.sigv4

    def check(self, headers: Mapping[str, str]) -> Claim | None:
        """Let a request pass by its headers, or not; a signature is left to verify when the body has come.

        Raises
        ------
        RequestError
            ``credentials`` or ``signature``.
        """
        if self.open:
            return None
        offered = headers.get("x-api-key") or ""
        authorization = headers.get("authorization") or ""
        if not offered and authorization.lower().startswith("bearer "):
            offered = authorization[7:].strip()
        if offered:
            matches = [hmac.compare_digest(offered.encode(), key.encode()) for key in self.api_keys]
            if any(matches):
                return None
            raise RequestError("credentials", "The API key is not known here.", where="header x-api-key")
        if not self.sigv4:
            raise RequestError(
                "credentials", "An API key is needed.", where="header x-api-key", do="send it as x-api-key: KEY"
            )
        with _refused_in_words():
            claim = claim_of_headers(headers)
            if claim.key_id not in self.sigv4:
                words = "The security token included in the request is invalid."
                raise RequestError("credentials", words, where=claim.key_id)
            if claim.service != _SERVICE:
                words = f"Credential should be scoped to correct service: {_SERVICE}."
                raise RequestError("signature", words, where=claim.service)
            claim.check(headers, datetime.datetime.now(datetime.UTC))
        return claim

    def verify(self, claim: Claim, request: SignedRequest) -> None:
        """Prove what :meth:`check` has let pass.

        Raises
        ------
        RequestError
            ``signature``.
        """
        with _refused_in_words():
            claim.verify(request, self.sigv4[claim.key_id])

    def check_client(self, address: str) -> None:
        """Refuse whoever is on another machine, where anybody on this one may ask: the server listens on loopback, but
        a proxy that hands it the requests (Ray Serve's) may not.

        Parameters
        ----------
        address:
            Where the request comes from; empty when that is not known.

        Raises
        ------
        RequestError
            ``origin``.
        """
        if self.local and self.open and address and not is_loopback(address):
            raise RequestError(
                "origin",
                f"This server answers its own machine alone, and no other ({address[:100]}).",
                do=f"start it by `vizsla serve --host 0.0.0.0` with {API_KEYS} or {SIGV4_KEYS} set",
            )

    def check_origin(self, headers: Mapping[str, str]) -> None:
        """Refuse requests that a page of another site makes a browser send: of another origin, or, where anybody on
        this machine may ask, by a name that was bent to it.

        Raises
        ------
        RequestError
            ``origin`` for a foreign page, or a foreign name that was bent to this machine (DNS rebinding).
        """
        host, origin = headers.get("host", ""), headers.get("origin")
        hosts = {urlsplit(one).netloc for one in self.public_origins}
        if self.local and self.open and host and host not in hosts and not is_loopback(_name(host)):
            raise RequestError(
                "origin",
                f"This server is not called {host[:100]!r}.",
                where="header Host",
                allowed=", ".join(["localhost", "127.0.0.1", *sorted(hosts)]),
                do="start it by `vizsla serve --public-origin` if a proxy calls it by that name",
            )
        if origin is not None and origin not in self.public_origins and _netloc(origin) != host:
            raise RequestError(
                "origin",
                "Pages of other sites may not use this server.",
                where="header Origin",
                do="start it by `vizsla serve --public-origin` if that is a proxy before it",
            )


@contextlib.contextmanager
def _refused_in_words() -> Iterator[None]:
    try:
        yield
    except SignatureError as error:
        if error.problem not in ("missing", "unsupported"):
            raise RequestError("signature", error.words) from error
        raise RequestError(
            "credentials",
            error.words,
            where="header Authorization",
            allowed="AWS Signature Version 4 (boto3 signs by itself), or an API key in x-api-key",
        ) from error


_KEY_SIGNS = "letters, digits and signs of ASCII"


def _fits_header(key: str) -> bool:
    """Whether every client sends it as the same bytes."""
    return key.isascii() and key.isprintable()


def _netloc(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:  # brackets that are not closed
        return ""


@functools.lru_cache(maxsize=64)
def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's loopback."""
    if host in ("localhost", ""):
        return host == "localhost"
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
