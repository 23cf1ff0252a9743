"""A conversation with an SMTP server (RFC 5321, 3207, 4954, 7628), over aiosmtplib. Knows no stage and no policy."""

import asyncio
import base64
import binascii
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import aiosmtplib
from aiosmtplib.protocol import SMTPProtocol
from aiosmtplib.response import SMTPResponse

from mail import sasl
from mail.dialogue import (
    enhanced_code,
    hung_up,
    no_login,
    no_oauth2,
    not_understood,
    read_certificate,
    safe_names,
    starttls_refused,
    tls_broken_off,
    try_in_turn,
)
from mail.hosts import ascii_name
from mail.refusals.replies import At, of_smtp
from mail.report import GOOD, PERMANENT, TEMPORARY, Certificate, Reply
from models.errors import ErrorCode, MailFailure
from models.secrets import Secret

CHALLENGE = 334
MAX_CHALLENGES = 4
MAX_INITIAL = 480
"""What an AUTH command holds beside its name within the 512 bytes of a command line (RFC 5321, 4.5.3.1.4)."""
CLOSING = 421
"""What ends the connection in answer to any command, and refuses none (RFC 5321, 3.8)."""

MAY_BE_SENT = "It may have been sent, or not: look into the recipient's mailbox before you try again."
NOT_RECEIVED_HERE = (
    "The server accepted the inbox's address as a sender, but not as a recipient, which it was offered to see more. "
    "Many servers judge the sender only then: send a test mail to be sure."
)


class SmtpSession:
    """One connection to an SMTP server."""

    is_logged_in = False

    def __init__(self, connected: socket.socket) -> None:
        self.capabilities: list[str] = []
        self._client = _Client(connected)
        self._extensions: dict[str, str] = {}
        self._methods: list[str] = []
        self.was_greeted = False
        self.is_encrypted = False

    @property
    def offers_starttls(self) -> bool:
        return "starttls" in self._extensions

    @property
    def has_spoken(self) -> bool:
        return self._client.has_spoken

    async def open(self, context: ssl.SSLContext | None, name: str) -> None:
        await self._client.begin(context, name)
        self.is_encrypted = context is not None

    async def greet(self) -> None:
        with smtp_failures():
            reply = await self._client.greeting()
        if reply.code // 100 != GOOD:
            raise _refusal(At.HELLO, reply.code, reply.message)
        self.was_greeted = True
        await self._hello()

    async def start_tls(self, context: ssl.SSLContext, name: str) -> None:
        with smtp_failures(passing=ssl.SSLError):
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
        with smtp_failures():
            return read_certificate(self._client.get_transport_info("ssl_object"))

    async def authenticate(self, username: str, password: Secret) -> None:
        """A password that the server has refused is not sent again: where failures are counted, it counts once."""
        mechanisms = sasl.by_password(self._methods, is_encrypted=self.is_encrypted)
        if not mechanisms:
            raise no_login("SMTP", self.is_encrypted, self._methods)
        exchanges = (mechanism(username, password.reveal()) for mechanism in mechanisms)
        await try_in_turn(partial(self._authenticate, At.PASSWORD, exchange) for exchange in exchanges)

    async def authenticate_by_token(self, username: str, token: Secret) -> None:
        mechanisms = sasl.by_token(self._methods)
        if not mechanisms:
            raise no_oauth2("SMTP")
        await self._authenticate(At.TOKEN, mechanisms[0](username, token.reveal()))

    async def sender(self, address: str) -> str | None:
        """Names the sender, and takes it back: whether this account may send as this address. A warning, or None.

        Servers judge the sender when they are told a recipient (Postfix: smtpd_delay_reject). That is the address
        itself: nothing is sent to anybody, and whether this server knows a mailbox for it is another matter.
        """
        warning = None
        await self._mail_from(address)
        try:
            await self._rcpt_to(address)
        except MailFailure as failure:
            if failure.kind is not ErrorCode.RECIPIENT_REJECTED:
                raise
            warning = NOT_RECEIVED_HERE
        with smtp_failures():
            await self._client.rset()
        return warning

    async def envelope(self, sender: str, recipient: str) -> None:
        """Names the sender and the recipient of a message."""
        await self._mail_from(sender, recipient)
        await self._rcpt_to(recipient)

    async def message(self, message: bytes) -> Reply:
        """Hands over the message for the envelope, and returns the reply that takes it."""
        with smtp_failures(At.DATA):
            try:
                return _reply(await self._client.data(message))
            except (aiosmtplib.SMTPServerDisconnected, OSError):
                raise _answer_lost() from None
            except aiosmtplib.SMTPResponseException as error:
                if error.code // 100 in (TEMPORARY, PERMANENT):
                    raise
                raise _answer_lost() from None

    async def leave(self) -> None:
        with smtp_failures():
            await self._client.quit()

    async def close(self) -> None:
        self._client.close()

    async def _authenticate(self, at: At, exchange: sasl.Exchange) -> None:
        with smtp_failures(at):
            await self._client.auth(exchange)

    async def _hello(self) -> None:
        with smtp_failures():
            await self._client.ehlo()
        # Kept here: what aiosmtplib knows of them is gone with the connection.
        self._extensions, self._methods = self._client.esmtp_extensions, list(self._client.server_auth_methods)
        others = [name for name in self._extensions if name != "auth"]
        self.capabilities = safe_names([*others, *(f"AUTH={name}" for name in self._methods)])

    async def _mail_from(self, sender: str, *others: str) -> None:
        international = not all(_envelope(address).isascii() for address in (sender, *others))
        if international and "smtputf8" not in self._extensions:
            raise _ascii_only()
        with smtp_failures(At.MAIL):
            options = ["SMTPUTF8"] if international else []
            await self._client.mail(_envelope(sender), options=options, encoding="utf-8")

    async def _rcpt_to(self, recipient: str) -> None:
        with smtp_failures(At.RCPT):
            await self._client.rcpt(_envelope(recipient), encoding="utf-8")


