"""The middleware that every request passes before it reaches a route, and its order."""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network

from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.routing import Router
from starlette.types import ASGIApp

from edge.admission import Admission
from edge.answers import http_error
from edge.metrics import Metrics
from edge.origins import Origin
from edge.proxies import Proxies
from edge.rates import RATELIMIT_FIELDS, Rate, Rates
from edge.requests import Requests
from edge.same_origin import SameOrigin
from edge.static_routes import StaticRoutes


def wrap(
    router: Router,
    metrics: Metrics,
    *,
    rate: Rate | None,
    cors_origins: Sequence[Origin],
    public_url: Origin | None,
    own_hosts: Sequence[str] | None,
    proxies: Sequence[IPv4Network | IPv6Network],
) -> ASGIApp:
    """Wraps the router in its middleware, from the inside out.

    Omits Starlette's outermost middleware, because `Requests` does the same.
    """
    app: ASGIApp = StaticRoutes(ExceptionMiddleware(router, {HTTPException: http_error}), router.routes)
    if rate:
        app = Rates(app, rate)
    app = Admission(app)
    if cors_origins:
        app = _cors(app, cors_origins)
    app = SameOrigin(app, own_hosts, [*cors_origins, *([public_url] if public_url else [])])
    return Requests(Proxies(app, proxies), metrics)


def _cors(app: ASGIApp, origins: Sequence[Origin]) -> ASGIApp:
    return CORSMiddleware(
        app,
        allow_origins=[str(origin) for origin in origins],
        allow_methods=["GET", "POST", "DELETE"],
        allow_headers=["Authorization", "Content-Type", "X-Auth-Token", "X-User-Id"],
        expose_headers=["Retry-After", "X-Request-Id", *(f"RateLimit-{name}" for name in RATELIMIT_FIELDS)],
    )
