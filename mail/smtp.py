"""A conversation with an SMTP server (RFC 5321, 3207, 4954, 7628), over aiosmtplib. Knows no stage and no policy."""

import asyncio
import base64
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import aiosmtplib
from aiosmtplib.protocol import SMTPProtocol
from aiosmtplib.response import SMTPResponse

from mail.hosts import ascii_name
from mail.report import GOOD, PERMANENT, TEMPORARY, Certificate, Reply
from mail.session import (
    Refusal,
    enhanced_code,
    hung_up,
    login_refused,
    no_login,
    no_oauth2,
    not_understood,
    put_off,
    read_certificate,
    saslname,
    shown,
    starttls_refused,
    tls_broken_off,
    tls_wanted,
    token_refused,
)
from models.errors import ErrorCode, MailFailure
from models.secrets import Secret

NOT_UNDERSTOOD = -1
"""What aiosmtplib gives for the code of a line that is no reply."""
CHALLENGE = 334
MAX_INITIAL = 480
"""What an AUTH command holds beside its name within the 512 bytes of a command line (RFC 5321, 4.5.3.1.4)."""
TLS_FIRST = (530, 538)
NO_SUCH_WAY = (502, 503, 504)
"""Refusals of AUTH that say nothing against user name and password (RFC 4954, 4 and 6)."""
CLOSING = 421
"""What ends the connection in answer to any command, and refuses none (RFC 5321, 3.8)."""

MAY_BE_SENT = "It may have been sent, or not: look into the recipient's mailbox before you try again."
_ALIAS = "The account may not send as this address: have it added as an alias, or use the account that owns it."


class SmtpSession:
    """One connection to an SMTP server."""

    is_logged_in = False

    def __init__(self) -> None:
        self.capabilities: list[str] = []
        self._client = _Client(timeout=None)
        self._extensions: dict[str, str] = {}
        self._methods: list[str] = []
        self.was_greeted = False
        self.is_encrypted = False

    @property
    def offers_starttls(self) -> bool:
        return "starttls" in self._extensions

    async def open(self, connected: socket.socket, context: ssl.SSLContext | None, name: str) -> None:
        await self._client.take(connected, context, name)
        self.is_encrypted = context is not None

    async def greet(self) -> None:
        with told():
            reply = await self._client.greeting()
        if reply.code // 100 != GOOD:
            raise _turned_away(_reply(reply))
        self.was_greeted = True
        await self._hello()

    async def start_tls(self, context: ssl.SSLContext, name: str) -> None:
        with told(passing=ssl.SSLError):
            try:
                await self._client.starttls(tls_context=context, server_hostname=name)
            except aiosmtplib.SMTPResponseException as error:
                if error.code == CLOSING or error.code // 100 not in (TEMPORARY, PERMANENT):
                    raise
                code = str(Reply(error.code, enhanced_code(error.message)))
                raise starttls_refused("SMTP", code) from None
        self.is_encrypted = True
        await self._hello()

    def certificate(self) -> Certificate:
        with told():
            return read_certificate(self._client.get_transport_info("ssl_object"))

    async def authenticate(self, username: str, password: Secret) -> None:
        """By one mechanism alone: where failures are counted, a wrong password is to count once."""
        ways: dict[str, Callable[[str, str], Awaitable[SMTPResponse]]] = {
            "plain": lambda name, word: self._client.auth_sasl(b"PLAIN", f"\0{name}\0{word}"),
            "login": self._client.auth_login,
            "cram-md5": self._client.auth_crammd5,
        }
        liked = ["plain", "login", "cram-md5"] if self.is_encrypted else ["cram-md5", "plain", "login"]
        mechanism = next((name for name in liked if name in self._methods), None)
        if mechanism is None:
            raise no_login("SMTP", self.is_encrypted)
        with told():
            await ways[mechanism](username, password.reveal())

    async def authenticate_by_token(self, username: str, token: Secret) -> None:
        with told(token_refused):
            bearer = f"auth=Bearer {token.reveal()}\x01\x01"
            if "xoauth2" in self._methods:
                await self._client.auth_sasl(b"XOAUTH2", f"user={username}\x01{bearer}")
            elif "oauthbearer" in self._methods:
                said = f"n,a={saslname(username)},\x01{bearer}"
                await self._client.auth_sasl(b"OAUTHBEARER", said, goodbye=b"\x01")
            else:
                raise no_oauth2("SMTP")

    async def sender(self, address: str) -> None:
        """Names the sender, and takes it back: whether this account may send as this address."""
        await self._mail_from(address)
        with told():
            await self._client.rset()

    async def envelope(self, sender: str, recipient: str) -> None:
        """Names the sender and the recipient of a message."""
        await self._mail_from(sender, recipient)
        with told():
            await self._client.rcpt(_envelope(recipient), encoding="utf-8")

    async def message(self, message: bytes) -> Reply:
        """Hands over the message for the envelope, and returns the reply that takes it."""
        with told():
            try:
                return _reply(await self._client.data(message))
            except (aiosmtplib.SMTPServerDisconnected, OSError):
                raise _answer_lost() from None
            except aiosmtplib.SMTPResponseException as error:
                if error.code // 100 in (TEMPORARY, PERMANENT):
                    raise
                raise _answer_lost() from None

    async def leave(self) -> None:
        with told():
            await self._client.quit()

    async def close(self) -> None:
        self._client.close()

    async def _hello(self) -> None:
        with told():
            await self._client.ehlo()
        # Kept here: what aiosmtplib knows of them is gone with the connection.
        self._extensions, self._methods = self._client.esmtp_extensions, list(self._client.server_auth_methods)
        others = [name for name in self._extensions if name != "auth"]
        self.capabilities = shown([*others, *(f"AUTH={name}" for name in self._methods)])

    async def _mail_from(self, sender: str, *others: str) -> None:
        international = not all(_envelope(address).isascii() for address in (sender, *others))
        if international and "smtputf8" not in self._extensions:
            raise _sender_refused(None)
        with told():
            options = ["SMTPUTF8"] if international else []
            await self._client.mail(_envelope(sender), options=options, encoding="utf-8")


