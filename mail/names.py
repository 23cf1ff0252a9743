"""What the name servers say of a domain's mail: MX and SRV records. Knows no policy: whether a host may be connected to
is judged elsewhere.

A domain that has none, and name servers that do not answer, are the same here: nothing is known.
"""

from dataclasses import dataclass
from functools import cached_property

import dns.asyncresolver
import dns.exception
import dns.name
import dns.rdata
import dns.resolver
from dns.rdtypes.ANY.MX import MX
from dns.rdtypes.IN.SRV import SRV

SECONDS = 4.0
MOST = 5
"""How many records of a kind are looked at."""


@dataclass(frozen=True, slots=True)
class Service:
    """A host and a port that a service is offered at."""

    target: str
    port: int


class Names:
    """Asks the name servers of this machine."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds

    async def mx(self, domain: str) -> list[str]:
        """The hosts that take the domain's mail, the preferred one first (RFC 5321, 5.1; none: RFC 7505)."""
        found = [record for record in await self._ask(domain, "MX") if isinstance(record, MX)]
        ordered = sorted(found, key=lambda record: record.preference)
        return [_host(record.exchange) for record in ordered if record.exchange != dns.name.root][:MOST]

    async def srv(self, service: str, domain: str) -> list[Service]:
        """Where the domain offers the service, such as `_imaps`, over TCP; nowhere where the target is the root.

        In the order of priority and weight: RFC 2782 spreads load by chance, but a proposal should stay the same.
        """
        found = [record for record in await self._ask(f"{service}._tcp.{domain}", "SRV") if isinstance(record, SRV)]
        ordered = sorted(found, key=lambda record: (record.priority, -record.weight))
        return [Service(_host(record.target), record.port) for record in ordered if record.target != dns.name.root][
            :MOST
        ]

    @cached_property
    def _resolver(self) -> dns.asyncresolver.Resolver:
        """Made at its first use: a machine may have no name servers, and no need for them."""
        return dns.asyncresolver.Resolver()

    async def _ask(self, name: str, kind: str) -> list[dns.rdata.Rdata]:
        try:
            return list(await self._resolver.resolve(f"{name}.", kind, lifetime=self._seconds, search=False))
        except (dns.exception.DNSException, OSError):
            return []


def _host(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower()
