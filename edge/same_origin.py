"""Refuses requests from pages of other sites: a foreign Host (DNS rebinding), or a foreign Origin on a change.

A client other than a browser sends no Origin, and the Host from its URL. Health checks accept any Host: they disclose
nothing, and load balancers connect by IP address.
"""

import re
from collections.abc import Collection
from functools import lru_cache
from ipaddress import ip_address

from starlette.types import ASGIApp, Receive, Scope, Send

from edge.answers import Faults
from edge.origins import Origin
from models.errors import BadRequest, Forbidden, Misdirected, ProductError

HEALTH = "/health/"
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
"""Methods that change nothing (RFC 9110, 9.2.1). Browsers hide their responses from pages of other origins."""
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
MAX_HOST_BYTES = 300
CACHED_HOSTS = 256
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*)\.?)(?::[0-9]{0,5})?")


class SameOrigin:
    """ASGI middleware that checks Host and Origin. `hosts` are the server's names; None accepts every Host."""

    def __init__(
        self, app: ASGIApp, hosts: Collection[str] | None, origins: Collection[Origin], faults: Faults
    ) -> None:
        self.app = app
        self._faults = faults
        self._hosts = None if hosts is None else LOOPBACK_NAMES.union(map(str.lower, hosts))
        self._origins = frozenset(map(str, origins))
        self._is_own = lru_cache(CACHED_HOSTS)(self._judge)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"].startswith(HEALTH):
            await self.app(scope, receive, send)
            return
        try:
            self._check(scope)
        except ProductError as error:
            await self._faults(scope, error)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        """Raises BadRequest, Misdirected or Forbidden."""
        hosts, origins = [], []
        for name, value in scope["headers"]:
            if name == b"host":
                hosts.append(value)
            elif name == b"origin":
                origins.append(value)
        if len(hosts) != 1:
            raise BadRequest("The request must have one Host header (RFC 9112, 3.2).")
        if self._hosts is not None and not self._is_known(hosts[0], scope):
            raise Misdirected
        changes = scope["type"] == "websocket" or scope["method"] not in SAFE_METHODS
        if origins and changes and not self._is_trusted(origins, hosts[0]):
            raise Forbidden(
                "This Origin may not use the API. The operator can add it to EMAIL_INBOX_CORS_ORIGINS, or set "
                "EMAIL_INBOX_PUBLIC_URL where it is the server's own."
            )

    def _is_known(self, host: bytes, scope: Scope) -> bool:
        server = scope.get("server")
        return len(host) <= MAX_HOST_BYTES and self._is_own(host, str(server[0]) if server else "")

    def _judge(self, host: bytes, address: str) -> bool:
        """Whether the Host is one of the server's names, or the `address` that the client connected to."""
        match = _HOST.fullmatch(host.decode("latin-1"))
        if not match:
            return False
        name = (match[1] or match[2]).lower()
        return name in (self._hosts or ()) or (name == address.lower() and is_address(name))

    def _is_trusted(self, origins: list[bytes], host: bytes) -> bool:
        """Whether a page of this origin may make changes: the server's own origin, or one that the operator allows."""
        sent = origins[0].decode("latin-1").lower()
        scheme, _, place = sent.partition("://")
        own = scheme in ("http", "https") and place == host.decode("latin-1").lower()
        return len(origins) == 1 and (own or sent in self._origins)


def own_hosts(listens_on: str, public_host: str | None, more: Collection[str]) -> list[str] | None:
    """The server's names besides those of loopback; None to accept every Host.

    A server that listens beyond loopback knows only configured names: the host of its public URL, and `more`.
    """
    named = [name for name in (public_host, *more) if name]
    if "*" in more or not (named or _is_loopback(listens_on)):
        return None
    return [listens_on, *named]


def _is_loopback(host: str) -> bool:
    return host.lower() in LOOPBACK_NAMES or (is_address(host) and ip_address(host).is_loopback)


def is_address(text: str) -> bool:
    """Whether the text is an IP address, without brackets."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
