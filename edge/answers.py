"""JSON responses and their common header fields."""

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from models.errors import MAX_QUOTED_LENGTH, ProductError, shortened

MESSAGE_LENGTH = 1_000
_NAME = re.compile(rf"\w{{{MAX_QUOTED_LENGTH + 1},}}")
COMMON_HEADERS = MappingProxyType({"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"})
_COMMON = tuple((name.lower().encode(), value.encode()) for name, value in COMMON_HEADERS.items())


def to_json(value: Any) -> bytes:
    """The value as JSON. Escapes lone surrogates, which UTF-8 can't encode."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value).encode("ascii")


def to_iso(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds, such as 2026-01-31T12:00:00.000Z."""
    utc = moment.astimezone(UTC)
    # Lists hold many timestamps, and isoformat() takes three times as long.
    date = (utc.year, utc.month, utc.day, utc.hour, utc.minute, utc.second, utc.microsecond // 1_000)
    return "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ" % date  # noqa: UP031 - format() takes twice as long


class JsonAnswer(Response):
    """A JSON response that is not cached. Builds its own header fields, because Starlette takes longer."""

    background = None

    def __init__(
        self,
        content: Any,
        status_code: int = 200,
        headers: dict[str, str] | None = None,
        content_type: bytes = b"application/json",
    ) -> None:
        self.status_code = status_code
        self.body = body = to_json(content)
        more = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()] if headers else []
        length = b"%d" % len(body)
        self.raw_headers = [*_COMMON, *more, (b"content-length", length), (b"content-type", content_type)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await super().__call__(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body})


def graphql_error(message: str, code: str, request_id: str) -> dict[str, Any]:
    """An error in GraphQL's format, for a request that never reaches the schema."""
    return {"message": without_long_names(message), "extensions": {"code": code, "requestId": request_id}}


def without_long_names(message: str) -> str:
    """The message with long names, such as field names, shortened: a client may send a name of 1 MB."""
    return shortened(_NAME.sub(lambda found: shortened(found[0]), message), MESSAGE_LENGTH)


RenderFault = Callable[[ProductError, str], JsonAnswer]
"""Makes the response of one API to a request that fails before it reaches the API: of the error and the request id."""


class Faults:
    """Answers requests that fail before they reach their API, in its format: by path, and in that of `others`."""

    def __init__(self, others: RenderFault, of_paths: Mapping[str, RenderFault]) -> None:
        self._others = others
        self._of_paths = of_paths

    def at(self, path: str) -> RenderFault:
        return self._of_paths.get(path, self._others)

    def __call__(self, scope: Scope, error: ProductError) -> JsonAnswer:
        return self.at(scope["path"])(error, scope["request_id"])


def unread(status: HTTPStatus, request_id: str) -> JsonAnswer:
    """The response to an unreadable request, in the formats of both APIs. It closes the connection."""
    message = f"{status.phrase}."
    body = {"success": False, "error": message, "errors": [graphql_error(message, "BAD_USER_INPUT", request_id)]}
    return JsonAnswer(body, status, {"Connection": "close", "X-Request-Id": request_id})


async def http_error(_request: Request, error: Exception) -> Response:
    """The response if no route matches the path or the method."""
    assert isinstance(error, HTTPException)
    return JsonAnswer({"success": False, "error": error.detail}, error.status_code, dict(error.headers or {}))


def retry_headers(error: ProductError) -> dict[str, str]:
    """The `Retry-After` header field, if the error has a delay."""
    return {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}


def raw(answer: JsonAnswer) -> bytes:
    """The response in wire format (RFC 9112, 4), for requests that are not answered through ASGI."""
    status = HTTPStatus(answer.status_code)
    lines = [b"%b: %b" % header for header in answer.raw_headers]
    head = b"\r\n".join([f"HTTP/1.1 {status.value} {status.phrase}".encode(), *lines])
    return head + b"\r\n\r\n" + bytes(answer.body)
