"""What the name servers say of a domain's mail: MX and SRV records. Knows no policy: whether a host may be connected to
is judged elsewhere.

A domain that has none, and name servers that do not answer, are the same here: nothing is known.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mail.offload import import_in_thread

DNS_SECONDS = 4.0
ROOT = "."
MAX_RECORDS = 5
"""How many records of a kind are looked at."""


@dataclass(frozen=True, slots=True)
class Service:
    """A host and a port that a service is offered at."""

    target: str
    port: int


class NameServers:
    """Asks the name servers of this machine."""

    def __init__(self, seconds: float = DNS_SECONDS) -> None:
        self._seconds = seconds

    async def mx(self, domain: str) -> list[str]:
        """The hosts that take the domain's mail, the preferred one first (RFC 5321, 5.1; none: RFC 7505)."""
        records = await self._ask(domain, "MX")
        hosts = [_host(record.exchange) for record in sorted(records, key=lambda record: record.preference)]
        return [host for host in hosts if host != ROOT][:MAX_RECORDS]

    async def srv(self, service: str, domain: str) -> list[Service]:
        """Where the domain offers the service, such as `_imaps`, over TCP; nowhere where the target is the root.

        In the order of priority and weight: RFC 2782 spreads load by chance, but a proposal should stay the same.
        """
        records = await self._ask(f"{service}._tcp.{domain}", "SRV")
        ordered = sorted(records, key=lambda record: (record.priority, -record.weight))
        found = [Service(_host(record.target), record.port) for record in ordered]
        return [service for service in found if service.target != ROOT][:MAX_RECORDS]

    @cached_property
    def _resolver(self) -> Any:
        """Made at its first use: a machine may have no name servers, and no need for them."""
        from dns.asyncresolver import Resolver

        return Resolver()

    async def _ask(self, name: str, kind: str) -> list[Any]:
        """The records of this kind, as dnspython has them."""
        await import_in_thread("dns.asyncresolver", "dns.rdtypes.ANY.MX", "dns.rdtypes.IN.SRV")
        from dns.exception import DNSException

        try:
            return list(await self._resolver.resolve(f"{name}.", kind, lifetime=self._seconds, search=False))
        except (DNSException, OSError):
            return []


def _host(name: Any) -> str:
    found: str = name.to_text(omit_final_dot=True)
    return found.lower()
