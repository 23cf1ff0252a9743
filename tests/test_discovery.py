"""Mail settings from an address: every source, what each is trusted for, and what is never proposed."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

import dns.asyncresolver
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from structlog.testing import capture_logs

from mail.dns import NameServers, Service
from mail.hosts import HostPolicy
from mail.oauth2 import AccessTokens
from mail.service import Mail
from mail.settings import autoconfig, discovery
from mail.settings.discovery import settings_for
from mail.settings.proposals import Confidence, Proposal, Proposals, ProposalSource
from mail.settings.providers import (
    PROVIDERS,
    MailLogin,
    Provider,
    UsernameKind,
    provider_of_domain,
    provider_of_mx,
    provider_of_server,
)
from mail.tls import Trust
from models.config import MAIL_PORTS, InboxConfig
from models.user import Permission
from models.validation import validated_value
from resolvers.mail_limits import LOOKUPS_PER_USER
from tests.mail.certificates import Certificates
from tests.running import Running
from tests.users import ask, caller, codes

DOMAIN = "example.test"
EMAIL = f"support@{DOMAIN}"
Shown = tuple[str, int, Confidence]


@dataclass
class FakeNames(NameServers):
    """Name servers that say what they were told."""

    hosts: dict[str, list[str]] = field(default_factory=dict)
    services: dict[str, list[Service]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def mx(self, domain: str) -> list[str]:
        self.asked.append(domain)
        return self.hosts.get(domain, [])

    async def srv(self, service: str, domain: str) -> list[Service]:
        self.asked.append(f"{service}.{domain}")
        return self.services.get(f"{service}.{domain}", [])


@dataclass
class World:
    """A mail side, its name servers, and the addresses of the hosts that exist."""

    mail: Mail
    names: FakeNames
    addresses: dict[str, list[str]]

    async def settings(self, email: str = EMAIL) -> Proposals:
        return await settings_for(self.mail, email)

    def offers(self, service: str, *targets: tuple[str, int], domain: str = DOMAIN) -> None:
        """The domain's name servers offer the service there."""
        self.names.services[f"{service}.{domain}"] = [Service(*target) for target in targets]
        for target, _ in targets:
            self.addresses.setdefault(target, ["127.0.0.1"])


@pytest.fixture
def world(certificates: Certificates) -> World:
    addresses: dict[str, list[str]] = {}

    async def lookup(name: str) -> Sequence[str]:
        return addresses.get(name, [])

    hosts, trust, names = HostPolicy(["127.0.0.0/8"], lookup=lookup), Trust(certificates.ca_file), FakeNames()
    return World(Mail(hosts, trust, AccessTokens(hosts, trust), names), names, addresses)


def shown(proposals: Sequence[Proposal]) -> list[Shown]:
    return [(one.server, one.port, one.confidence) for one in proposals]


# -------------------------------------------------------------------------------------------------------- the table


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.name)
def test_every_row_is_well_formed(provider: Provider) -> None:
    for name in (*provider.domains, *provider.mx, *provider.servers):
        assert validated_value(InboxConfig, "email", f"somebody@{name}"), name
        assert name == name.lower()
        assert "." in name
    for endpoint, ports in ((provider.smtp, {465, 587}), (provider.imap, {993})):
        if endpoint:
            assert endpoint.port in ports & MAIL_PORTS
            assert endpoint.secure
            known = provider_of_server(endpoint.server)
            assert known
            assert (known.login, known.username) == (provider.login, provider.username)
    assert provider.domains or provider.mx or provider.servers
    assert provider.hint is None or provider.hint.endswith(".")
    assert provider.hint or provider.login is MailLogin.PASSWORD
    assert provider.imap or provider.hint, "whoever has no mailboxes says so"


def test_a_domain_is_of_one_provider() -> None:
    for name in ("domains", "mx"):
        named = [ending for provider in PROVIDERS for ending in getattr(provider, name)]
        assert len(named) == len(set(named))


