"""The shared components of the OpenAPI document: security schemes, parameters, headers, failures."""

from dataclasses import dataclass
from typing import Any

from edge.body import MAX_BODY_BYTES
from models.errors import Misdirected, UnsupportedMedia
from rest import problems

JsonObject = dict[str, Any]

SECURITY_SCHEMES: JsonObject = {
    "userId": {"type": "apiKey", "in": "header", "name": "X-User-Id", "description": "Goes with `X-Auth-Token`."},
    "authToken": {"type": "apiKey", "in": "header", "name": "X-Auth-Token", "description": "Goes with `X-User-Id`."},
    "bearer": {"type": "http", "scheme": "bearer", "description": "The same token, without the user's id."},
}
SECURITY: list[JsonObject] = [{"userId": [], "authToken": []}, {"bearer": []}]

PARAMETERS: JsonObject = {
    "RequestId": {
        "name": "X-Request-Id",
        "in": "header",
        "description": "An id of your own for the log and the answer: 1 to 64 characters of A-Z a-z 0-9 . _ and -. "
        "Without it, with anything else, or where the server is overloaded, one is made.",
        "schema": {"type": "string"},
    }
}


def _header(description: str, **schema: Any) -> JsonObject:
    return {"description": description, "required": True, "schema": schema}


RESPONSE_HEADERS: JsonObject = {
    "X-Request-Id": _header("Id of the request.", type="string", pattern="^[A-Za-z0-9._-]{1,64}$"),
    "Cache-Control": _header("The response must not be stored.", type="string", const="no-store"),
    "Retry-After": _header("Seconds to wait.", type="integer", minimum=1),
    "X-RateLimit-Limit": _header("Requests allowed in the window.", type="integer", minimum=1),
    "X-RateLimit-Remaining": _header("Requests left in the window.", type="integer", minimum=0),
    "X-RateLimit-Reset": _header("Seconds until the window ends.", type="integer", minimum=0),
    "Allow": _header("The methods that the endpoint has.", type="string"),
}
COMMON_FAILURES = ("X-Request-Id", "Cache-Control")
RATE = ("Retry-After", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")


@dataclass(frozen=True, slots=True)
class DocumentedFailure:
    """A failure that several endpoints share: its name in the document, its body and its headers."""

    name: str
    description: str
    body: type
    error: str
    more: tuple[tuple[str, str], ...] = ()
    headers: tuple[str, ...] = ()

    @property
    def example(self) -> JsonObject:
        return {"success": False, "error": self.error, **dict(self.more)}


FAILURES = {
    401: DocumentedFailure(
        "Unauthorized",
        "Missing or invalid credentials.",
        problems.Unauthorized,
        problems.UNAUTHORIZED["error"],
        (("status", problems.UNAUTHORIZED["status"]), ("message", problems.UNAUTHORIZED["message"])),
    ),
    403: DocumentedFailure(
        "Forbidden",
        "The permission is missing, or a web page of another origin asks for a change.",
        problems.Failure,
        "unauthorized",
    ),
    404: DocumentedFailure("NotFound", "There is no such inbox.", problems.Failure, "Resource not found"),
    405: DocumentedFailure(
        "NotAllowed", "The endpoint has no such method.", problems.Failure, "Method Not Allowed", (), ("Allow",)
    ),
    413: DocumentedFailure(
        "TooLarge", f"The body is over {MAX_BODY_BYTES // 1024**2} MiB.", problems.Failure, "error-too-large"
    ),
    415: DocumentedFailure(
        "UnsupportedMedia",
        "The `Content-Type` of the body is not `application/json`.",
        problems.Failure,
        str(UnsupportedMedia()),
    ),
    421: DocumentedFailure(
        "Misdirected", "The `Host` header does not name this server.", problems.Failure, str(Misdirected())
    ),
    429: DocumentedFailure(
        "TooManyRequests",
        "Too many requests, or too many failed attempts.",
        problems.TooManyRequests,
        "error-too-many-requests",
        (("message", "Error, too many requests. Please slow down. You must wait 9 seconds before trying again."),),
        RATE,
    ),
    500: DocumentedFailure(
        "Fault",
        "A fault of the server. The log says more, under the id.",
        problems.Fault,
        "Internal server error",
        (("requestId", "vyFc8N3pN74cpFi6x"),),
    ),
    503: DocumentedFailure(
        "Unavailable",
        "The server is not ready, overloaded or stopping, or its disk is full.",
        problems.Failure,
        "The server can't do this at the moment. Try again.",
        headers=("Retry-After",),
    ),
}
