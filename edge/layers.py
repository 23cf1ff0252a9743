"""The middleware that every request passes before it reaches a route, and its order."""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import Protocol

from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.routing import Router
from starlette.types import ASGIApp

from edge.admission import Admission, Load
from edge.answers import Faults, http_error
from edge.metrics import Metrics
from edge.origins import Origin
from edge.proxies import Proxies
from edge.rates import RATELIMIT_FIELDS, Rate, Rates
from edge.requests import Requests
from edge.same_origin import SameOrigin
from edge.static_routes import StaticRoutes


class TrustSettings(Protocol):
    """The settings that say which hosts, origins and proxies are trusted."""

    @property
    def cors_origins(self) -> Sequence[Origin]: ...
    @property
    def public_url(self) -> Origin | None: ...
    @property
    def own_hosts(self) -> Sequence[str] | None: ...
    @property
    def proxies(self) -> Sequence[IPv4Network | IPv6Network]: ...


def wrap(
    router: Router, metrics: Metrics, faults: Faults, load: Load, rate: Rate | None, trust: TrustSettings
) -> ASGIApp:
    """Wraps the router in its middleware, from the inside out.

    Omits Starlette's outermost middleware, because `Requests` does the same.
    """
    app: ASGIApp = StaticRoutes(ExceptionMiddleware(router, {HTTPException: http_error}), router.routes)
    if rate:
        app = Rates(app, rate)
    app = Admission(app, load)
    if trust.cors_origins:
        app = _cors(app, trust.cors_origins)
    origins = [*trust.cors_origins, *([trust.public_url] if trust.public_url else [])]
    app = SameOrigin(app, trust.own_hosts, origins, faults)
    return Requests(Proxies(app, trust.proxies), metrics, faults)


def _cors(app: ASGIApp, origins: Sequence[Origin]) -> ASGIApp:
    return CORSMiddleware(
        app,
        allow_origins=[str(origin) for origin in origins],
        allow_methods=["GET", "POST", "DELETE"],
        allow_headers=["Authorization", "Content-Type", "X-Auth-Token", "X-User-Id"],
        expose_headers=["Retry-After", "X-Request-Id", *(f"RateLimit-{name}" for name in RATELIMIT_FIELDS)],
    )
