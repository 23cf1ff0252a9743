"""Finds the client's address behind reverse proxies.

A client can put any text in `X-Forwarded-For`. It is used only if the connection comes from a proxy that the operator
trusts, is read from the right, and accepted only as IP addresses.
"""

from collections.abc import Collection
from ipaddress import ip_address
from types import MappingProxyType

from starlette.types import ASGIApp, Receive, Scope, Send

from mail.hosts import IPAddress, IPNetwork

MAX_FORWARDED_BYTES = 2_000
SCHEMES = MappingProxyType({b"http": ("http", "ws"), b"https": ("https", "wss")})
_REWRITTEN_PORT = 0
"""The port that uvicorn's own proxy middleware sets if it used the header. By default, it trusts loopback."""


class Proxies:
    """ASGI middleware that sets the client in the scope to an IP address, or to none."""

    def __init__(self, app: ASGIApp, trusted: Collection[IPNetwork]) -> None:
        self.app = app
        self._trusted = tuple(trusted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            self._find_client(scope)
        await self.app(scope, receive, send)

    def _find_client(self, scope: Scope) -> None:
        client = scope.get("client")
        if client and client[1] == _REWRITTEN_PORT:
            scope["client"] = client = ("127.0.0.1", None)
        if not self._trusted or not self._trusts(_address(client[0]) if client else None):
            return
        headers = [(name, value) for name, value in scope["headers"] if name.startswith(b"x-forwarded-")]
        hops = b",".join(value for name, value in headers if name == b"x-forwarded-for")
        address = self._client_of(hops[-MAX_FORWARDED_BYTES:].decode("latin-1"))
        if address:
            scope["client"] = (str(address), None)
        schemes = [value for name, value in headers if name == b"x-forwarded-proto"]
        if len(schemes) == 1 and (scheme := SCHEMES.get(schemes[0].strip().lower())):
            scope["scheme"] = scheme[scope["type"] == "websocket"]

    def _client_of(self, hops: str) -> IPAddress | None:
        """The last address that is not a trusted proxy's; None if there is none, or invalid text comes before it."""
        for hop in reversed(hops.split(",")):
            address = _address(hop)
            if address is None or not self._trusts(address):
                return address
        return None

    def _trusts(self, address: IPAddress | None) -> bool:
        return address is not None and any(address in network for network in self._trusted)


def _address(text: str) -> IPAddress | None:
    """Parses an IP address, with or without a port. Maps IPv4-mapped IPv6 addresses to IPv4 (RFC 4291, 2.5.5.2)."""
    bare = text.strip()
    if bare.startswith("["):
        bare = bare[1:].partition("]")[0]
    elif bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        address = ip_address(bare)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