class _Client(aiosmtplib.SMTP):
    """A client of a connection that was made already, whose handshake and greeting are steps of their own."""

    async def take(self, connected: socket.socket, context: ssl.SSLContext | None, name: str) -> None:
        loop = asyncio.get_running_loop()
        self.local_hostname = _address_literal(connected)
        self.transport, self.protocol = await loop.create_connection(
            lambda: SMTPProtocol(connection_lost_callback=self._on_connection_lost),
            sock=connected,
            ssl=context,
            server_hostname=name if context else None,
        )

    async def greeting(self) -> SMTPResponse:
        if self.protocol is None:
            raise aiosmtplib.SMTPServerDisconnected("")
        return await self.protocol.read_response()

    async def auth_sasl(self, mechanism: bytes, said: str, goodbye: bytes = b"") -> SMTPResponse:
        """One message of ours; to a challenge after it, which tells why it is refused, only an end is left.

        What makes the command too long goes after it (RFC 4954, 4): Postfix cuts a line, and calls the rest wrong.
        """
        encoded = base64.b64encode(said.encode())
        initial = [encoded] if len(encoded) <= MAX_INITIAL else []
        reply = await self.execute_command(b"AUTH", mechanism, *initial)
        if not initial and reply.code == CHALLENGE:
            reply = await self.execute_command(encoded)
        if reply.code == CHALLENGE:
            reply = await self.execute_command(base64.b64encode(goodbye))
        if reply.code // 100 != GOOD:
            raise aiosmtplib.SMTPAuthenticationError(reply.code, reply.message)
        return reply


@contextmanager
def told(login_failure: Refusal = login_refused, passing: type[Exception] | tuple[()] = ()) -> Iterator[None]:
    """Turns what goes wrong, but what is `passing`, into a MailFailure that repeats nothing that the server said."""
    try:
        yield
    except passing:
        raise
    except (aiosmtplib.SMTPException, OSError, ValueError) as error:
        raise _failure_of(error, login_failure) from None


