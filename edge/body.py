"""Reads request bodies up to a size limit, and parses strict JSON."""

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
    """Raises UnsupportedMedia unless the Content-Type is JSON in UTF-8.

    A page of another site can send form media types without a CORS preflight (CSRF).
    """
    content_type = header(scope, b"content-type") or ""
    if content_type == JSON_MEDIA_TYPE:
        return
    kind, *parameters = (piece.strip().lower() for piece in content_type.split(";"))
    charsets = [value.partition("=")[2].strip('"') for value in parameters if value.startswith("charset=")]
    if kind != JSON_MEDIA_TYPE or any(charset != "utf-8" for charset in charsets):
        raise UnsupportedMedia


def has_body(scope: Scope) -> bool:
    """Whether the request has a body (RFC 9112, 6.3)."""
    length = header(scope, b"content-length")
    return length.strip("0") != "" if length is not None else header(scope, b"transfer-encoding") is not None


async def read_body(scope: Scope, receive: Receive) -> bytes:
    """Returns the body. Raises TooLarge as soon as it exceeds the limit, without reading the rest."""
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
    """Parses JSON (RFC 8259). Raises ValueError, whose message does not quote the text."""
    try:
        # No string is cached. Deep nesting and lone surrogates fail here, but are valid JSON.
        return from_json(text, allow_inf_nan=False, cache_strings="none")
    except (ValueError, TypeError):
        return _parse_slowly(text)


def _parse_slowly(text: str | bytes) -> Any:
    try:
        # json.loads would also accept bytes in UTF-16 and UTF-32.
        return json.loads(text if isinstance(text, str) else text.decode("utf-8-sig"), parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise ValueError("the text is not JSON") from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)
