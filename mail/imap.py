"""A conversation with an IMAP server (RFC 9051, 3501, 2595, 7628), over IMAPClient. Knows no stage and no policy.

IMAPClient blocks, so that each step runs in a thread; whoever closes the connection ends the step. What a server may
send in one step is bounded: a line that never ends, or lines without end, cost no memory.
"""

import asyncio
import imaplib
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from imapclient import IMAPClient
from imapclient.exceptions import IMAPClientError, LoginError

from mail.report import Certificate
from mail.session import (
    Refusal,
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
from mail.threads import in_thread
from models.errors import ErrorCode, MailFailure
from models.secrets import Secret

MAX_BYTES = 256 * 1024
"""What a server may send in answer to one step."""
LEAST = 64
"""What a line counts for, however short it is: each is work."""

_NOT_UNDERSTOOD = re.compile(r"(command: \w+ => )?(unexpected |too long)")
"""How imaplib begins when it can make nothing of an answer; all else that ends a connection is its end."""
_BYE = re.compile(r"b['\"]\* BYE\b", re.IGNORECASE)
"""How imaplib begins when that is the greeting."""
_CODE = re.compile(r"\[([A-Z]+)[\] ]")
CODES = {"AUTHENTICATIONFAILED", "AUTHORIZATIONFAILED", "EXPIRED", "PRIVACYREQUIRED", "CONTACTADMIN", "NOPERM", "INUSE",
         "LIMIT", "NONEXISTENT", "UNAVAILABLE", "SERVERBUG", "ALERT", "OVERQUOTA", "THROTTLED"}  # fmt: skip
"""The response codes that are told (RFC 5530, 9208; THROTTLED is Google's)."""
PUT_OFF = {"UNAVAILABLE", "LIMIT", "INUSE", "SERVERBUG", "OVERQUOTA", "THROTTLED"}
"""Those of them that say nothing against user name and password."""


class ImapSession:
    """One connection to an IMAP server."""

    def __init__(self) -> None:
        self.capabilities: list[str] = []
        self._client: _Client | None = None
        self._connected: socket.socket | None = None
        self._name = ""
        self.was_greeted = False
        self.is_encrypted = False

    @property
    def offers_starttls(self) -> bool:
        return "STARTTLS" in self.capabilities

    @property
    def is_logged_in(self) -> bool:
        return self._client is not None and self._client.is_logged_in

    async def open(self, connected: socket.socket, context: ssl.SSLContext | None, name: str) -> None:
        self._name = name
        connected.setblocking(True)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # imaplib sends a line in two pieces
        self._connected = connected
        if context:
            tls = context.wrap_socket(connected, server_hostname=name, do_handshake_on_connect=False)
            self._connected = tls
            await in_thread(tls.do_handshake)
            self.is_encrypted = True

    async def greet(self) -> None:
        with told():
            self._client = await in_thread(_Client, self._connected, self._name)
        self.was_greeted = True
        self.capabilities = shown(self._client.announced)

    async def start_tls(self, context: ssl.SSLContext, name: str) -> None:  # noqa: ARG002 - known since `open`
        with told(passing=ssl.SSLError):
            try:
                await in_thread(self._opened.starttls, context)
            except imaplib.IMAP4.abort:
                raise
            except imaplib.IMAP4.error:
                raise starttls_refused("IMAP", "NO") from None
        self.is_encrypted = True
        self.capabilities = shown(self._opened.announced)

    def certificate(self) -> Certificate:
        connected = self._client.socket() if self._client else self._connected
        return read_certificate(connected if isinstance(connected, ssl.SSLSocket) else None)

    async def authenticate(self, username: str, password: Secret) -> None:
        """AUTHENTICATE PLAIN takes every character; LOGIN, which older servers have, takes ASCII alone."""
        if self.is_logged_in:
            raise no_login("IMAP", self.is_encrypted)
        if "AUTH=PLAIN" in self.capabilities:
            await self._authenticate(login_refused, "PLAIN", f"\0{username}\0{password.reveal()}")
        elif "LOGINDISABLED" in self.capabilities:
            raise no_login("IMAP", self.is_encrypted)
        elif not ((said := username + password.reveal()).isascii() and said.isprintable()):
            raise _ascii_only()
        else:
            with told():
                await in_thread(self._opened.login, _quoted(username), password.reveal())

    async def authenticate_by_token(self, username: str, token: Secret) -> None:
        bearer = f"auth=Bearer {token.reveal()}\x01\x01"
        if "AUTH=XOAUTH2" in self.capabilities:
            await self._authenticate(token_refused, "XOAUTH2", f"user={username}\x01{bearer}")
        elif "AUTH=OAUTHBEARER" in self.capabilities:
            said = f"n,a={saslname(username)},\x01{bearer}"
            await self._authenticate(token_refused, "OAUTHBEARER", said, goodbye=b"\x01")
        else:
            raise no_oauth2("IMAP")

    async def select_inbox(self) -> None:
        """Opens INBOX to look at it: nothing is marked as seen."""
        with told():
            if "ID" in self.capabilities:
                await in_thread(self._opened.introduce)
            try:
                await in_thread(self._opened.select_folder, "INBOX", readonly=True)
            except IMAPClientError as error:
                if isinstance(error, imaplib.IMAP4.abort):
                    raise
                code = _code_of(error)
                raise put_off("IMAP", code) if code in PUT_OFF else _no_inbox(code) from None
            found = await in_thread(self._opened.capabilities_now)
        self.capabilities = shown(name.decode("ascii", "replace") for name in found)

    async def leave(self) -> None:
        with told():
            await in_thread(self._opened.logout)

    async def close(self) -> None:
        await asyncio.shield(in_thread(self._close))

    def _close(self) -> None:
        """In a thread, because imaplib waits for another that still reads: which ends, as its connection has ended."""
        with suppress(OSError, imaplib.IMAP4.error):
            if self._client:
                self._client.shutdown()
        if self._connected:
            self._connected.close()

    @property
    def _opened(self) -> "_Client":
        if self._client is None:
            raise hung_up("IMAP")
        return self._client

    async def _authenticate(self, refusal: Refusal, mechanism: str, said: str, goodbye: bytes = b"") -> None:
        """One message of ours; to a challenge after it, which tells why it is refused, only an end is left."""
        answers = iter([said.encode()])
        with told(refusal):
            await in_thread(self._opened.sasl_login, mechanism, lambda _challenge: next(answers, goodbye))


class _Client(IMAPClient):  # type: ignore[misc]  # IMAPClient has no types
    """A client of a connection that was made already."""

    def __init__(self, connected: socket.socket | None, name: str) -> None:
        assert connected is not None
        self._given = connected
        super().__init__(name, ssl=isinstance(connected, ssl.SSLSocket))
        self._imap.debug = 0  # IMAPClient's is 5: all that the server says, for the log

    @property
    def is_logged_in(self) -> bool:
        return self._imap.state in ("AUTH", "SELECTED")

    @property
    def announced(self) -> tuple[str, ...]:
        """What the server said that it can, when imaplib asked it: after the greeting, and once more under TLS."""
        found: tuple[str, ...] = self._imap.capabilities
        return found

    def introduce(self) -> None:
        """Says what program we are (RFC 2971): NetEase lets nobody open a mailbox who did not. No answer is needed."""
        try:
            self._imap._simple_command("ID", '("name" "email-inbox-server")')
        except imaplib.IMAP4.abort:
            raise
        except imaplib.IMAP4.error:
            return

    def capabilities_now(self) -> tuple[bytes, ...]:
        """What the server can, asked anew: more is said to whoever is logged in."""
        found: tuple[bytes, ...] = self._do_capabilites()
        return found

    def _create_IMAP4(self) -> imaplib.IMAP4:  # noqa: N802 - IMAPClient's name
        return _Connection(self._given, self.host)


class _Connection(imaplib.IMAP4):
    """imaplib's, with a bound on what it reads for one command."""

    def __init__(self, connected: socket.socket, name: str) -> None:
        self._given = connected
        self._left = MAX_BYTES
        super().__init__(name)

    def _create_socket(self, timeout: float | None = None) -> socket.socket:  # noqa: ARG002 - it is made already
        return self._given

    def _new_tag(self) -> bytes:
        self._left = MAX_BYTES
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
        except self.error:  # what is too long for imaplib ends the connection, and is no refusal
            raise self.abort("too long a line") from None
        self._spend(max(len(line), LEAST))
        return line

    def _spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise self.abort("too long an answer")


@contextmanager
def told(login_failure: Refusal = login_refused, passing: type[Exception] | tuple[()] = ()) -> Iterator[None]:
    """Turns what goes wrong, but what is `passing`, into a MailFailure that repeats nothing that the server said."""
    try:
        yield
    except passing:
        raise
    except (imaplib.IMAP4.error, IMAPClientError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise _failure_of(error, login_failure) from None


def _failure_of(error: BaseException, login_failure: Refusal) -> MailFailure:
    match error:
        case LoginError(__context__=imaplib.IMAP4.abort() as cause):
            return _failure_of(cause, login_failure)
        case LoginError():
            return _login_failure(_code_of(error), login_failure)
        case ssl.SSLError():
            return tls_broken_off("IMAP")
        case OSError():
            return hung_up("IMAP")
        case imaplib.IMAP4.abort() if not _NOT_UNDERSTOOD.match(str(error)):
            return hung_up("IMAP")
        case imaplib.IMAP4.error() if _BYE.match(str(error)):
            return hung_up("IMAP")
        case _:
            return not_understood("IMAP")


def _login_failure(code: str, login_failure: Refusal) -> MailFailure:
    if code == "PRIVACYREQUIRED":
        return tls_wanted("IMAP")
    return put_off("IMAP", code) if code in PUT_OFF else login_failure("IMAP", code)


def _no_inbox(code: str) -> MailFailure:
    return MailFailure(
        ErrorCode.MAILBOX_NOT_FOUND,
        f"The account has no mailbox INBOX that can be opened ({code}).",
        "username",
        hint="Check that the user name is of an account that receives mail, and that IMAP is switched on for it.",
    )


def _ascii_only() -> MailFailure:
    return MailFailure(
        ErrorCode.AUTHENTICATION_FAILED,
        "The IMAP server takes only user names and passwords in ASCII.",
        "password",
        hint="Set a password at the mail server that has no accents or other special letters.",
    )


def _quoted(text: str) -> str:
    """A string as IMAP takes it (RFC 9051, 4.3): imaplib quotes the password of LOGIN, and not the user name."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _code_of(error: BaseException) -> str:
    """The response code within a refusal (RFC 5530), where it is one that may be told; else NO."""
    found = _CODE.search(str(error))
    return found.group(1) if found and found.group(1) in CODES else "NO"
