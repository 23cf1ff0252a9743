"""Looks up the MX and SRV records of a domain. Applies no host policy: `mail/hosts.py` does.

A domain without records and name servers that do not answer give the same result: an empty list.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mail.offload import import_in_thread

DNS_SECONDS = 4.0
ROOT = "."
MAX_RECORDS = 5
"""The most records of a kind that are returned."""


@dataclass(frozen=True, slots=True)
class Service:
    """The host and port of a service."""

    target: str
    port: int


class NameServers:
    """Queries the name servers that this machine is configured with."""

    def __init__(self, seconds: float = DNS_SECONDS) -> None:
        self._seconds = seconds

    async def mx(self, domain: str) -> list[str]:
        """Returns the mail hosts of the domain, most preferred first (RFC 5321, 5.1; none for a null MX: RFC 7505)."""
        records = await self._ask(domain, "MX")
        hosts = [_host(record.exchange) for record in sorted(records, key=lambda record: record.preference)]
        return [host for host in hosts if host != ROOT][:MAX_RECORDS]

    async def srv(self, service: str, domain: str) -> list[Service]:
        """Returns where the domain offers the service, such as `_imaps`, over TCP. A target of `.` means: not offered.

        Sorts by priority and weight. RFC 2782 picks at random to spread load, but a proposal should be stable.
        """
        records = await self._ask(f"{service}._tcp.{domain}", "SRV")
        ordered = sorted(records, key=lambda record: (record.priority, -record.weight))
        found = [Service(_host(record.target), record.port) for record in ordered]
        return [service for service in found if service.target != ROOT][:MAX_RECORDS]

    @cached_property
    def _resolver(self) -> Any:
        """Created on first use: a machine may have no name servers and not need any."""
        from dns.asyncresolver import Resolver

        return Resolver()

    async def _ask(self, name: str, kind: str) -> list[Any]:
        """Returns dnspython's records of this kind; an empty list on any error."""
        await import_in_thread("dns.asyncresolver", "dns.rdtypes.ANY.MX", "dns.rdtypes.IN.SRV")
        from dns.exception import DNSException

        try:
            return list(await self._resolver.resolve(f"{name}.", kind, lifetime=self._seconds, search=False))
        except (DNSException, OSError):
            return []


def _host(name: Any) -> str:
    found: str = name.to_text(omit_final_dot=True)
    return found.lower()
