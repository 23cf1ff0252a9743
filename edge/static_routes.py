"""Dispatches paths without parameters by a dictionary look-up."""

from collections.abc import Iterable, Iterator

from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send


class StaticRoutes:
    """ASGI middleware, the innermost one. Leaves other paths to Starlette, which tries route after route."""

    def __init__(self, app: ASGIApp, routes: Iterable[BaseRoute]) -> None:
        self.app = app
        self._routes: dict[tuple[str, str], tuple[Route, str]] = {}
        for route, root in _without_parameters(routes):
            for method in route.methods or ("GET", "POST"):
                self._routes.setdefault((method, root + route.path), (route, root))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match = None
        if scope["type"] == "http" and not scope.get("root_path"):
            match = self._routes.get((scope["method"], scope["path"]))
        if match is None:
            await self.app(scope, receive, send)
            return
        route, root = match
        # The scope entries that Starlette's router sets, as far as this server reads them.
        scope["route"], scope["root_path"], scope["app_root_path"] = route, root, ""
        await route.app(scope, receive, send)


def _without_parameters(routes: Iterable[BaseRoute], root: str = "") -> Iterator[tuple[Route, str]]:
    """The routes without parameters, each with the path at which it is mounted."""
    for route in routes:
        if isinstance(route, Mount):
            yield from _without_parameters(route.routes, root + route.path)
        elif isinstance(route, Route) and not route.param_convertors:
            yield route, root
