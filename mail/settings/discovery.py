"""Finds SMTP and IMAP settings for an address: from known providers, DNS records and autoconfig files.

It does not log in, so a proposal is not proof. It never proposes what the host policy forbids. It contacts the domain
and the name servers, and sends the address itself to neither.
"""

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import structlog

from mail.hosts import HostPolicy, canonical
from mail.https import fetch
from mail.offload import in_thread
from mail.service import Mail
from mail.settings import autoconfig
from mail.settings.autoconfig import PLACES, Offer, offer
from mail.settings.proposals import Confidence, Proposal, Proposals, ProposalSource
from mail.settings.providers import (
    Provider,
    ServerAddress,
    UsernameKind,
    provider_of_domain,
    provider_of_mx,
    provider_of_server,
)
from models.errors import MailFailure, where
from models.fields import address_key

DISCOVERY_SECONDS = 10.0
"""Timeout of all sources together. What they found by then is the result."""
AUTOCONFIG_SECONDS = 6.0
MAX_AUTOCONFIG_BYTES = 16_384
SERVICES = {"smtp": ("_submissions", "_submission"), "imap": ("_imaps", "_imap")}
"""The SRV records of each protocol: TLS from the first byte, then STARTTLS (RFC 6186; RFC 8314, 5.1)."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Mailbox:
    """The mailbox to find settings for. `domain` is in IDNA's ASCII form."""

    email: str
    domain: str

    def username(self, provider: Provider | None) -> str:
        only_local = provider is not None and provider.username is UsernameKind.LOCAL_PART
        return self.email.rpartition("@")[0] if only_local else self.email

    def is_at_home(self, server: str) -> bool:
        """Whether the server belongs to the domain."""
        return server == self.domain or server.endswith("." + self.domain)


async def settings_for(mail: Mail, email: str) -> Proposals:
    """Proposes settings for a valid address. If nothing is found, returns empty lists and a hint."""
    mailbox = _Mailbox(email, address_key(email).rpartition("@")[2])
    known = provider_of_domain(mailbox.domain)
    if known:
        return _from_provider(mail.hosts, mailbox, known, ProposalSource.PROVIDER, Confidence.HIGH)
    sources = [
        _from_mx(mail, mailbox),
        _from_srv(mail, mailbox),
        *(_from_autoconfig(mail, mailbox, place) for place in PLACES),
    ]
    return _merge(mailbox.domain, await _gather(sources))


async def _gather(sources: Sequence[Coroutine[None, None, Proposals]]) -> list[Proposals]:
    """Runs the sources concurrently. Returns what they found in time, in order. A failure affects no other source."""
    tasks = [asyncio.create_task(source) for source in sources]
    try:
        await asyncio.wait(tasks, timeout=DISCOVERY_SECONDS)
    finally:
        for task in tasks:
            task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    for error in ended:
        if isinstance(error, Exception) and not isinstance(error, MailFailure):
            log.error("source of settings failed", error=type(error).__name__, where=where(error))
    return [found for found in ended if isinstance(found, Proposals)]


async def _from_mx(mail: Mail, mailbox: _Mailbox) -> Proposals:
    for host in await mail.names.mx(mailbox.domain):
        if provider := provider_of_mx(host):
            return _from_provider(mail.hosts, mailbox, provider, ProposalSource.MX, Confidence.MEDIUM)
    return Proposals()


async def _from_srv(mail: Mail, mailbox: _Mailbox) -> Proposals:
    """DNS can be spoofed, so a server outside the domain gets low confidence (RFC 6186, 6)."""

    async def of(protocol: str) -> list[Proposal]:
        lookups = (mail.names.srv(service, mailbox.domain) for service in SERVICES[protocol])
        services = chain.from_iterable(await asyncio.gather(*lookups))
        offers = [found for service in services if (found := offer(service.target, service.port))]
        return await _propose_connectable(mail.hosts, mailbox, offers, ProposalSource.SRV)

    smtp, imap = await asyncio.gather(of("smtp"), of("imap"))
    return Proposals(smtp=smtp, imap=imap)


