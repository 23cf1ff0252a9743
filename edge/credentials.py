"""Reads the credentials of a request, from HTTP headers or from the connection parameters of a WebSocket."""

from collections.abc import Mapping
from typing import Any

from models.secrets import Secret
from resolvers.access import Credentials


def credentials_of(headers: Mapping[str, Any]) -> Credentials | None:
    """`X-User-Id` with `X-Auth-Token`, or `Authorization: Bearer`; None where neither is there (RFC 6750)."""
    values = {name.lower(): value for name, value in headers.items() if isinstance(value, str)}
    user_id, token = values.get("x-user-id"), values.get("x-auth-token")
    if user_id and token:
        return Credentials(Secret(token), user_id)
    scheme, _, bearer = values.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and bearer.strip():
        return Credentials(Secret(bearer.strip()))
    return None