@pytest.mark.parametrize(
    ("find", "name", "found"),
    [
        (provider_of_domain, "gmail.com", "Google"),
        (provider_of_domain, "GMail.com.", "Google"),
        (provider_of_domain, "mail.gmail.com", None),
        (provider_of_domain, "notgmail.com", None),
        (provider_of_mx, "aspmx.l.google.com", "Google"),
        (provider_of_mx, "ALT1.ASPMX.L.GOOGLE.COM.", "Google"),
        (provider_of_mx, "aspmx.l.google.com.example.test", None),
        (provider_of_mx, "notgoogle.com", None),
        (provider_of_mx, "example-test.mail.protection.outlook.com", "Microsoft 365"),
        (provider_of_mx, "outlook-com.olc.protection.outlook.com", "Outlook.com"),
        (provider_of_mx, "in1-smtp.messagingengine.com", "Fastmail"),
        (provider_of_server, "outlook.office365.com", "Microsoft 365"),
        (provider_of_server, "smtp-mail.outlook.com", "Outlook.com"),
        (provider_of_server, "SMTP.gmail.com", "Google"),
        (provider_of_server, "email-smtp.eu-west-1.amazonaws.com", "Amazon SES"),
        (provider_of_server, "ec2-1-2-3-4.compute-1.amazonaws.com", None),
        (provider_of_server, "127.0.0.1", None),
        (provider_of_server, "", None),
        (provider_of_server, "com", None),
    ],
)
def test_whose_it_is(find: Callable[[str], Provider | None], name: str, found: str | None) -> None:
    provider = find(name)
    assert (provider.name if provider else None) == found


async def test_a_known_domain_is_answered_without_asking_anybody(world: World) -> None:
    found = await world.settings("somebody@GMX.net")
    assert found.provider == "GMX"
    assert shown(found.smtp) == [("mail.gmx.net", 465, Confidence.HIGH)]
    assert shown(found.imap) == [("imap.gmx.net", 993, Confidence.HIGH)]
    assert found.imap[0].username == "somebody@GMX.net"
    assert found.imap[0].source is ProposalSource.PROVIDER
    assert world.names.asked == []


@pytest.mark.parametrize(
    ("email", "login"),
    [
        ("a@gmail.com", MailLogin.APP_PASSWORD),
        ("a@outlook.com", MailLogin.OAUTH2),
        ("a@posteo.de", MailLogin.PASSWORD),
    ],
)
async def test_the_login_is_told(email: str, login: MailLogin, world: World) -> None:
    found = await world.settings(email)
    assert {one.login for one in (*found.smtp, *found.imap)} == {login}


@pytest.mark.parametrize("email", ["a@proton.me", "a@tuta.com"])
async def test_a_provider_without_imap_has_a_hint_alone(email: str, world: World) -> None:
    found = await world.settings(email)
    assert (found.smtp, found.imap) == ([], [])
    assert found.provider
    assert found.hint
    assert "IMAP" in found.hint


async def test_a_port_that_the_operator_forbids_is_not_proposed(world: World, certificates: Certificates) -> None:
    hosts = HostPolicy([], {465})
    found = await settings_for(Mail(hosts, world.mail.trust, world.mail.tokens, world.names), "a@gmx.net")
    assert (len(found.smtp), len(found.imap)) == (1, 0)


def test_only_the_local_part_where_the_provider_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    box = discovery._Mailbox("first.last@example.test", "example.test")
    [provider] = [row for row in PROVIDERS if row.name == "Posteo"]
    assert box.username(provider) == "first.last@example.test"
    local = Provider("Example", (), (), (), None, None, UsernameKind.LOCAL_PART, MailLogin.PASSWORD, None)
    assert box.username(local) == "first.last"


# ---------------------------------------------------------------------------------------------------------------- MX