async def _from_autoconfig(mail: Mail, mailbox: _Mailbox, place: str) -> Proposals:
    url = place.format(domain=mailbox.domain)
    status, body = await fetch(
        mail.hosts, mail.trust, url, seconds=AUTOCONFIG_SECONDS, limit=MAX_AUTOCONFIG_BYTES, redirects=1
    )
    if status != 200:
        return Proposals()
    offers = await in_thread(autoconfig.parse, body, mailbox.email)
    smtp, imap = await asyncio.gather(
        _propose_connectable(mail.hosts, mailbox, offers.smtp, ProposalSource.AUTOCONFIG),
        _propose_connectable(mail.hosts, mailbox, offers.imap, ProposalSource.AUTOCONFIG),
    )
    return Proposals(smtp=smtp, imap=imap)


async def _propose_connectable(
    hosts: HostPolicy, mailbox: _Mailbox, offers: Sequence[Offer], source: ProposalSource
) -> list[Proposal]:
    """Proposes the offers that the policy allows and that resolve to an address."""

    async def propose(offered: Offer) -> Proposal | None:
        try:
            hosts.permit(offered.server, offered.port)
            await hosts.resolve(offered.server)
        except MailFailure:
            return None
        return _build_proposal(mailbox, offered, source)

    return [found for found in await asyncio.gather(*map(propose, offers)) if found]


def _build_proposal(mailbox: _Mailbox, offered: Offer, source: ProposalSource) -> Proposal:
    server, provider = canonical(offered.server), provider_of_server(offered.server)
    is_sure = source is ProposalSource.AUTOCONFIG or mailbox.is_at_home(server)
    return Proposal(
        server,
        offered.port,
        secure=True,
        username=offered.username or mailbox.username(provider),
        login=provider.login if provider else offered.login,
        source=source,
        confidence=Confidence.MEDIUM if is_sure else Confidence.LOW,
    )


def _from_provider(
    hosts: HostPolicy, mailbox: _Mailbox, provider: Provider, source: ProposalSource, confidence: Confidence
) -> Proposals:
    """Proposes the servers of a provider. Their names come from our table, so they are not resolved."""

    def of(endpoint: ServerAddress | None) -> list[Proposal]:
        if endpoint is None:
            return []
        try:
            hosts.permit(endpoint.server, endpoint.port)
        except MailFailure:
            return []
        username = mailbox.username(provider)
        return [Proposal(endpoint.server, endpoint.port, endpoint.secure, username, provider.login, source, confidence)]

    return Proposals(provider.name, provider.hint, of(provider.smtp), of(provider.imap))


def _merge(domain: str, found: Sequence[Proposals]) -> Proposals:
    """Merges the proposals: each server once, best first."""
    smtp = _best(chain.from_iterable(each.smtp for each in found))
    imap = _best(chain.from_iterable(each.imap for each in found))
    named = next((each for each in found if each.provider), None)
    if named:
        return Proposals(named.provider, named.hint, smtp, imap)
    provider = next((known for each in (*imap, *smtp) if (known := provider_of_server(each.server))), None)
    if provider:
        return Proposals(provider.name, provider.hint, smtp, imap)
    return Proposals(None, None if smtp or imap else _nothing_found(domain), smtp, imap)


def _best(proposals: Iterable[Proposal]) -> list[Proposal]:
    ordered = sorted(proposals, key=lambda one: list(Confidence).index(one.confidence))
    kept: dict[tuple[str, int], Proposal] = {}
    for one in ordered:
        kept.setdefault((one.server, one.port), one)
    return list(kept.values())


def _nothing_found(domain: str) -> str:
    return (
        f"Nothing is known of {domain}. Ask whoever runs its mail for the SMTP and the IMAP server; often they are "
        f"smtp.{domain} or mail.{domain} on port 465 or 587, and imap.{domain} or mail.{domain} on port 993."
    )
