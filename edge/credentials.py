"""Who sends a request: its credentials, from HTTP headers or a WebSocket's connection parameters, and its address."""

import math
from collections.abc import Mapping
from typing import Any

from starlette.requests import HTTPConnection, Request

from models.secrets import Secret
from resolvers.access import Authenticator, Credentials
from resolvers.context import Context, nobody


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


def context_of(request: Request, seconds: float = math.inf) -> Context:
    """The context of a request. Who the caller is, is asked when somebody wants to know; again after these seconds.

    Raises what keeps the request from being answered, if something was found on its way.
    """
    if refused := getattr(request.state, "refused", None):
        raise refused
    if seconds == math.inf and (found := getattr(request.state, "context", None)):
        return found  # type: ignore[no-any-return]
    context = context_of_connection(request)
    authenticator: Authenticator = request.app.state.authenticator
    authenticate = authenticator.remembered(credentials_of(request.headers), context.address, seconds)
    return context.acting_as(authenticate, context.address, context.request_id)


def context_of_connection(connection: HTTPConnection) -> Context:
    """The context of a connection that has not said yet who it is."""
    context: Context = connection.app.state.context
    address = connection.client.host if connection.client else ""
    return context.acting_as(nobody, address, connection.scope["request_id"])
