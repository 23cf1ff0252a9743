"""An IMAP session (RFC 9051, 3501, 2595, 7628), over IMAPClient.

IMAPClient blocks, so each step runs in a thread; closing the connection ends the step. The bytes that a server may send
in one step are limited: an endless line or endless lines do not exhaust memory.
"""

import asyncio
import imaplib
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

from imapclient import IMAPClient
from imapclient.exceptions import IMAPClientError, LoginError

from mail import sasl
from mail.dialogue import (
    LoginAttempt,
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
from mail.offload import in_thread
from mail.refusals.replies import At, of_imap
from mail.report import Certificate
from models.errors import ErrorCode, MailFailure
from models.secrets import Secret

MAX_BYTES = 256 * 1024
"""The most bytes that a server may send in one step."""
MIN_LINE_COST_BYTES = 64
"""The least that a line counts against MAX_BYTES: every line costs work, however short."""

_NOT_UNDERSTOOD = re.compile(r"(command: \w+ => )?(unexpected |too long)")
"""The start of imaplib's error for a response that it can't parse. Any other abort means a closed connection."""
_BYE = re.compile(r"b['\"]\* BYE\b", re.IGNORECASE)
"""The start of imaplib's error for a BYE as the greeting."""
_CODE = re.compile(r"\[([A-Z]+)[\] ]")
CODES = {"AUTHENTICATIONFAILED", "AUTHORIZATIONFAILED", "EXPIRED", "PRIVACYREQUIRED", "CONTACTADMIN", "NOPERM", "INUSE",
         "LIMIT", "NONEXISTENT", "UNAVAILABLE", "SERVERBUG", "ALERT", "OVERQUOTA", "THROTTLED"}  # fmt: skip
"""The response codes that a message may name (RFC 5530, 9208; THROTTLED is Google's)."""
_BAD = re.compile(r"\w+ command error: BAD")
"""The start of imaplib's error for BAD: the server does not know the command."""


class ImapSession:
    """One connection to an IMAP server."""

    def __init__(self, connected: socket.socket) -> None:
        self.capabilities: list[str] = []
        self._client: _Client | None = None
        self._connected = connected
        self._name = ""
        self.has_spoken = False
        self.was_greeted = False
        self.is_encrypted = False

    @property
    def offers_starttls(self) -> bool:
        return "STARTTLS" in self.capabilities

    @property
    def is_logged_in(self) -> bool:
        return self._client is not None and self._client.is_logged_in

    async def open(self, context: ssl.SSLContext | None, name: str) -> None:
        self._name = name
        self._connected.setblocking(True)
        self._connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # imaplib sends a line in two writes
        if context:
            tls = context.wrap_socket(self._connected, server_hostname=name, do_handshake_on_connect=False)
            self._connected = tls
            await in_thread(tls.do_handshake)
            self.is_encrypted = True

    async def greet(self) -> None:
        with mail_failures():
            self._client = await in_thread(_Client, self._connected, self._name, self._on_data)
        self.was_greeted = True
        self.capabilities = safe_names(self._client.announced)

    def _on_data(self) -> None:
        self.has_spoken = True

    async def start_tls(self, context: ssl.SSLContext, name: str) -> None:  # noqa: ARG002 - known since `open`
        with mail_failures(passing=ssl.SSLError):
            try:
                await in_thread(self._live_client.starttls, context)
            except imaplib.IMAP4.abort:
                raise
            except imaplib.IMAP4.error:
                raise starttls_refused("IMAP", "NO") from None
        self.is_encrypted = True
        self.capabilities = safe_names(self._live_client.announced)

    def certificate(self) -> Certificate:
        connected = self._client.socket() if self._client else self._connected
        return read_certificate(connected if isinstance(connected, ssl.SSLSocket) else None)

    async def authenticate(self, username: str, password: Secret) -> None:
        """Logs in. A refused password is not sent again, so that a server that counts failures counts one."""
        if self.is_logged_in:
            raise no_login("IMAP", self.is_encrypted)
        attempts = self._attempts(username, password)
        if not attempts:
            raise no_login("IMAP", self.is_encrypted, self._mechanisms)
        await try_in_turn(attempts)

    async def authenticate_by_token(self, username: str, token: Secret) -> None:
        mechanisms = sasl.by_token(self._mechanisms)
        if not mechanisms:
            raise no_oauth2("IMAP")
        await self._authenticate(At.TOKEN, mechanisms[0](username, token.reveal()))

    @property
    def _mechanisms(self) -> list[str]:
        return [name.removeprefix("AUTH=") for name in self.capabilities if name.startswith("AUTH=")]

    def _attempts(self, username: str, password: Secret) -> list[LoginAttempt]:
        """Returns the login attempts, best first. AUTHENTICATE takes any text; LOGIN, for older servers, only ASCII."""
        mechanisms = sasl.by_password(self._mechanisms, is_encrypted=self.is_encrypted)
        attempts: list[LoginAttempt] = [
            partial(self._authenticate, At.PASSWORD, mechanism(username, password.reveal())) for mechanism in mechanisms
        ]
        if "LOGINDISABLED" in self.capabilities:
            return attempts
        if (credentials := username + password.reveal()).isascii() and credentials.isprintable():
            better = {sasl.plain_mechanism} if self.is_encrypted else {sasl.plain_mechanism, sasl.cram_md5}
            attempts.insert(len(better.intersection(mechanisms)), partial(self._login, username, password))
        elif not attempts:
            raise _ascii_only()
        return attempts

    async def _login(self, username: str, password: Secret) -> None:
        with mail_failures(At.PASSWORD):
            await in_thread(self._live_client.login, _quote(username), password.reveal())

    async def select_inbox(self) -> None:
        """Opens INBOX read-only: no message is marked as seen."""
        with mail_failures():
            if "ID" in self.capabilities:
                await in_thread(self._live_client.introduce)
            with mail_failures(At.SELECT):
                await in_thread(self._live_client.select_folder, "INBOX", readonly=True)
            found = await in_thread(self._live_client.capabilities_now)
        self.capabilities = safe_names(name.decode("ascii", "replace") for name in found)

    async def leave(self) -> None:
        with mail_failures():
            await in_thread(self._live_client.logout)

    async def close(self) -> None:
        await asyncio.shield(in_thread(self._close))

    def _close(self) -> None:
        """Runs in a thread: imaplib waits for a reading thread, which ends because the connection is shut down."""
        with suppress(OSError, imaplib.IMAP4.error):
            if self._client:
                self._client.shutdown()
        self._connected.close()

    @property
    def _live_client(self) -> "_Client":
        if self._client is None:
            raise hung_up("IMAP")
        return self._client

    async def _authenticate(self, at: At, exchange: sasl.Exchange) -> None:
        with mail_failures(at):
            await in_thread(self._live_client.sasl_login, exchange.mechanism, exchange.answer)


class _Client(IMAPClient):  # type: ignore[misc]  # IMAPClient has no types
    """An IMAPClient on an existing connection."""

    def __init__(self, connected: socket.socket, name: str, on_data: Callable[[], None]) -> None:
        self._connected, self._on_data = connected, on_data
        super().__init__(name, ssl=isinstance(connected, ssl.SSLSocket))
        self._imap.debug = 0  # IMAPClient sets 5, which logs all that the server sends

    @property
    def is_logged_in(self) -> bool:
        return self._imap.state in ("AUTH", "SELECTED")

    @property
    def announced(self) -> tuple[str, ...]:
        """The capabilities that imaplib requested: after the greeting, and again after STARTTLS."""
        found: tuple[str, ...] = self._imap.capabilities
        return found

    def introduce(self) -> None:
        """Sends ID (RFC 2971), without which NetEase lets no client open a mailbox. Ignores a refusal."""
        try:
            self._imap._simple_command("ID", '("name" "email-inbox-server")')
        except imaplib.IMAP4.abort:
            raise
        except imaplib.IMAP4.error:
            return

    def capabilities_now(self) -> tuple[bytes, ...]:
        """Requests the capabilities again: servers announce more after login."""
        found: tuple[bytes, ...] = self._do_capabilites()
        return found

    def _create_IMAP4(self) -> imaplib.IMAP4:  # noqa: N802 - IMAPClient's name
        return _Connection(self._connected, self.host, self._on_data)


class _Connection(imaplib.IMAP4):
    """An imaplib connection with a limit on the bytes that it reads for one command."""

    def __init__(self, connected: socket.socket, name: str, on_data: Callable[[], None]) -> None:
        self._connected, self._on_data = connected, on_data
        self._bytes_left = MAX_BYTES
        super().__init__(name)

    def _create_socket(self, timeout: float | None = None) -> socket.socket:  # noqa: ARG002 - already connected
        return self._connected

    def _new_tag(self) -> bytes:
        self._bytes_left = MAX_BYTES
        tag: bytes = super()._new_tag()  # type: ignore[misc]
        return tag

    def read(self, size: int) -> bytes:
        self._spend(size)
        return super().read(size)

    def readline(self) -> bytes:
        try:
            line = super().readline()
        except self.abort:
            raise
        except self.error:  # a line too long for imaplib ends the connection; it is no refusal
            raise self.abort("too long a line") from None
        self._on_data()
        self._spend(max(len(line), MIN_LINE_COST_BYTES))
        return line

    def _spend(self, size: int) -> None:
        self._bytes_left -= size
        if self._bytes_left < 0:
            raise self.abort("too long an answer")


@contextmanager
def mail_failures(at: At = At.HELLO, passing: type[Exception] | tuple[()] = ()) -> Iterator[None]:
    """Converts errors, except those in `passing`, into a MailFailure that repeats no text of the server."""
    try:
        yield
    except passing:
        raise
    except (imaplib.IMAP4.error, IMAPClientError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise _failure_of(error, at) from None


def _failure_of(error: BaseException, at: At) -> MailFailure:
    match error:
        case LoginError(__context__=imaplib.IMAP4.abort() as cause):
            return _failure_of(cause, at)
        case ssl.SSLError():
            return tls_broken_off("IMAP")
        case OSError():
            return hung_up("IMAP")
        case imaplib.IMAP4.abort() if not _NOT_UNDERSTOOD.match(str(error)):
            return hung_up("IMAP")
        case imaplib.IMAP4.error() if _BYE.match(str(error)):
            return hung_up("IMAP")
        case IMAPClientError() if at is not At.HELLO and not isinstance(error, imaplib.IMAP4.abort):
            code = _response_code(error)
            return of_imap(at, code, str(error)).failure("IMAP", code)
        case _:
            return not_understood("IMAP")


def _ascii_only() -> MailFailure:
    return MailFailure(
        ErrorCode.AUTHENTICATION_FAILED,
        "The IMAP server accepts only usernames and passwords in ASCII.",
        "password",
        hint="Set a password at the mail server that has no accents or other special letters.",
    )


def _quote(text: str) -> str:
    """Quotes a string (RFC 9051, 4.3). For LOGIN, imaplib quotes the password but not the user name."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _response_code(error: BaseException) -> str:
    """Returns the response code of a refusal (RFC 5530) if it is in CODES, else NO or BAD."""
    if _BAD.match(str(error)):
        return "BAD"
    found = _CODE.search(str(error))
    return found.group(1) if found and found.group(1) in CODES else "NO"
