"""Reads the body of a request, up to the limit, and JSON without surprises. Knows no path."""

import json
from typing import Any, NoReturn

from pydantic_core import from_json
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from edge.headers import header
from models.errors import TooLarge, UnsupportedMedia

MAX_BODY_BYTES = 1024 * 1024
JSON_MEDIA_TYPE = "application/json"


def require_json(scope: Scope) -> None:
    """Raises UnsupportedMedia where the body is not said to be JSON in UTF-8.

    What a form can send, a page of another site could send without being asked (CSRF).
    """
    content_type = header(scope, b"content-type") or ""
    if content_type == JSON_MEDIA_TYPE:
        return
    kind, *parameters = (piece.strip().lower() for piece in content_type.split(";"))
    charsets = [value.partition("=")[2].strip('"') for value in parameters if value.startswith("charset=")]
    if kind != JSON_MEDIA_TYPE or any(charset != "utf-8" for charset in charsets):
        raise UnsupportedMedia


def has_body(scope: Scope) -> bool:
    """Whether a body follows the head (RFC 9112, 6.3)."""
    length = header(scope, b"content-length")
    return length.strip("0") != "" if length is not None else header(scope, b"transfer-encoding") is not None


async def read_body(scope: Scope, receive: Receive) -> bytes:
    """The body. Raises TooLarge as soon as it is known to be over the limit, and reads no further."""
    length = header(scope, b"content-length")
    if length and length.isdecimal() and int(length[:20]) > MAX_BODY_BYTES:
        raise TooLarge
    pieces, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        if size > MAX_BODY_BYTES:
            raise TooLarge
        more = message.get("more_body", False)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def parse_json(text: str | bytes) -> Any:
    """The value that the text spells (RFC 8259). Raises ValueError, which does not repeat the text."""
    try:
        # No string is kept. What is refused may be deep, or hold half a surrogate pair, and be JSON all the same.
        return from_json(text, allow_inf_nan=False, cache_strings="none")
    except (ValueError, TypeError):
        return _parse_slowly(text)


def _parse_slowly(text: str | bytes) -> Any:
    try:
        # Left to itself, it would take UTF-16 and UTF-32 too.
        return json.loads(text if isinstance(text, str) else text.decode("utf-8-sig"), parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise ValueError("the text is not JSON") from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)