async def test_a_domain_whose_mail_goes_to_a_provider(world: World) -> None:
    world.names.hosts[DOMAIN] = ["filter.example.org", "example-test.mail.protection.outlook.com"]
    found = await world.settings()
    assert found.provider == "Microsoft 365"
    assert found.hint
    assert shown(found.smtp) == [("smtp.office365.com", 587, Confidence.MEDIUM)]
    assert shown(found.imap) == [("outlook.office365.com", 993, Confidence.MEDIUM)]
    assert found.imap[0].source is ProposalSource.MX
    assert found.imap[0].login is MailLogin.OAUTH2
    assert found.imap[0].username == EMAIL


async def test_the_mx_of_a_stranger_says_nothing(world: World) -> None:
    world.names.hosts[DOMAIN] = [f"mx.{DOMAIN}"]
    found = await world.settings()
    assert (found.provider, found.smtp, found.imap) == (None, [], [])


# --------------------------------------------------------------------------------------------------------------- SRV


async def test_what_name_servers_offer_is_proposed_in_order(world: World) -> None:
    world.offers("_imaps", (f"imap.{DOMAIN}", 993), (f"imap2.{DOMAIN}", 993))
    world.offers("_imap", (f"imap.{DOMAIN}", 143))
    world.offers("_submissions", (f"smtp.{DOMAIN}", 465))
    world.offers("_submission", (DOMAIN, 587))
    found = await world.settings()
    sure = Confidence.MEDIUM
    assert shown(found.imap) == [
        (f"imap.{DOMAIN}", 993, sure),
        (f"imap2.{DOMAIN}", 993, sure),
        (f"imap.{DOMAIN}", 143, sure),
    ]
    assert shown(found.smtp) == [(f"smtp.{DOMAIN}", 465, sure), (DOMAIN, 587, sure)]
    assert {one.source for one in found.imap} == {ProposalSource.SRV}
    assert {one.secure for one in (*found.imap, *found.smtp)} == {True}
    assert {one.login for one in found.imap} == {MailLogin.PASSWORD}


@pytest.mark.parametrize("target", ["imap.example.org", f"imap.not{DOMAIN}", f"{DOMAIN}.example.org"])
async def test_a_server_of_another_domain_is_proposed_with_little_confidence(target: str, world: World) -> None:
    """Whoever can lie for a name server would name a server of his own."""
    world.offers("_imaps", (target, 993))
    assert shown((await world.settings()).imap) == [(target, 993, Confidence.LOW)]


async def test_a_known_server_brings_its_login_and_hint(world: World) -> None:
    world.offers("_imaps", ("imap.gmail.com", 993))
    found = await world.settings()
    assert found.provider == "Google"
    assert found.hint
    assert found.imap[0].login is MailLogin.APP_PASSWORD


@pytest.mark.parametrize("address", ["10.0.0.1", "169.254.169.254", "::1", "::ffff:10.0.0.1", "fd00::1"])
async def test_a_server_at_a_private_address_is_not_proposed(address: str, world: World) -> None:
    world.addresses[f"imap.{DOMAIN}"] = [address]
    world.offers("_imaps", (f"imap.{DOMAIN}", 993), (f"other.{DOMAIN}", 993))
    assert shown((await world.settings()).imap) == [(f"other.{DOMAIN}", 993, Confidence.MEDIUM)]


async def test_a_port_that_is_none_of_mail_is_not_proposed(world: World) -> None:
    world.offers("_imaps", (f"imap.{DOMAIN}", 22), (f"imap.{DOMAIN}", 993))
    assert shown((await world.settings()).imap) == [(f"imap.{DOMAIN}", 993, Confidence.MEDIUM)]


async def test_a_server_that_does_not_exist_is_not_proposed(world: World) -> None:
    world.addresses[f"imap.{DOMAIN}"] = []
    world.offers("_imaps", (f"imap.{DOMAIN}", 993))
    assert (await world.settings()).imap == []


