"""The frame of every REST endpoint: authorization, body parsing, JSON responses and errors."""

import functools
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from edge.answers import JsonAnswer
from edge.body import has_body, parse_json, read_body, require_json
from edge.credentials import context_of
from models.errors import ProductError
from models.user import Permission
from resolvers.context import Context
from rest.problems import to_response


@dataclass(frozen=True, slots=True)
class RestCall:
    """An authorized request: the context for the resolver, and the body as an object."""

    context: Context
    request: Request
    body: dict[str, Any]


Handler = Callable[[RestCall], Awaitable[Mapping[str, Any]]]


class Endpoint:
    """The ASGI application of one endpoint, with the name, docstring and annotations of its handler."""

    def __init__(self, handler: Handler, permissions: tuple[Permission, ...] | None) -> None:
        functools.update_wrapper(self, handler)
        self.permissions = permissions
        """The caller needs one of them. Empty: any user; None: no login."""
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = await self._answer(Request(scope, receive))
        await answer(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        body: dict[str, Any] = {}
        try:
            if request.method == "POST" and has_body(request.scope):
                require_json(request.scope)
            context = context_of(request.scope, "rest")
            if self.permissions is not None:
                await context.require(*self.permissions)
            body = await _read_object(request)
            return JsonAnswer(await self._handler(RestCall(context, request, body)))
        except ProductError as error:
            return to_response(error, body)


def endpoint(*permissions: Permission, public: bool = False) -> Callable[[Handler], Endpoint]:
    """Makes an endpoint of a handler that returns the body of a success.

    The order of checks is 415, 401, 403, then the body's size, then the errors of the handler.
    """
    return lambda handler: Endpoint(handler, None if public else permissions)


async def _read_object(request: Request) -> dict[str, Any]:
    """The body. Anything but a JSON object counts as an empty one, so that the answer lists the missing fields."""
    if request.method != "POST":
        return {}
    try:
        body = parse_json(await read_body(request.scope, request.receive))
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
