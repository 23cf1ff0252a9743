"""Parses and formats web origins (RFC 6454), as operators configure and browsers send them."""

import re
from dataclasses import dataclass
from types import MappingProxyType

import idna

DEFAULT_PORTS = MappingProxyType({"http": 80, "https": 443})
_ORIGIN = re.compile(r"(https?)://(\[[0-9A-Fa-f:.]{2,45}\]|[^\s/?#@:\[\]\\]{1,253})(?::([0-9]{1,5}))?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port. `str` gives the form that browsers send: lower case, without a default port."""

    scheme: str
    host: str
    """Without the brackets of an IPv6 address."""
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> "Origin":
        """Raises ValueError, whose message continues the name of the setting and does not quote `text`."""
        match = _ORIGIN.fullmatch(text)
        if not match:
            raise ValueError(
                "must be a scheme and a host, such as https://app.example.org, without a path or trailing slash"
            )
        scheme, host, port = match[1].lower(), match[2].lower().strip("[]"), int(match[3]) if match[3] else None
        if port == DEFAULT_PORTS[scheme]:
            raise ValueError(f"must not contain the default port {port} of {scheme}")
        if port is not None and not 0 < port <= 65_535:
            raise ValueError("must have a port from 1 to 65535, or none")
        return cls(scheme, _ascii(host), port)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + (f":{self.port}" if self.port else "")


def _ascii(host: str) -> str:
    """The host in the ASCII form that browsers send (UTS 46)."""
    try:
        return host if host.isascii() else idna.encode(host, uts46=True).decode("ascii")
    except UnicodeError:
        raise ValueError("must have a host name that exists in ASCII form (IDNA)") from None