@pytest.mark.parametrize(
    "target",
    [
        "<img\\032src=x>.evil.example",
        "a\\046b.example",
        "-",
        "xn--a.example",
        "\\208\\160.example",
        "*.example",
        "",
        "a b",
    ],
)
async def test_a_target_that_is_no_host_is_left_out(target: str, world: World) -> None:
    """A name server may answer with any bytes; dnspython shows them escaped."""
    world.offers("_imaps", (target, 993), (f"imap.{DOMAIN}", 993))
    world.offers("_submissions", (target, 465))
    found = await world.settings()
    assert shown(found.imap) == [(f"imap.{DOMAIN}", 993, Confidence.MEDIUM)]
    assert found.smtp == []


@pytest.mark.parametrize("port", [0, 65_536, -1])
async def test_a_port_that_is_none_is_left_out(port: int, world: World) -> None:
    world.mail.hosts.ports |= {port}
    world.offers("_imaps", (f"imap.{DOMAIN}", port))
    assert (await world.settings()).imap == []


# -------------------------------------------------------------------------------------------------------- autoconfig

CONFIG = """<?xml version="1.0" encoding="UTF-8"?>
<clientConfig version="1.1">
  <emailProvider id="example.test">
    <domain>example.test</domain>
    <displayName>A name that is the domain's own</displayName>
    <incomingServer type="pop3">
      <hostname>pop.example.test</hostname><port>995</port><socketType>SSL</socketType>
      <authentication>password-cleartext</authentication><username>%EMAILADDRESS%</username>
    </incomingServer>
    <incomingServer type="imap">
      <hostname> mail.%EMAILDOMAIN% </hostname><port>993</port><socketType>SSL</socketType>
      <authentication>password-cleartext</authentication><username>%EMAILLOCALPART%</username>
    </incomingServer>
    <outgoingServer type="smtp">
      <hostname>mail.example.test</hostname><port>587</port><socketType>STARTTLS</socketType>
      <authentication>OAuth2</authentication><username>%EMAILLOCALPART%@%EMAILDOMAIN%</username>
    </outgoingServer>
  </emailProvider>
</clientConfig>
"""


def config(server: str, before: str = "") -> str:
    return f'{before}<clientConfig><emailProvider id="x">{server}</emailProvider></clientConfig>'


def imap(
    host: str = "mail.example.test", port: str = "993", socket: str = "SSL", username: str = "%EMAILADDRESS%"
) -> str:
    return (
        f'<incomingServer type="imap"><hostname>{host}</hostname><port>{port}</port>'
        f"<socketType>{socket}</socketType><username>{username}</username></incomingServer>"
    )


@dataclass
class WebServer:
    """The web server of a domain, and the first lines of what it was asked."""

    status: int = 200
    body: str | bytes = CONFIG
    moved_to: str | None = None
    requests: list[str] = field(default_factory=list)


