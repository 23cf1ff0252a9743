"""Identifies the caller of a request: credentials from HTTP headers or WebSocket connection parameters, and address."""

import math
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, NoReturn

from starlette.types import Scope

from edge.admission import ASIDE
from models.errors import Unauthenticated
from models.secrets import Secret
from resolvers.access import Authenticator, Credentials
from resolvers.context import Context, FindCaller, no_caller

REFUSED = "email_inbox.refused"
"""Key in the scope of the error that a middleware found, if any. The API answers with it."""
_HEADER_NAMES = frozenset({b"x-user-id", b"x-auth-token", b"authorization"})
_AUTHENTICATE = "email_inbox.authenticate"


def credentials_of(values: Mapping[str, Any]) -> Credentials | None:
    """`X-User-Id` with `X-Auth-Token`, or `Authorization: Bearer` (RFC 6750); None if there are none.

    Raises Unauthenticated if they are incomplete.
    """
    return _parse_credentials({name.lower(): value for name, value in values.items() if isinstance(value, str)})


def _parse_credentials(values: Mapping[str, str]) -> Credentials | None:
    user_id, token = values.get("x-user-id"), values.get("x-auth-token")
    if user_id and token:
        return Credentials(Secret(token), user_id)
    if authorization := values.get("authorization"):
        scheme, _, bearer = authorization.partition(" ")
        if scheme.lower() != "bearer" or not bearer.strip():
            raise Unauthenticated("Authorization must be the word Bearer and a token: Authorization: Bearer <token>.")
        return Credentials(Secret(bearer.strip()))
    if user_id or token:
        missing, sent = ("X-Auth-Token", "X-User-Id") if user_id else ("X-User-Id", "X-Auth-Token")
        raise Unauthenticated(f"{missing} is missing: it is sent together with {sent}.")
    return None


def _header_credentials(scope: Scope) -> Credentials | None:
    """The credentials in the headers, whose names ASGI gives in lower case. Raises Unauthenticated."""
    sent = {str(name, "latin-1"): str(value, "latin-1") for name, value in scope["headers"] if name in _HEADER_NAMES}
    return _parse_credentials(sent)


def authenticate_of(scope: Scope) -> FindCaller:
    """Returns the function that finds the caller of the request: on its first call, and only once."""
    find_caller: FindCaller | None = scope.get(_AUTHENTICATE)
    if find_caller is None:
        find_caller = scope[_AUTHENTICATE] = _find_caller(scope)
    return find_caller


def _find_caller(scope: Scope, seconds: float = math.inf) -> FindCaller:
    authenticator: Authenticator = scope["app"].state.authenticator
    try:
        sent = _header_credentials(scope)
    except Unauthenticated as error:
        return _refuse_caller(error)
    return authenticator.cached_caller(sent, address_of(scope), seconds)


def _refuse_caller(error: Unauthenticated) -> FindCaller:
    """Defers the error until an operation needs the caller, so that public operations still succeed."""

    async def refuse() -> NoReturn:
        raise error

    return refuse


def context_of(scope: Scope, api: str, authenticate: FindCaller | None = None) -> Context:
    """The context of a request. Raises the error that a middleware recorded under `REFUSED`."""
    if refused := scope.get(REFUSED):
        raise refused
    common: Context = scope["app"].state.context
    return replace(
        common,
        authenticate=authenticate or authenticate_of(scope),
        address=address_of(scope),
        request_id=scope["request_id"],
        api=api,
        aside=scope.get(ASIDE, nullcontext),
    )


def lasting_context_of(scope: Scope, api: str) -> Context:
    """The context of a long-lived request: finds the caller anew each time it is needed."""
    return context_of(scope, api, _find_caller(scope, seconds=0))


def context_of_connection(scope: Scope, api: str) -> Context:
    """The context of a WebSocket connection before its client has sent credentials."""
    return context_of(scope, api, no_caller)


def address_of(scope: Scope) -> str:
    """The address of the client; empty if it has none."""
    client = scope.get("client")
    return client[0] if client else ""
