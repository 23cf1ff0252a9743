"""The session interface that SMTP and IMAP share, and the failures common to both.

No text of a server is repeated to the client: only reply codes, and capability names of a strict form.
`mail/refusals/replies.py` interprets refusals.
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
"""The most offered mechanisms that a message names."""
_CAPABILITY = re.compile(r"[A-Z0-9=+._-]{1,40}")
_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?:\s|$)")

LoginAttempt = Callable[[], Awaitable[None]]
"""Attempts a login by one mechanism. Raises MailFailure."""


class Session(Protocol):
    """One connection, which the session owns. Every step raises MailFailure; a TLS handshake may raise OSError too."""

    capabilities: list[str]
    """The capabilities that the server announced last. STARTTLS discards the earlier ones."""
    was_greeted: bool
    is_encrypted: bool

    @property
    def has_spoken(self) -> bool:
        """Whether the server has sent anything yet."""

    @property
    def offers_starttls(self) -> bool: ...

    @property
    def is_logged_in(self) -> bool:
        """Whether the server greeted the connection as already authenticated (PREAUTH)."""

    async def open(self, context: ssl.SSLContext | None, name: str) -> None:
        """Performs the TLS handshake if a context is given."""

    async def greet(self) -> None:
        """Reads the greeting and the capabilities."""

    async def start_tls(self, context: ssl.SSLContext, name: str) -> None: ...

    def certificate(self) -> Certificate:
        """Returns the certificate that the server presented."""

    async def authenticate(self, username: str, password: Secret) -> None: ...

    async def authenticate_by_token(self, username: str, token: Secret) -> None: ...

    async def leave(self) -> None:
        """Logs out, if the connection is still open."""

    async def close(self) -> None:
        """Frees the session's resources. Its connection is shut down by then."""


def safe_names(names: Iterable[str]) -> list[str]:
    """Returns the capability names that are safe to show: upper case, sorted, of a strict form."""
    return sorted({name for name in map(str.upper, names) if _CAPABILITY.fullmatch(name)})[:MAX_CAPABILITIES]


def enhanced_code(text: str) -> str | None:
    """Returns the enhanced status code that a reply starts with, such as `5.7.8` (RFC 3463)."""
    found = _ENHANCED.match(text)
    return found.group(1) if found else None


class HungUp(MailFailure):
    """The server closed the connection during the session."""


async def try_in_turn(attempts: Iterable[LoginAttempt]) -> None:
    """Tries the mechanisms in order until the server accepts or refuses the credentials, which are not sent again."""
    unjudged: Unjudged | None = None
    for attempt in attempts:
        try:
            await attempt()
        except Unjudged as failure:
            unjudged = unjudged or failure
        except MailFailure as failure:
            if unjudged and isinstance(failure, HungUp):  # the server gave up after too many unknown commands
                raise unjudged from None
            raise
        else:
            return
    if unjudged:
        raise unjudged


def not_understood(protocol: str) -> MailFailure:
    """The peer does not speak this protocol."""
    return MailFailure(
        ErrorCode.PROTOCOL_ERROR,
        f"What answers does not speak {protocol}.",
        "port",
        hint="Check server and port: SMTP is on 465, 587 or 25; IMAP is on 993 or 143.",
    )


def hung_up(protocol: str) -> MailFailure:
    """The server closed the connection during the session."""
    return HungUp(
        ErrorCode.PROTOCOL_ERROR,
        f"The {protocol} server closed the connection.",
        "server",
        hint="It may be overloaded, or refuse connections from here. Try again later; if it lasts, ask its operator.",
    )


def starttls_refused(protocol: str, code: str) -> MailFailure:
    """The server offers STARTTLS, then refuses it."""
    return MailFailure(
        ErrorCode.STARTTLS_UNAVAILABLE,
        f"The {protocol} server offers STARTTLS, and refuses it ({code}).",
        "port",
        hint="Try 465 for SMTP or 993 for IMAP. The server's own TLS may be out of order: ask its operator.",
    )


def tls_broken_off(protocol: str) -> MailFailure:
    """The server ended TLS after the handshake. With TLS 1.3, that is how it rejects a missing client certificate."""
    return MailFailure(
        ErrorCode.TLS_FAILED,
        f"The {protocol} server broke TLS off.",
        "server",
        hint="It may want a certificate of its clients, which this server has none of. Ask its operator.",
    )


def no_login(protocol: str, encrypted: bool, offered: Iterable[str] = ()) -> MailFailure:
    """The server offers no password login. `offered` are the mechanisms that it does offer."""
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
    """The server accepts no access tokens."""
    return MailFailure(
        ErrorCode.AUTHENTICATION_FAILED,
        f"The {protocol} server takes no access tokens (XOAUTH2, OAUTHBEARER).",
        "oauth2",
        hint="Set a password instead of oauth2.",
    )


def starttls_unavailable(port: int) -> MailFailure:
    """The account requires TLS, and the server does not offer STARTTLS."""
    return MailFailure(
        ErrorCode.STARTTLS_UNAVAILABLE,
        f"The server offers no STARTTLS on port {port}, and secure asks for TLS.",
        "port",
        hint="Try 465 for SMTP or 993 for IMAP, where TLS is spoken from the first byte. If the server has always "
        "offered STARTTLS, somebody may be in between.",
    )


def read_certificate(tls: ssl.SSLObject | ssl.SSLSocket | None) -> Certificate:
    """Returns the certificate of the peer. Raises MailFailure if it can't be read."""
    found = certificate(tls.getpeercert(binary_form=True) if tls else None)
    return replace(found, is_alone=_chain_length(tls) == 1)


def _chain_length(tls: object) -> int | None:
    """Counts the certificates that the peer sent, or None if Python hides them. Before 3.13 only `_sslobj` has them."""
    for source in (tls, getattr(tls, "_sslobj", None)):
        if chain := getattr(source, "get_unverified_chain", None):
            return len(chain() or ())
    return None
