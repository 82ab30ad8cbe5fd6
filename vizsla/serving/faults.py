"""What can go wrong with a request, as a table: a word for it, the HTTP status, the shape of the Runtime API."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from vizsla.errors import IMAGE_ERROR_KINDS, ImageError, MissingExtraError, ModelError, VizslaError


@dataclass(frozen=True)
class Fault:
    """How one kind of trouble is answered.

    ``status`` is what the container answers; ``runtime`` the error shape of ``InvokeEndpoint`` (botocore's
    service model of sagemaker-runtime), which wraps every refusal of the container into ModelError.
    """

    status: int
    runtime: str = "ModelError"


_PICTURE = Fault(400)

FAULTS: dict[str, Fault] = {
    **dict.fromkeys(IMAGE_ERROR_KINDS, _PICTURE),
    "too-many-bytes": Fault(413),
    "body-empty": Fault(400),
    "body-malformed": Fault(400),
    "body-type": Fault(415),
    "body-encoding": Fault(415),
    "body-too-large": Fault(413, "ValidationError"),
    "too-many-pictures": Fault(400),
    "accept": Fault(406),
    "url-off": Fault(403),
    "url-refused": Fault(400),
    "url-failed": Fault(400),
    "explanation": Fault(400),
    "header": Fault(400, "ValidationError"),
    "endpoint-unknown": Fault(400, "ValidationError"),
    "variant-unknown": Fault(400, "ValidationError"),
    "target-needed": Fault(400, "ValidationError"),
    "target-name": Fault(400, "ValidationError"),
    "target-unknown": Fault(404, "ValidationError"),
    "target-loaded": Fault(409, "ValidationError"),
    "target-pinned": Fault(409, "ValidationError"),
    "target-memory": Fault(507, "ServiceUnavailable"),
    "target-damaged": Fault(500),
    "target-starting": Fault(503, "ModelNotReadyException"),
    "code-off": Fault(403),
    "code-failed": Fault(500),
    "code-refused": Fault(400),
    "code-died": Fault(500),
    "code-too-slow": Fault(504),
    "credentials": Fault(403, "AccessDeniedException"),
    "signature": Fault(403, "InvalidSignatureException"),
    "origin": Fault(403, "AccessDeniedException"),
    "path-unknown": Fault(404, "UnknownOperationException"),
    "method": Fault(405, "UnknownOperationException"),
    "overloaded": Fault(503, "ServiceUnavailable"),
    "stopping": Fault(503, "ServiceUnavailable"),
    "internal": Fault(500, "InternalFailure"),
}
"""Kind of trouble to its answer."""


class RequestError(VizslaError):
    """A request that cannot be answered. ``kind`` is one of :data:`FAULTS`, ``status`` the number that a model's own
    code chose instead of the one in that table."""

    def __init__(
        self,
        kind: str,
        what: str,
        *,
        where: object = None,
        allowed: str | None = None,
        do: str | None = None,
        status: int | None = None,
    ) -> None:
        self.kind = kind
        self.status = status
        super().__init__(what, where=where, allowed=allowed, do=do)

    @property
    def fault(self) -> Fault:
        """How it is answered."""
        fault = FAULTS[self.kind]
        return fault if self.status is None else replace(fault, status=self.status)


class ClientGoneError(Exception):
    """The client closed the connection before its answer."""


def as_request_error(error: BaseException) -> RequestError:
    """Any error as one that can be answered; what is not a :class:`VizslaError` is a fault of ours and not shown."""
    if isinstance(error, RequestError):
        return error
    if isinstance(error, ImageError):
        return RequestError(error.kind, error.what, where=error.where, allowed=error.allowed, do=error.do)
    if isinstance(error, ModelError):
        return RequestError(
            "target-damaged", error.what, allowed=error.allowed, do=error.do
        )  # where it is, the log tells
    if isinstance(error, MissingExtraError):
        return RequestError("code-failed", error.what, do=error.do)
    return RequestError("internal", "The server failed; its log tells more under this request's id.")


def container_body(error: RequestError, request_id: str) -> bytes:
    """The error document of the container's doors."""
    document = {
        "Message": error.what,
        "ErrorCode": error.kind,
        "Where": error.where,
        "Allowed": error.allowed,
        "Do": error.do,
        "RequestId": request_id,
    }
    return json.dumps({name: value for name, value in document.items() if value is not None}).encode()


def runtime_answer(error: RequestError, request_id: str) -> tuple[int, bytes]:
    """Status and error document of the Runtime API, with the names of its service model."""
    fault = error.fault
    if fault.runtime == "ModelError":
        side = "client" if fault.status < 500 else "server"
        original = container_body(error, request_id).decode()
        document = {
            "ErrorCode": f"{side.upper()}_ERROR_FROM_MODEL",
            "LogStreamArn": "",
            "Message": f"Received {side} error ({fault.status}) from primary with message {json.dumps(error.what)}. "
            f"The server's log tells more under request id {request_id}.",
            "OriginalMessage": original,
            "OriginalStatusCode": fault.status,
        }
        return 424, json.dumps(document).encode()
    status = RUNTIME_STATUS.get(fault.runtime, fault.status)
    if error.kind == "body-too-large":
        status = 413
    advice = " ".join(part for part in (error.what, error.allowed and f"Allowed: {error.allowed}.", error.do) if part)
    return status, json.dumps({"Message": advice}).encode()


RUNTIME_STATUS = {
    "ValidationError": 400,
    "ModelNotReadyException": 429,
    "ServiceUnavailable": 503,
    "InternalFailure": 500,
    "AccessDeniedException": 403,
    "InvalidSignatureException": 403,
    "UnknownOperationException": 404,
}
"""Error shape of the Runtime API to its HTTP status."""