class _Client(aiosmtplib.SMTP):
    """A client of a connection that was made already, whose handshake and greeting are steps of their own."""

    def __init__(self, connected: socket.socket) -> None:
        super().__init__(timeout=None)
        self._connected: socket.socket | None = connected
        self.has_spoken = False

    async def begin(self, context: ssl.SSLContext | None, name: str) -> None:
        assert self._connected is not None
        self.local_hostname = _address_literal(self._connected)
        self.transport, self.protocol = await asyncio.get_running_loop().create_connection(
            self._taken, sock=self._connected, ssl=context, server_hostname=name if context else None
        )

    async def greeting(self) -> SMTPResponse:
        if self.protocol is None:
            raise aiosmtplib.SMTPServerDisconnected("")
        return await self.protocol.read_response()

    async def auth(self, exchange: sasl.Exchange) -> None:
        """What makes the command too long goes after it (RFC 4954, 4): Postfix cuts a line."""
        said = [base64.b64encode(exchange.answer(b""))] if exchange.is_client_first else []
        initial = [said.pop()] if said and len(said[0]) <= MAX_INITIAL else []
        reply = await self.execute_command(b"AUTH", exchange.mechanism.encode(), *initial)
        for _ in range(MAX_CHALLENGES):
            if reply.code != CHALLENGE:
                break
            answer = said.pop() if said else base64.b64encode(exchange.answer(_challenge(reply.message)))
            reply = await self.execute_command(answer)
        if reply.code // 100 != GOOD:
            raise aiosmtplib.SMTPAuthenticationError(reply.code, reply.message)

    def close(self) -> None:
        super().close()
        if self._connected:
            self._connected.close()

    def _taken(self) -> SMTPProtocol:
        """From now on the connection is a transport's, which closes it."""
        self._connected = None
        return _Protocol(self)


class _Protocol(SMTPProtocol):
    """aiosmtplib's, which notes that something came."""

    def __init__(self, client: _Client) -> None:
        super().__init__(connection_lost_callback=client._on_connection_lost)
        self._client = client

    def data_received(self, data: bytes) -> None:
        self._client.has_spoken = True
        super().data_received(data)


@contextmanager
def smtp_failures(at: At = At.HELLO, passing: type[Exception] | tuple[()] = ()) -> Iterator[None]:
    """Turns what goes wrong, but what is `passing`, into a MailFailure that repeats nothing that the server said."""
    try:
        yield
    except passing:
        raise
    except (aiosmtplib.SMTPException, OSError, ValueError) as error:
        raise _failure_of(error, at) from None


def _failure_of(error: Exception, at: At) -> MailFailure:
    match error:
        case aiosmtplib.SMTPServerDisconnected(__cause__=ssl.SSLError()) | ssl.SSLError():
            return tls_broken_off("SMTP")
        case aiosmtplib.SMTPServerDisconnected() | OSError():
            return hung_up("SMTP")
        case aiosmtplib.SMTPResponseException() if error.code // 100 in (TEMPORARY, PERMANENT):
            return _refusal(at, error.code, error.message)
        case _:
            return not_understood("SMTP")


def _refusal(at: At, code: int, text: str) -> MailFailure:
    reply = str(Reply(code, enhanced_code(text)))
    return of_smtp(at, reply, text).failure("SMTP", reply)


def _ascii_only() -> MailFailure:
    return MailFailure(
        ErrorCode.SENDER_REJECTED,
        "The SMTP server accepts only addresses in ASCII.",
        "email",
        hint="Use an address in ASCII, such as an alias, or a provider that supports SMTPUTF8.",
    )


def _answer_lost() -> MailFailure:
    return MailFailure(
        ErrorCode.PROTOCOL_ERROR,
        "The SMTP server gave no answer to the message that can be understood.",
        "server",
        hint=MAY_BE_SENT,
    )


def _reply(response: SMTPResponse) -> Reply:
    return Reply(response.code, enhanced_code(response.message))


def _challenge(text: str) -> bytes:
    """What a challenge holds; nothing where it is not in base64, which matters to few mechanisms."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _envelope(address: str) -> str:
    """The address as it is sent: its domain in ASCII (RFC 5891), so that most need no SMTPUTF8."""
    local, _, domain = address.rpartition("@")
    return f"{local}@{ascii_name(domain)}"


def _address_literal(connected: socket.socket) -> str:
    """How we name ourselves (RFC 5321, 4.1.3): a host that may stand behind a router has no better name."""
    address = str(connected.getsockname()[0]).partition("%")[0]
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"
