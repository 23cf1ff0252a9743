"""JSON answers, and the headers that every one of them has. Knows no path."""

import json
from datetime import UTC, datetime
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from models.errors import ProductError

MASKED = "Internal server error"


def to_json(value: Any) -> bytes:
    """The value as JSON; a lone surrogate, which UTF-8 can't hold, is escaped."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value).encode("ascii")


def to_iso(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds, such as 2026-01-31T12:00:00.000Z."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class JsonAnswer(Response):
    """An answer that no cache keeps."""

    media_type = "application/json"

    def __init__(self, content: Any, status_code: int = 200, headers: dict[str, str] | None = None) -> None:
        fixed = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        super().__init__(content, status_code, fixed | (headers or {}))

    def render(self, content: Any) -> bytes:
        return to_json(content)


async def http_error(_request: Request, error: Exception) -> Response:
    """The answer where no route takes the path or the method."""
    assert isinstance(error, HTTPException)
    return JsonAnswer({"success": False, "error": error.detail}, error.status_code, dict(error.headers or {}))


def retry_headers(error: ProductError) -> dict[str, str]:
    """When to come back, where the error knows it."""
    return {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
