"""A conversation with a mail server, step by step, whichever protocol it is in; and what may be told of a reply.

Nothing of what a server says is repeated: a reply is told by its code, capabilities by names of a strict form.
"""

import re
import socket
import ssl
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Protocol

from mail.certificate import certificate
from mail.report import Certificate
from models.errors import ErrorCode, MailFailure
from models.secrets import Secret

MAX_CAPABILITIES = 100
_CAPABILITY = re.compile(r"[A-Z0-9=+._-]{1,40}")
_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?:\s|$)")

Refusal = Callable[[str, str], MailFailure]
"""What to make of a login that a server of this protocol refused by this code."""


class Session(Protocol):
    """One connection. Every step raises MailFailure; where hands are shaken, OSError too, of which TLS has its own."""

    capabilities: list[str]
    """What the server says that it can, as of now: after STARTTLS, nothing that was said before it."""
    was_greeted: bool
    is_encrypted: bool

    @property
    def offers_starttls(self) -> bool: ...

    @property
    def is_logged_in(self) -> bool:
        """Whether the server took us for somebody before we said who we are."""

    async def open(self, connected: socket.socket, context: ssl.SSLContext | None, name: str) -> None:
        """Takes over a connection, and shakes hands where a context is given."""

    async def greet(self) -> None:
        """Hears the greeting, and what the server can."""

    async def start_tls(self, context: ssl.SSLContext, name: str) -> None: ...

    def certificate(self) -> Certificate:
        """What the server showed when hands were shaken."""

    async def authenticate(self, username: str, password: Secret) -> None: ...

    async def authenticate_by_token(self, username: str, token: Secret) -> None: ...

    async def leave(self) -> None:
        """Says goodbye, where the connection still stands."""

    async def close(self) -> None:
        """Frees what the session holds; by now, nothing comes over its connection any more."""


def shown(names: Iterable[str]) -> list[str]:
    """The names of capabilities that may be shown."""
    return sorted({name for name in map(str.upper, names) if _CAPABILITY.fullmatch(name)})[:MAX_CAPABILITIES]


def enhanced_code(text: str) -> str | None:
    """The enhanced status code at the start of a reply, such as `5.7.8` (RFC 3463)."""
    found = _ENHANCED.match(text)
    return found.group(1) if found else None


def saslname(username: str) -> str:
    """The user name within a SASL message (RFC 5801, 4)."""
    return username.replace("=", "=3D").replace(",", "=2C")


def not_understood(protocol: str) -> MailFailure:
    """The peer says something, but not in this protocol."""
    return MailFailure(
        ErrorCode.PROTOCOL_ERROR,
        f"What answers does not speak {protocol}.",
        "port",
        hint="Check server and port: SMTP is on 465, 587 or 25; IMAP is on 993 or 143.",
    )


def hung_up(protocol: str) -> MailFailure:
    """The connection was closed in the middle."""
    return MailFailure(
        ErrorCode.PROTOCOL_ERROR,
        f"The {protocol} server closed the connection.",
        "server",
        hint="It may be overloaded, or refuse connections from here. Try again later; if it lasts, ask its operator.",
    )


def starttls_refused(protocol: str, code: str) -> MailFailure:
    """TLS is offered, and then refused."""
    return MailFailure(
        ErrorCode.STARTTLS_UNAVAILABLE,
        f"The {protocol} server offers STARTTLS, and refuses it ({code}).",
        "port",
        hint="Try 465 for SMTP or 993 for IMAP. The server's own TLS may be out of order: ask its operator.",
    )


def tls_broken_off(protocol: str) -> MailFailure:
    """The server ended TLS after hands were shaken: with TLS 1.3, that is when it misses a certificate of ours."""
    return MailFailure(
        ErrorCode.TLS_FAILED,
        f"The {protocol} server broke TLS off.",
        "server",
        hint="It may want a certificate of its clients, which this server has none of. Ask its operator.",
    )


def put_off(protocol: str, code: str) -> MailFailure:
    """The server takes nobody in at the moment, which says nothing against user name and password."""
    return MailFailure(
        ErrorCode.PROTOCOL_ERROR,
        f"The {protocol} server can't let anybody in at the moment ({code}).",
        "server",
        hint="Try again in some minutes. Some servers answer so after too many failures or connections.",
    )


def tls_wanted(protocol: str) -> MailFailure:
    """No login is taken in clear."""
    return MailFailure(
        ErrorCode.AUTHENTICATION_FAILED,
        f"The {protocol} server takes a login under TLS alone.",
        "secure",
        hint="Set secure to true.",
    )


def login_refused(protocol: str, code: str) -> MailFailure:
    """User name or password are wrong, as far as the server says."""
    return MailFailure(
        ErrorCode.AUTHENTICATION_FAILED,
        f"The {protocol} server refused user name and password ({code}).",
        "password",
        hint="Check both. The user name is often the whole address. With two-factor login, an app password is needed.",
    )


def token_refused(protocol: str, code: str) -> MailFailure:
    """The access token is good, as far as its issuer says, but not for this account or not for mail."""
    return MailFailure(
        ErrorCode.AUTHENTICATION_FAILED,
        f"The {protocol} server refused the access token ({code}).",
        "oauth2",
        "refreshToken",
        hint="Check that username is the address whose owner consented, that the consent covers IMAP and SMTP, and "
        "that both are switched on for the account.",
    )


def no_login(protocol: str, encrypted: bool) -> MailFailure:
    """There is no way to log in by a password here."""
    if encrypted:
        hint = "Try another port: 587 or 465 for SMTP, 993 for IMAP. Some servers ask for OAuth2."
    else:
        hint = "Without TLS many servers take no login: set secure to true."
    return MailFailure(
        ErrorCode.AUTHENTICATION_FAILED, f"The {protocol} server offers no login by password.", "port", hint=hint
    )


def no_oauth2(protocol: str) -> MailFailure:
    """The server takes no access tokens."""
    return MailFailure(
        ErrorCode.AUTHENTICATION_FAILED,
        f"The {protocol} server takes no access tokens (XOAUTH2, OAUTHBEARER).",
        "oauth2",
        hint="Set a password instead of oauth2.",
    )


def starttls_unavailable(port: int) -> MailFailure:
    """TLS is required, and the server does not offer it."""
    return MailFailure(
        ErrorCode.STARTTLS_UNAVAILABLE,
        f"The server offers no STARTTLS on port {port}, and secure asks for TLS.",
        "port",
        hint="Try 465 for SMTP or 993 for IMAP, where TLS is spoken from the first byte. If the server has always "
        "offered STARTTLS, somebody may be in between.",
    )


def read_certificate(tls: ssl.SSLObject | ssl.SSLSocket | None) -> Certificate:
    """The certificate of the peer."""
    found = certificate(tls.getpeercert(binary_form=True) if tls else None)
    return replace(found, is_alone=_chain_length(tls) == 1)


def _chain_length(tls: object) -> int | None:
    """How many certificates the peer sent; None where Python does not say. Before 3.13 only its inner object does."""
    for source in (tls, getattr(tls, "_sslobj", None)):
        if chain := getattr(source, "get_unverified_chain", None):
            return len(chain() or ())
    return None
