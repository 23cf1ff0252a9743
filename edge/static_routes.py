"""Finds at once what answers a path without parameters. Knows no path."""

from collections.abc import Iterable, Iterator

from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send


class StaticRoutes:
    """ASGI middleware, the innermost of ours. What it does not find, Starlette does, which tries route after route."""

    def __init__(self, app: ASGIApp, routes: Iterable[BaseRoute]) -> None:
        self.app = app
        self._found: dict[tuple[str, str], tuple[Route, str]] = {}
        for route, root in _without_parameters(routes):
            for method in route.methods or ("GET", "POST"):
                self._found.setdefault((method, root + route.path), (route, root))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = None
        if scope["type"] == "http" and not scope.get("root_path"):
            found = self._found.get((scope["method"], scope["path"]))
        if found is None:
            await self.app(scope, receive, send)
            return
        route, root = found
        # What Starlette would tell of the route, as far as anybody asks.
        scope["route"], scope["root_path"], scope["app_root_path"] = route, root, ""
        await route.app(scope, receive, send)


def _without_parameters(routes: Iterable[BaseRoute], root: str = "") -> Iterator[tuple[Route, str]]:
    """The routes, and what those are mounted at that are."""
    for route in routes:
        if isinstance(route, Mount):
            yield from _without_parameters(route.routes, root + route.path)
        elif isinstance(route, Route) and not route.param_convertors:
            yield route, root