@asynccontextmanager
async def serving(
    world: World,
    certificates: Certificates,
    monkeypatch: pytest.MonkeyPatch,
    host: str = f"autoconfig.{DOMAIN}",
    domain: str = DOMAIN,
) -> AsyncIterator[WebServer]:
    """Serves the domain's file at this host. No test may listen at 443, which only root could."""
    web = WebServer()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificates.authority.issue_cert(host).configure_cert(context)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        web.requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
        if web.moved_to and f"GET {web.moved_to} " not in web.requests[-1]:
            writer.write(f"HTTP/1.1 301 x\r\nLocation: {web.moved_to}\r\nContent-Length: 0\r\n\r\n".encode())
            writer.close()
            return
        body = web.body.encode() if isinstance(web.body, str) else web.body
        writer.write(f"HTTP/1.1 {web.status} x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as listener:
        port = listener.sockets[0].getsockname()[1]
        places = [place.replace("{domain}", f"{{domain}}:{port}") for place in autoconfig.PLACES]
        monkeypatch.setattr(discovery, "PLACES", places)
        world.mail.hosts.ports |= {port}
        world.addresses |= {host: ["127.0.0.1"], f"mail.{domain}": ["127.0.0.1"]}
        yield web


async def test_the_file_of_the_domain_is_read(
    world: World, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.addresses["pop.example.test"] = ["127.0.0.1"]
    async with serving(world, certificates, monkeypatch) as web:
        web.body = CONFIG.replace("<port>995</port>", "<port>993</port>")
        found = await world.settings()
    assert shown(found.imap) == [("mail.example.test", 993, Confidence.MEDIUM)]
    assert shown(found.smtp) == [("mail.example.test", 587, Confidence.MEDIUM)]
    assert (found.imap[0].username, found.smtp[0].username) == ("support", EMAIL)
    assert (found.imap[0].login, found.smtp[0].login) == (MailLogin.PASSWORD, MailLogin.OAUTH2)
    assert found.imap[0].source is ProposalSource.AUTOCONFIG
    assert found.provider is None
    assert found.hint is None
    [request] = web.requests
    assert request.startswith("GET /mail/config-v1.1.xml HTTP/1.1\r\n")
    assert "support" not in request, "the address is told to nobody"


async def test_the_other_place_of_the_file_is_read(
    world: World, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(world, certificates, monkeypatch, DOMAIN) as web:
        found = await world.settings()
    assert shown(found.imap) == [("mail.example.test", 993, Confidence.MEDIUM)]
    [request] = web.requests
    assert request.startswith("GET /.well-known/autoconfig/mail/config-v1.1.xml HTTP/1.1\r\n")


async def test_the_file_may_have_moved_within_the_host(
    world: World, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(world, certificates, monkeypatch) as web:
        web.moved_to = "/autoconfig.xml"
        assert shown((await world.settings()).imap) == [("mail.example.test", 993, Confidence.MEDIUM)]
        assert len(web.requests) == 2
        web.moved_to = "https://autoconfig.example.org/"
        assert (await world.settings()).imap == []
        assert len(web.requests) == 3


async def test_what_comes_over_https_may_be_elsewhere(
    world: World, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The certificate proves that the domain says so, which nothing proves of name servers."""
    world.addresses["imap.example.org"] = ["127.0.0.1"]
    async with serving(world, certificates, monkeypatch) as web:
        web.body = config(imap(host="imap.example.org"))
        assert shown((await world.settings()).imap) == [("imap.example.org", 993, Confidence.MEDIUM)]


LAUGHS = '<!DOCTYPE x [<!ENTITY a "993">]>'
OUTSIDE = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize(
    "body",
    [
        "",
        "not XML at all",
        "<clientConfig/>",
        config(imap(), "<!DOCTYPE x>"),
        config(imap(port="&a;"), LAUGHS),
        config(imap(host="&a;"), OUTSIDE),
        config(imap(host="10.0.0.1")),
        config(imap(host="localhost")),
        config(imap(host="0x0a000001")),
        config(imap(host="mail.example.test/path")),
        config(imap(host="unknown.example.test")),
        config(imap(host="")),
        config(imap(host="xn--a.example.test")),
        config(imap(host="fe80::1%eth0")),
        config(imap(host="mail.&#x200b;example.test")),
        config(imap(host="&lt;img src=x&gt;.example.test")),
        config(imap(port="22")),
        config(imap(port="0")),
        config(imap(port="993x")),
        config(imap(port="")),
        config(imap(socket="plain")),
        config(imap(socket="")),
        config(imap(username="root")),
        config(imap(username="@")),
        config(imap(username="%EMAILADDRESS% and a sentence of the domain's")),
        config(imap(username="%REALNAME%")),
        config(imap(username="%EMAILADDRESS%&#10;")) + "x",
        imap(),
        b'<?xml version="1.0" encoding="utf-999"?><clientConfig/>',
        b"\xff\xfe\x00\x00",
        "<a>" * 5_000,
        config(imap()) + " " * discovery.MAX_AUTOCONFIG_BYTES,
    ],
    ids=range(32),
)
async def test_what_can_not_be_used_of_a_file_is_left_out(
    body: str | bytes, world: World, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(world, certificates, monkeypatch) as web:
        web.body = body
        with capture_logs() as logs:
            assert (await world.settings()).imap == []
    assert len(web.requests) == 1
    assert logs == []


async def test_of_a_file_with_many_servers_few_are_looked_at(
    world: World, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(world, certificates, monkeypatch) as web:
        web.body = config("".join(imap(port=str(port)) for port in (993, 143) * 20))
        assert len((await world.settings()).imap) == 2
    world.addresses |= {f"mail{number}.{DOMAIN}": ["127.0.0.1"] for number in range(40)}
    async with serving(world, certificates, monkeypatch) as web:
        web.body = config("".join(imap(host=f"mail{number}.{DOMAIN}") for number in range(40)))
        assert len((await world.settings()).imap) == 5


@pytest.mark.parametrize("status", [201, 404, 500])
async def test_another_status_is_no_file(
    status: int, world: World, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(world, certificates, monkeypatch) as web:
        web.status = status
        assert (await world.settings()).imap == []


async def test_a_web_server_at_a_private_address_is_not_asked(
    world: World, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(world, certificates, monkeypatch) as web:
        hosts = HostPolicy(["10.0.0.0/8"], world.mail.hosts.ports, world.mail.hosts._lookup)
        mail = Mail(hosts, world.mail.trust, world.mail.tokens, world.names)
        assert (await settings_for(mail, EMAIL)).imap == []
    assert web.requests == []


# ---------------------------------------------------------------------------------------------------- all of them


async def test_a_server_is_proposed_once_with_its_best_confidence(
    world: World, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.names.hosts[DOMAIN] = ["in1-smtp.messagingengine.com"]
    world.offers("_imaps", ("IMAP.fastmail.com", 993), ("mail.example.test", 993))
    world.addresses["imap.fastmail.com"] = ["127.0.0.1"]
    async with serving(world, certificates, monkeypatch):
        found = await world.settings()
    assert [(one.server, one.source, one.confidence) for one in found.imap] == [
        ("imap.fastmail.com", ProposalSource.MX, Confidence.MEDIUM),
        ("mail.example.test", ProposalSource.SRV, Confidence.MEDIUM),
    ]
    assert found.provider == "Fastmail"


async def test_the_best_comes_first(world: World, certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    world.offers("_imaps", ("imap.example.org", 993))
    async with serving(world, certificates, monkeypatch):
        found = await world.settings()
    assert [one.confidence for one in found.imap] == [Confidence.MEDIUM, Confidence.LOW]


async def test_a_source_that_fails_spoils_no_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(domain: str) -> list[str]:
        raise RuntimeError(f"something about {domain}")

    monkeypatch.setattr(world.names, "mx", broken)
    world.offers("_imaps", (f"imap.{DOMAIN}", 993))
    with capture_logs() as logs:
        found = await world.settings()
    assert shown(found.imap) == [(f"imap.{DOMAIN}", 993, Confidence.MEDIUM)]
    assert [entry["event"] for entry in logs] == ["source of settings failed"]
    assert DOMAIN not in str(logs)


async def test_a_source_that_hangs_holds_up_no_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = []

    async def hang(_domain: str) -> list[str]:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)
        return []

    monkeypatch.setattr(discovery, "DISCOVERY_SECONDS", 0.2)
    monkeypatch.setattr(world.names, "mx", hang)
    world.offers("_imaps", (f"imap.{DOMAIN}", 993))
    started = time.monotonic()
    assert shown((await world.settings()).imap) == [(f"imap.{DOMAIN}", 993, Confidence.MEDIUM)]
    assert time.monotonic() - started < 3
    assert ended == [True]


async def test_the_sources_are_asked_side_by_side(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each waits for the other to begin."""
    mx_asked, srv_asked = asyncio.Event(), asyncio.Event()

    async def mx(_domain: str) -> list[str]:
        mx_asked.set()
        await srv_asked.wait()
        return ["mx.migadu.com"]

    async def srv(_service: str, _domain: str) -> list[Service]:
        srv_asked.set()
        await mx_asked.wait()
        return []

    monkeypatch.setattr(world.names, "mx", mx)
    monkeypatch.setattr(world.names, "srv", srv)
    assert (await world.settings()).provider == "Migadu"


async def test_where_nothing_is_known_a_hint_says_what_to_do(world: World) -> None:
    found = await world.settings()
    assert (found.provider, found.smtp, found.imap) == (None, [], [])
    assert found.hint
    assert DOMAIN in found.hint


async def test_a_domain_in_another_script_is_asked_for_in_ascii(
    world: World, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    ascii_domain = "xn--bcher-kva.example"
    world.offers("_imaps", (f"imap.{ascii_domain}", 993), domain=ascii_domain)
    async with serving(world, certificates, monkeypatch, f"autoconfig.{ascii_domain}", ascii_domain) as web:
        web.body = config(imap(host="mail.%EMAILDOMAIN%", username="%EMAILADDRESS%"))
        found = await world.settings("post@bücher.example")
    assert world.names.asked[0] == ascii_domain
    assert shown(found.imap) == [
        (f"imap.{ascii_domain}", 993, Confidence.MEDIUM),
        (f"mail.{ascii_domain}", 993, Confidence.MEDIUM),
    ]
    assert {one.username for one in found.imap} == {"post@bücher.example"}


# ------------------------------------------------------------------------------------------------------ name servers


@dataclass
class NameServer(asyncio.DatagramProtocol):
    """Answers with the records that it has; to a name it does not know, with NXDOMAIN; when silent, not at all."""

    silent: bool = False
    code: dns.rcode.Rcode = dns.rcode.NOERROR
    mx: list[str] = field(default_factory=list)
    imaps: list[str] = field(default_factory=list)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        if self.silent:
            return
        query = dns.message.from_wire(data)
        [question] = query.question
        kind = dns.rdatatype.to_text(question.rdtype)
        records = {f"{DOMAIN}. MX": self.mx, f"_imaps._tcp.{DOMAIN}. SRV": self.imaps}
        found = records.get(f"{question.name} {kind}")
        response = dns.message.make_response(query)
        response.set_rcode(dns.rcode.NXDOMAIN if found is None else self.code)
        if found:
            response.answer.append(dns.rrset.from_text(question.name, 60, "IN", kind, *found))
        self.transport.sendto(response.to_wire(), address)


@asynccontextmanager
async def name_server(*, silent: bool = False) -> AsyncIterator[tuple[NameServers, NameServer]]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(lambda: NameServer(silent), ("127.0.0.1", 0))
    names = NameServers(seconds=0.5)
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers, resolver.port = ["127.0.0.1"], transport.get_extra_info("sockname")[1]
    names._resolver = resolver
    try:
        yield names, server
    finally:
        transport.close()


async def test_services_are_ordered_by_priority_and_weight() -> None:
    async with name_server() as (names, server):
        server.imaps = ["20 99 993 c.example.test.", "10 1 993 b.example.test.", "10 9 1993 A.example.test."]
        assert await names.srv("_imaps", DOMAIN) == [
            Service("a.example.test", 1993),
            Service("b.example.test", 993),
            Service("c.example.test", 993),
        ]


async def test_the_root_is_no_server() -> None:
    """RFC 6186, 3.4; RFC 7505."""
    async with name_server() as (names, server):
        server.imaps, server.mx = ["0 0 0 ."], ["0 ."]
        assert await names.srv("_imaps", DOMAIN) == []
        assert await names.mx(DOMAIN) == []


async def test_the_preferred_host_comes_first() -> None:
    async with name_server() as (names, server):
        server.mx = ["20 mx2.example.test.", "10 MX1.example.test."]
        assert await names.mx(DOMAIN) == ["mx1.example.test", "mx2.example.test"]


async def test_of_many_records_few_are_looked_at() -> None:
    async with name_server() as (names, server):
        server.mx = [f"{number} mx{number}.example.test." for number in range(10, 20)]
        assert await names.mx(DOMAIN) == [f"mx{number}.example.test" for number in range(10, 15)]


async def test_what_is_not_there_is_nothing() -> None:
    async with name_server() as (names, server):
        assert await names.mx(DOMAIN) == []
        assert await names.mx("unknown.test") == []
        assert await names.srv("_imap", DOMAIN) == []
        for code in (dns.rcode.SERVFAIL, dns.rcode.REFUSED):
            server.code, server.mx = code, ["10 mx.example.test."]
            assert await names.mx(DOMAIN) == []


async def test_name_servers_that_are_silent_are_not_waited_for() -> None:
    async with name_server(silent=True) as (names, _):
        started = time.monotonic()
        assert await names.mx(DOMAIN) == []
        assert time.monotonic() - started < 3


@pytest.mark.parametrize("domain", ["a" * 64 + ".example.test", ".".join(["a" * 60] * 5), "a..b"])
async def test_a_name_that_can_be_none_is_nothing(domain: str) -> None:
    async with name_server() as (names, _):
        assert await names.mx(domain) == []
        assert await names.srv("_imaps", domain) == []


# ---------------------------------------------------------------------------------------------------------- GraphQL

SETTINGS = """
    query ($email: String!) {
        mailServerSettings(email: $email) {
            provider hint
            smtp { server port secure username login source confidence }
            imap { server port secure username login source confidence }
        }
    }
"""


async def test_settings_over_graphql(server: Running) -> None:
    body = await server.graphql(SETTINGS, email="somebody@posteo.de")
    common = {
        "server": "posteo.de",
        "secure": True,
        "username": "somebody@posteo.de",
        "login": "PASSWORD",
        "source": "PROVIDER",
        "confidence": "HIGH",
    }
    assert body["data"]["mailServerSettings"] == {
        "provider": "Posteo",
        "hint": None,
        "smtp": [{**common, "port": 465}],
        "imap": [{**common, "port": 993}],
    }


async def test_nothing_found_over_graphql(server: Running, monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    monkeypatch.setattr(server.context.mail.names, "mx", world.names.mx)
    monkeypatch.setattr(server.context.mail.names, "srv", world.names.srv)
    monkeypatch.setattr(server.context.mail.hosts, "_lookup", world.mail.hosts._lookup)
    found = (await server.graphql(SETTINGS, email=EMAIL))["data"]["mailServerSettings"]
    assert (found["provider"], found["smtp"], found["imap"]) == (None, [], [])
    assert found["hint"]


@pytest.mark.parametrize(
    "email", ["", "nobody", "a@", "@example.test", "a@exa mple.test", "a\n@example.test", "a" * 300]
)
async def test_what_is_no_address_is_refused_by_name(email: str, shared_server: Running) -> None:
    body = await shared_server.graphql(SETTINGS, email=email)
    [error] = body["errors"]
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert error["path"] == ["mailServerSettings"]
    assert error["message"].startswith("email must be an e-mail address")


async def test_only_for_whoever_manages_inboxes(server: Running) -> None:
    reader = await caller(server, "reader", Permission.READ_EMAIL, Permission.SEND_EMAIL, Permission.MANAGE_USERS)
    assert codes(await ask(reader, SETTINGS, email="a@posteo.de")) == ["FORBIDDEN"]


async def test_a_user_may_ask_so_often(server: Running) -> None:
    for _ in range(LOOKUPS_PER_USER.amount):
        assert "errors" not in await server.graphql(SETTINGS, email="a@posteo.de")
    assert codes(await server.graphql(SETTINGS, email="a@posteo.de")) == ["RATE_LIMITED"]
