"""The legacy REST API of Rocket.Chat's `email-inbox` endpoints: its routes, under `/api/v1/`."""

import asyncio
import functools
from collections.abc import Iterator
from typing import Any

from starlette.routing import Route, Router

from rest import inbox, session
from rest.endpoint import RestCall, endpoint
from rest.problems import not_allowed, not_found


@endpoint(public=True)
async def openapi(_call: RestCall) -> dict[str, Any]:
    """Describes this path: the document that you are reading."""
    return await asyncio.to_thread(openapi_document)


ROUTES = [
    Route("/email-inbox", inbox.save, methods=["POST"]),
    Route("/email-inbox.list", inbox.listing, methods=["GET"]),
    Route("/email-inbox.search", inbox.search, methods=["GET"]),
    Route("/email-inbox.send-test/{id}", inbox.send_test, methods=["POST"]),
    Route("/email-inbox/{id}", inbox.show, methods=["GET"]),
    Route("/email-inbox/{id}", inbox.remove, methods=["DELETE"]),
    Route("/login", session.login, methods=["POST"]),
    Route("/logout", session.logout, methods=["POST"]),
    Route("/me", session.me, methods=["GET"]),
    Route("/openapi.json", openapi, methods=["GET"]),
]


@functools.cache
def openapi_document() -> dict[str, Any]:
    """The OpenAPI document. Built on the first request, because that would delay the start."""
    from rest.openapi import document_of

    return document_of(ROUTES)


def _not_allowed_routes() -> Iterator[Route]:
    """Routes that answer 405. Starlette's own answer would list the methods of one route only."""
    for path in dict.fromkeys(route.path for route in ROUTES):
        methods = {method for route in ROUTES if route.path == path for method in route.methods or ()}
        yield Route(path, not_allowed(sorted(methods)))


router = Router([*ROUTES, *_not_allowed_routes()], redirect_slashes=False, default=not_found)
