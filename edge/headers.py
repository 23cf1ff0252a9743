"""Looks up request header fields directly in the ASGI scope, because building a mapping takes longer."""

from starlette.types import Scope


def header(scope: Scope, name: bytes) -> str | None:
    """The first field with this lower-case name; None if there is none."""
    for field, value in scope["headers"]:
        if field == name:
            return str(value, "latin-1")
    return None
