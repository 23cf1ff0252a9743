"""Parses the autoconfig XML in which a domain publishes its mail servers, as Thunderbird does. Fetches nothing.

The file is untrusted: only hosts, ports and usernames built from the address are used.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from xml.etree.ElementTree import Element, ParseError

from defusedxml.ElementTree import fromstring
from pydantic import TypeAdapter, ValidationError

from mail.settings.providers import MailLogin
from models.fields import Host, Port

PLACES = (
    "https://autoconfig.{domain}/mail/config-v1.1.xml",
    "https://{domain}/.well-known/autoconfig/mail/config-v1.1.xml",
)
"""Where a domain publishes it. Unlike Thunderbird, sends no address, for privacy: the file has placeholders for it."""
MAX_OFFERS = 5
"""The most servers of a kind that are used."""

_PLACEHOLDER = re.compile("(%EMAIL(?:ADDRESS|LOCALPART|DOMAIN)%)")
_SEPARATOR = re.compile("[.@+%_=-]{0,2}")
_HOST, _PORT = TypeAdapter(Host), TypeAdapter(Port)


@dataclass(frozen=True, slots=True)
class Offer:
    """A server that the domain names, with TLS. An empty username stands for the usual one."""

    server: str
    port: int
    username: str
    login: MailLogin


def offer(server: object, port: object, username: str = "", login: MailLogin = MailLogin.PASSWORD) -> Offer | None:
    """Returns the offer if its host and port are valid in an inbox, else None."""
    try:
        return Offer(_HOST.validate_python(server), _PORT.validate_python(port), username, login)
    except ValidationError:
        return None


@dataclass(frozen=True, slots=True)
class Offers:
    """The servers that the domain names, in the order of the file."""

    smtp: list[Offer]
    imap: list[Offer]


def parse(body: bytes, email: str) -> Offers:
    """Returns the usable servers of the file, none if it is invalid. Skips servers without TLS."""
    try:
        root: Element = fromstring(body, forbid_dtd=True)
    except (ParseError, ValueError, LookupError):
        return Offers([], [])
    smtp = _offers(root, "./emailProvider/outgoingServer[@type='smtp']", email)
    imap = _offers(root, "./emailProvider/incomingServer[@type='imap']", email)
    return Offers(list(islice(smtp, MAX_OFFERS)), list(islice(imap, MAX_OFFERS)))


def _offers(root: Element, path: str, email: str) -> Iterator[Offer]:
    for server in root.iterfind(path):
        username = _username(_text(server, "username"), email)
        if _text(server, "socketType").upper() not in ("SSL", "STARTTLS") or username is None:
            continue
        name = _text(server, "hostname").replace("%EMAILDOMAIN%", email.rpartition("@")[2])
        if found := offer(name, _text(server, "port"), username, _login(server)):
            yield found


def _text(server: Element, name: str) -> str:
    return (server.findtext(name) or "").strip()


def _username(template: str, email: str) -> str | None:
    """Fills the template from the address. None if the template uses anything else."""
    local, _, domain = email.rpartition("@")
    values = {"%EMAILADDRESS%": email, "%EMAILLOCALPART%": local, "%EMAILDOMAIN%": domain}
    parts = _PLACEHOLDER.split(template or "%EMAILADDRESS%")
    if len(parts) == 1 or not all(_SEPARATOR.fullmatch(text) for text in parts[::2]):
        return None
    return "".join(values.get(part, part) for part in parts)


def _login(server: Element) -> MailLogin:
    """Returns OAUTH2 only if nothing else is offered."""
    ways = {(way.text or "").strip().upper() for way in server.iterfind("authentication")}
    return MailLogin.OAUTH2 if ways == {"OAUTH2"} else MailLogin.PASSWORD
