"""What every endpoint of the REST path does before and after its own work. Knows no noun."""

import functools
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from edge.answers import JsonAnswer
from edge.body import parse_json, read_body
from edge.credentials import context_of
from models.errors import ProductError
from models.user import Permission
from resolvers.context import Context
from rest.problems import printed


@dataclass(frozen=True, slots=True)
class Call:
    """A request whose caller may make it: the context for the resolver, and the body as an object."""

    context: Context
    request: Request
    body: dict[str, Any]


RULES: dict[Callable[[Request], Awaitable[Response]], tuple[Permission, ...] | None] = {}
"""The permissions one of which an endpoint asks for; none named: any user; None: anybody."""

Handler = Callable[[Call], Awaitable[Mapping[str, Any]]]


def endpoint(
    *permissions: Permission, public: bool = False
) -> Callable[[Handler], Callable[[Request], Awaitable[Response]]]:
    """Makes a route of a handler, which returns the body of its success.

    The order of checks is 401, 403, then the body's size, then whatever the handler finds.
    """

    def decorate(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        @functools.wraps(handler)
        async def respond(request: Request) -> Response:
            body: dict[str, Any] = {}
            try:
                context = context_of(request.scope, "rest")
                if not public:
                    await context.require(*permissions)
                body.update(await _object(request))
                return JsonAnswer(await handler(Call(context, request, body)))
            except ProductError as error:
                return printed(error, body)

        RULES[respond] = None if public else permissions
        return respond

    return decorate


async def _object(request: Request) -> dict[str, Any]:
    """The body; what is no JSON object counts as an empty one, so that it ends in a list of what is missing."""
    if request.method != "POST":
        return {}
    try:
        body = parse_json(await read_body(request.scope, request.receive))
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