def _failure_of(error: Exception, login_failure: Refusal) -> MailFailure:
    match error:
        case aiosmtplib.SMTPServerDisconnected(__cause__=ssl.SSLError()) | ssl.SSLError():
            return tls_broken_off("SMTP")
        case aiosmtplib.SMTPServerDisconnected() | OSError():
            return hung_up("SMTP")
        case aiosmtplib.SMTPResponseException() if error.code != NOT_UNDERSTOOD:
            return _refusal(error, Reply(error.code, enhanced_code(error.message)), login_failure)
        case _:
            return not_understood("SMTP")


def _refusal(error: aiosmtplib.SMTPResponseException, reply: Reply, login_failure: Refusal) -> MailFailure:
    match error:
        case _ if reply.code == CLOSING:
            return _turned_away(reply)
        case _ if reply.code // 100 not in (TEMPORARY, PERMANENT):
            return not_understood("SMTP")
        case aiosmtplib.SMTPAuthenticationError():
            return _login_failure(reply, login_failure)
        case aiosmtplib.SMTPSenderRefused():
            return _sender_refused(reply)
        case aiosmtplib.SMTPRecipientRefused():
            return _recipient_refused(reply)
        case aiosmtplib.SMTPDataError():
            return _message_refused(reply)
        case _:
            return _turned_away(reply)


def _login_failure(reply: Reply, login_failure: Refusal) -> MailFailure:
    if reply.code in TLS_FIRST:
        return tls_wanted("SMTP")
    if reply.code in NO_SUCH_WAY:
        return no_oauth2("SMTP") if login_failure is token_refused else no_login("SMTP", encrypted=True)
    return put_off("SMTP", str(reply)) if reply.is_temporary else login_failure("SMTP", str(reply))


def _sender_refused(reply: Reply | None) -> MailFailure:
    """The server does not take mail from this address, or, without a reply, takes no address with such characters."""
    told = f"The SMTP server does not take mail from this address ({reply})."
    return MailFailure(
        ErrorCode.SENDER_REJECTED,
        told if reply else "The SMTP server takes only addresses in ASCII.",
        "email",
        hint="Try again later." if reply and reply.is_temporary else _ALIAS,
    )


def _recipient_refused(reply: Reply) -> MailFailure:
    return MailFailure(
        ErrorCode.RECIPIENT_REJECTED,
        f"The SMTP server does not take mail for this recipient ({reply}).",
        "to",
        hint="Try again later; some servers make a new sender wait." if reply.is_temporary else "Check the address.",
    )


def _message_refused(reply: Reply) -> MailFailure:
    hint = "Try again later." if reply.is_temporary else "It may look like spam to the server: ask its operator."
    return MailFailure(
        ErrorCode.PROTOCOL_ERROR, f"The SMTP server does not take the message ({reply}).", "server", hint=hint
    )


def _answer_lost() -> MailFailure:
    return MailFailure(
        ErrorCode.PROTOCOL_ERROR,
        "The SMTP server gave no answer to the message that can be understood.",
        "server",
        hint=MAY_BE_SENT,
    )


def _turned_away(reply: Reply) -> MailFailure:
    hint = "Try again later." if reply.is_temporary else "Ask the operator of the mail server."
    return MailFailure(ErrorCode.PROTOCOL_ERROR, f"The SMTP server turned us away ({reply}).", "server", hint=hint)


def _reply(response: SMTPResponse) -> Reply:
    return Reply(response.code, enhanced_code(response.message))


def _envelope(address: str) -> str:
    """The address as it is sent: its domain in ASCII (RFC 5891), so that most need no SMTPUTF8."""
    local, _, domain = address.rpartition("@")
    return f"{local}@{ascii_name(domain)}"


def _address_literal(connected: socket.socket) -> str:
    """How we name ourselves (RFC 5321, 4.1.3): a host that may stand behind a router has no better name."""
    address = str(connected.getsockname()[0]).partition("%")[0]
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"
