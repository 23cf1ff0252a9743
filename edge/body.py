"""Reads the body of a request, up to the limit, and JSON without surprises. Knows no path."""

import json
from typing import Any, NoReturn

from starlette.requests import Request

from models.errors import TooLarge

LIMIT = 1024 * 1024


async def read_body(request: Request) -> bytes:
    """The body. Raises TooLarge as soon as it is known to be over the limit, and reads no further."""
    if _declared(request) > LIMIT:
        raise TooLarge
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LIMIT:
            raise TooLarge
    return bytes(body)


def parse_json(text: str | bytes) -> Any:
    """The value that the text spells (RFC 8259). Raises ValueError, which does not repeat the text."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise ValueError("the text is not JSON") from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _declared(request: Request) -> int:
    length = request.headers.get("content-length", "")
    return int(length[:20]) if length.isdecimal() else 0
