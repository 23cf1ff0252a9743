"""A conversation with a mail server, step by step, whichever protocol it is in; and what may be told of a reply.

Nothing of what a server says is repeated: a reply is told by its code, capabilities by names of a strict form.
What a refusal means, says `mail/refusals/replies.py`.
"""

import re
import ssl
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Protocol

from mail.certificate import certificate
from mail.refusals.verdicts import Unjudged
from mail.report import Certificate
from models.errors import ErrorCode, MailFailure
from models.secrets import Secret

MAX_CAPABILITIES = 100
MAX_MECHANISMS = 8
"""How many of the mechanisms that a server offers are named in a message."""
_CAPABILITY = re.compile(r"[A-Z0-9=+._-]{1,40}")
_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?:\s|$)")

LoginAttempt = Callable[[], Awaitable[None]]
"""To log in by one mechanism. Raises MailFailure."""


class Session(Protocol):
    """One connection, which the session owns. Every step raises MailFailure; where hands are shaken, OSError too."""

    capabilities: list[str]
    """What the server says that it can, as of now: after STARTTLS, nothing that was said before it."""
    was_greeted: bool
    is_encrypted: bool

    @property
    def has_spoken(self) -> bool:
        """Whether the server has said anything yet."""

    @property
    def offers_starttls(self) -> bool: ...

    @property
    def is_logged_in(self) -> bool:
        """Whether the server took us for somebody before we said who we are."""

    async def open(self, context: ssl.SSLContext | None, name: str) -> None:
        """Shakes hands where a context is given."""

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


def safe_names(names: Iterable[str]) -> list[str]:
    """The names of capabilities that may be shown."""
    return sorted({name for name in map(str.upper, names) if _CAPABILITY.fullmatch(name)})[:MAX_CAPABILITIES]


def enhanced_code(text: str) -> str | None:
    """The enhanced status code at the start of a reply, such as `5.7.8` (RFC 3463)."""
    found = _ENHANCED.match(text)
    return found.group(1) if found else None


class HungUp(MailFailure):
    """The server closed the connection in the middle."""


async def try_in_turn(attempts: Iterable[LoginAttempt]) -> None:
    """Tries one after the other while the server judges no password. Once it has refused one, none is sent again."""
    unjudged: Unjudged | None = None
    for attempt in attempts:
        try:
            await attempt()
        except Unjudged as failure:
            unjudged = unjudged or failure
        except MailFailure as failure:
            if unjudged and isinstance(failure, HungUp):  # it has had enough of commands that it does not know
                raise unjudged from None
            raise
        else:
            return
    if unjudged:
        raise unjudged


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
    return HungUp(
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


def no_login(protocol: str, encrypted: bool, offered: Iterable[str] = ()) -> MailFailure:
    """There is no way to log in by a password here. `offered` are the names of the mechanisms that are."""
    names = safe_names(offered)
    what = f" that this server knows. It offers {', '.join(names[:MAX_MECHANISMS])}" if names else ""
    if not encrypted:
        hint = "Without TLS many servers accept no login: set secure to true."
    elif {"XOAUTH2", "OAUTHBEARER"} & set(names):
        hint = "Set oauth2 in place of the password."
    else:
        hint = (
            "Try another port (587 or 465 for SMTP, 993 for IMAP), or have the operator allow PLAIN or LOGIN over TLS."
        )
    return MailFailure(
        ErrorCode.AUTHENTICATION_FAILED, f"The {protocol} server offers no login by password{what}.", "port", hint=hint
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
