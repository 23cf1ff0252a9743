"""An SMTP session (RFC 5321, 3207, 4954, 7628), over aiosmtplib."""

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
"""The longest initial response of AUTH that fits a 512-byte command line (RFC 5321, 4.5.3.1.4)."""
CLOSING = 421
"""The reply code that closes the connection. It may answer any command and does not refuse it (RFC 5321, 3.8)."""

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
        await self._say_hello()

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
        await self._say_hello()

    def certificate(self) -> Certificate:
        with smtp_failures():
            return read_certificate(self._client.get_transport_info("ssl_object"))

    async def authenticate(self, username: str, password: Secret) -> None:
        """Logs in. A refused password is not sent again, so that a server that counts failures counts one."""
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
        """Checks that the account may send as this address, without sending mail. Returns a warning, or None.

        Servers check the sender at RCPT TO (Postfix: smtpd_delay_reject), so the address is also the recipient. A
        server that has no mailbox for it is no failure. RSET then drops the envelope.
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
        """Sends the envelope: MAIL FROM and RCPT TO."""
        await self._mail_from(sender, recipient)
        await self._rcpt_to(recipient)

    async def message(self, message: bytes) -> Reply:
        """Sends the message for the envelope, and returns the reply that accepts it."""
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

    async def _say_hello(self) -> None:
        with smtp_failures():
            await self._client.ehlo()
        # Copied: aiosmtplib clears them when the connection closes.
        self._extensions, self._methods = self._client.esmtp_extensions, list(self._client.server_auth_methods)
        others = [name for name in self._extensions if name != "auth"]
        self.capabilities = safe_names([*others, *(f"AUTH={name}" for name in self._methods)])

    async def _mail_from(self, sender: str, *others: str) -> None:
        international = not all(_envelope_address(address).isascii() for address in (sender, *others))
        if international and "smtputf8" not in self._extensions:
            raise _ascii_only()
        with smtp_failures(At.MAIL):
            options = ["SMTPUTF8"] if international else []
            await self._client.mail(_envelope_address(sender), options=options, encoding="utf-8")

    async def _rcpt_to(self, recipient: str) -> None:
        with smtp_failures(At.RCPT):
            await self._client.rcpt(_envelope_address(recipient), encoding="utf-8")


class _Client(aiosmtplib.SMTP):
    """An aiosmtplib client on an existing connection, with the handshake and the greeting as separate steps."""

    def __init__(self, connected: socket.socket) -> None:
        super().__init__(timeout=None)
        self._connected: socket.socket | None = connected
        self.has_spoken = False

    async def begin(self, context: ssl.SSLContext | None, name: str) -> None:
        assert self._connected is not None
        self.local_hostname = _address_literal(self._connected)
        self.transport, self.protocol = await asyncio.get_running_loop().create_connection(
            self._make_protocol, sock=self._connected, ssl=context, server_hostname=name if context else None
        )

    async def greeting(self) -> SMTPResponse:
        if self.protocol is None:
            raise aiosmtplib.SMTPServerDisconnected("")
        return await self.protocol.read_response()

    async def auth(self, exchange: sasl.Exchange) -> None:
        """Runs the exchange. A long initial response follows the command (RFC 4954, 4): Postfix cuts lines."""
        unsent = [base64.b64encode(exchange.answer(b""))] if exchange.is_client_first else []
        initial = [unsent.pop()] if unsent and len(unsent[0]) <= MAX_INITIAL else []
        reply = await self.execute_command(b"AUTH", exchange.mechanism.encode(), *initial)
        for _ in range(MAX_CHALLENGES):
            if reply.code != CHALLENGE:
                break
            answer = unsent.pop() if unsent else base64.b64encode(exchange.answer(_challenge(reply.message)))
            reply = await self.execute_command(answer)
        if reply.code // 100 != GOOD:
            raise aiosmtplib.SMTPAuthenticationError(reply.code, reply.message)

    def close(self) -> None:
        super().close()
        if self._connected:
            self._connected.close()

    def _make_protocol(self) -> SMTPProtocol:
        """Creates the protocol. From here on, the transport owns the connection and closes it."""
        self._connected = None
        return _Protocol(self)


class _Protocol(SMTPProtocol):
    """aiosmtplib's protocol, which records that the server has sent data."""

    def __init__(self, client: _Client) -> None:
        super().__init__(connection_lost_callback=client._on_connection_lost)
        self._client = client

    def data_received(self, data: bytes) -> None:
        self._client.has_spoken = True
        super().data_received(data)


@contextmanager
def smtp_failures(at: At = At.HELLO, passing: type[Exception] | tuple[()] = ()) -> Iterator[None]:
    """Converts errors, except those in `passing`, into a MailFailure that repeats no text of the server."""
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
    """Decodes a challenge. Empty if it is not base64, which few mechanisms need."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _envelope_address(address: str) -> str:
    """Converts the domain to ASCII (RFC 5891), so that most addresses need no SMTPUTF8."""
    local, _, domain = address.rpartition("@")
    return f"{local}@{ascii_name(domain)}"


def _address_literal(connected: socket.socket) -> str:
    """Returns the EHLO name, an address literal (RFC 5321, 4.1.3): a host behind NAT has no better name."""
    address = str(connected.getsockname()[0]).partition("%")[0]
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"
