"""The XML in which a domain says how its mail is reached, as Thunderbird reads it. Knows no network.

It is written by whoever runs the domain: nothing of it is passed on that is not a host, a port or the address itself.
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
"""Where a domain keeps it. Thunderbird adds the address, which is nobody's business: the answer has places for it."""
MAX_OFFERS = 5
"""How many servers of a kind are looked at."""

_PLACEHOLDER = re.compile("(%EMAIL(?:ADDRESS|LOCALPART|DOMAIN)%)")
_BETWEEN = re.compile("[.@+%_=-]{0,2}")
_HOST, _PORT = TypeAdapter(Host), TypeAdapter(Port)


@dataclass(frozen=True, slots=True)
class Offer:
    """A server that the domain names. It speaks TLS. Without a username: the one that is usual."""

    server: str
    port: int
    username: str
    login: MailLogin


def offer(server: object, port: object, username: str = "", login: MailLogin = MailLogin.PASSWORD) -> Offer | None:
    """What a domain offers, where host and port are such as an inbox may be set with; else nothing, told to nobody."""
    try:
        return Offer(_HOST.validate_python(server), _PORT.validate_python(port), username, login)
    except ValidationError:
        return None


@dataclass(frozen=True, slots=True)
class Offers:
    """The servers that the domain names, in its order."""

    smtp: list[Offer]
    imap: list[Offer]


def parse(body: bytes, email: str) -> Offers:
    """What of the file can be used; nothing where it is none. A server without TLS is left out."""
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
    """What the template makes of the address; None where it is not made of the address."""
    local, _, domain = email.rpartition("@")
    values = {"%EMAILADDRESS%": email, "%EMAILLOCALPART%": local, "%EMAILDOMAIN%": domain}
    parts = _PLACEHOLDER.split(template or "%EMAILADDRESS%")
    if len(parts) == 1 or not all(_BETWEEN.fullmatch(text) for text in parts[::2]):
        return None
    return "".join(values.get(part, part) for part in parts)


def _login(server: Element) -> MailLogin:
    """OAuth 2.0 where nothing else is offered."""
    ways = {(way.text or "").strip().upper() for way in server.iterfind("authentication")}
    return MailLogin.OAUTH2 if ways == {"OAUTH2"} else MailLogin.PASSWORD
