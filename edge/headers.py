"""Header fields of a request, read where they lie: to make a mapping of them all takes longer. Knows no field."""

from starlette.types import Scope


def header(scope: Scope, name: bytes) -> str | None:
    """The first field with this name, which is given in lower case; None where there is none."""
    for found, value in scope["headers"]:
        if found == name:
            return str(value, "latin-1")
    return None
