"""Proves an account: connects and logs in stage by stage, and says which stage broke, why, and what to change.

Knows no inbox. A check saves nothing and sends no mail; what it changes at a server is, at most, when somebody last
logged in. How long each stage and the whole check may take lies in `mail/patience.py`.
"""

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_address
from typing import Generic, TypeVar

from mail import pasted, patience
from mail.dialogue import Session, hung_up, starttls_unavailable
from mail.hosts import Address, canonical
from mail.imap import ImapSession
from mail.refusals.verdicts import NotAllowed
from mail.report import Certificate, Reply, ServerCheck, Stage, StageName
from mail.service import Mail
from mail.settings.providers import provider_of_server
from mail.smtp import MAY_BE_SENT, SmtpSession
from mail.tls import accept, failure_of, speaks_clear
from models.account import Account, Grant
from models.config import IMPLICIT_TLS_PORTS, STARTTLS_PORTS
from models.errors import ErrorCode, MailFailure
from models.secrets import Secret

LOOK_SECONDS = 3.0
"""How long a server may take to show once more the certificate that was refused."""
LEAVE_SECONDS = 1.0
NO_RELAY = (
    "Mail is sent without a login, since username and password are empty: set both, or have the operator of the mail "
    "server let this server relay."
)
REFUSALS = (ErrorCode.SENDER_REJECTED, ErrorCode.RECIPIENT_REJECTED, ErrorCode.AUTHENTICATION_FAILED)
EXPIRES_SOON_DAYS = 30

SessionT = TypeVar("SessionT", bound=Session)
Handshake = Callable[[], Awaitable[None]]


@dataclass(slots=True)
class Checking:
    """Keeps the time of a check, and the record of its stages."""

    report: ServerCheck = field(default_factory=ServerCheck)
    session: Session | None = None
    ends_at: float = field(default_factory=lambda: asyncio.get_running_loop().time() + patience.CHECK_SECONDS)

    @asynccontextmanager
    async def stage(self, name: StageName, account: Account) -> AsyncIterator[Stage]:
        """Records what is done within as a stage. A MailFailure passes; what takes too long becomes one."""
        stage, started = Stage(name), time.perf_counter()
        self.report.stages.append(stage)
        own_end = asyncio.get_running_loop().time() + patience.seconds_for(name)
        try:
            async with asyncio.timeout_at(min(own_end, self.ends_at)):
                yield stage
        except MailFailure as failure:
            if isinstance(failure, NotAllowed) and not account.username:
                failure.hint = NO_RELAY
            stage.fail(failure)
            raise
        except TimeoutError:
            is_silent, is_over = not (self.session and self.session.has_spoken), self.ends_at < own_end
            raise stage.fail(patience.timed_out(name, account, is_silent=is_silent, is_over=is_over)) from None
        except OSError:
            raise stage.fail(hung_up("mail")) from None
        finally:
            stage.duration_ms = round((time.perf_counter() - started) * 1000, 1)


async def check_smtp(mail: Mail, account: Account, sender: str) -> ServerCheck:
    """Whether mail can be sent by this account as `sender`. What breaks is in the report."""
    checking = Checking()
    dial = Dial(mail, account, SmtpSession, checking)
    with suppress(MailFailure):
        async with dial.session() as session, checking.stage(StageName.SENDER, account) as stage:
            stage.hint = await session.sender(sender)
    return checking.report


async def check_imap(mail: Mail, account: Account) -> ServerCheck:
    """Whether the mail of this account can be read. What breaks is in the report."""
    checking = Checking()
    dial = Dial(mail, account, ImapSession, checking)
    with suppress(MailFailure):
        async with dial.session() as session, checking.stage(StageName.SELECT_INBOX, account) as stage:
            await session.select_inbox()
            if "IDLE" not in session.capabilities:
                stage.hint = "The server has no IDLE: new mail will be looked for every so often, not told at once."
    return checking.report


async def send(mail: Mail, account: Account, message: bytes, sender: str, recipient: str) -> Reply:
    """Hands a message to the account's server and returns the reply that takes it. Raises MailFailure."""
    checking = Checking()
    async with Dial(mail, account, SmtpSession, checking).session() as session:
        async with checking.stage(StageName.SENDER, account):
            await session.envelope(sender, recipient)
        try:
            async with asyncio.timeout(patience.MESSAGE_SECONDS):
                return await session.message(message)
        except TimeoutError:
            raise MailFailure(
                ErrorCode.TIMEOUT,
                f"The SMTP server said nothing to the message for {patience.MESSAGE_SECONDS:g} s.",
                "server",
                hint=MAY_BE_SENT,
            ) from None


class Dial(Generic[SessionT]):
    """How a session with an account's server comes to be, stage by stage."""

    def __init__(
        self, mail: Mail, account: Account, new: Callable[[socket.socket], SessionT], checking: Checking
    ) -> None:
        self._mail = mail
        self._account = account
        self._new = new
        self._checking = checking
        self._name = canonical(account.server)
        self._addresses: list[Address] = []
        self._lines = AsyncExitStack()

    @asynccontextmanager
    async def session(self) -> AsyncIterator[SessionT]:
        """A session that is logged in. Raises MailFailure."""
        async with self._stage(StageName.POLICY):
            await self._mail.hosts.admit(self._account.server, self._account.port)
        async with self._stage(StageName.DNS):
            self._addresses = await self._mail.hosts.resolve(self._account.server)
        context = await self._mail.trust.context_for(self._account)
        async with self._lines:
            session = await self._secured(context)
            try:
                await self._login(session)
                yield session
            finally:
                self._checking.report.capabilities = session.capabilities
            with suppress(MailFailure, TimeoutError, OSError):
                async with asyncio.timeout(LEAVE_SECONDS):
                    await session.leave()

    def _stage(self, name: StageName) -> AbstractAsyncContextManager[Stage]:
        return self._checking.stage(name, self._account)

    async def _secured(self, context: ssl.SSLContext) -> SessionT:
        """A session that was greeted, under TLS where it must be, and wherever it can."""
        async with self._stage(StageName.CONNECT):
            session = await self._connected()
        if self._begins_with_tls:
            try:
                async with self._stage(StageName.TLS) as stage:
                    await self._shake_hands(stage, session, partial(session.open, context, self._name))
            except _GreetsInClear:
                self._checking.report.stages.pop()
        async with self._stage(StageName.GREETING):
            if not session.is_encrypted:
                session = await self._connected() if self._begins_with_tls else session
                await session.open(None, self._name)
            self._checking.session = session
            await session.greet()
        if not session.is_encrypted:
            await self._upgrade(session, context)
        return session

    @property
    def _begins_with_tls(self) -> bool:
        port = self._account.port
        return port in IMPLICIT_TLS_PORTS or (self._account.secure and port not in STARTTLS_PORTS)

    async def _connected(self) -> SessionT:
        """A session of a new connection, which is gone for good when the lines are closed.

        Of several addresses, the first that answers is the one that is talked to from then on.
        """
        connected = await self._mail.hosts.connect(self._addresses, self._account.port)
        session = self._new(connected)
        self._lines.push_async_callback(session.close)
        self._lines.callback(_hang_up, connected.dup())
        self._addresses = [ip_address(str(connected.getpeername()[0]).partition("%")[0])]
        return session

    async def _upgrade(self, session: SessionT, context: ssl.SSLContext) -> None:
        if session.offers_starttls and not session.is_logged_in:
            async with self._stage(StageName.STARTTLS) as stage:
                await self._shake_hands(stage, session, partial(session.start_tls, context, self._name))
        elif self._account.secure:
            async with self._stage(StageName.STARTTLS):
                raise starttls_unavailable(self._account.port)

    async def _shake_hands(self, stage: Stage, session: SessionT, begin: Handshake) -> None:
        """Agrees on TLS. Nothing of a login is sent before the certificate was accepted."""
        report, account = self._checking.report, self._account
        try:
            await begin()
        except OSError as error:
            if speaks_clear(error) and account.port not in IMPLICIT_TLS_PORTS and not session.was_greeted:
                raise _GreetsInClear from None
            if isinstance(error, ssl.SSLCertVerificationError):
                report.certificate = await self._look(starttls=session.was_greeted)
            raise failure_of(error, account, report.certificate) from None
        report.certificate = session.certificate()
        accept(account, report.certificate)
        stage.hint = _expiry(report.certificate.days_left())

    async def _look(self, *, starttls: bool) -> Certificate | None:
        """The certificate that was refused, read over a connection of its own, on which nothing else is said."""
        with suppress(MailFailure, OSError):
            async with asyncio.timeout(LOOK_SECONDS):
                session = await self._connected()
                if starttls:
                    await session.open(None, self._name)
                    await session.greet()
                    await session.start_tls(self._mail.trust.looking, self._name)
                else:
                    await session.open(self._mail.trust.looking, self._name)
                return session.certificate()
        return None

    async def _login(self, session: SessionT) -> None:
        account = self._account
        async with self._stage(StageName.AUTHENTICATE) as stage:
            if not account.username:
                stage.hint = "Skipped: username and password are empty, so mail is sent without a login."
                return
            if isinstance(account.login, Secret):
                await self._login_by_password(session, account.login)
            else:
                await self._login_by_token(session, account.login)
            if not session.is_encrypted:
                stage.hint = (
                    "The server offers no TLS: nothing protected the login on its way, as it will nothing else."
                )

    async def _login_by_password(self, session: SessionT, password: Secret) -> None:
        """What is known of the provider says more than what its server does: that it wants an app password, say."""
        try:
            await session.authenticate(self._account.username, password)
        except MailFailure as failure:
            provider = provider_of_server(self._name)
            if failure.field == ("password",) and provider and provider.hint:
                failure.hint = provider.hint
            if failure.field == ("password",) and (odd := pasted.hint(self._account.username, password.reveal())):
                failure.hint = f"{odd} {failure.hint}"
            raise

    async def _login_by_token(self, session: SessionT, grant: Grant) -> None:
        """A token that was kept may have been revoked before its time: once it is refused, a new one is tried."""
        tokens, username = self._mail.tokens, self._account.username
        kept = tokens.kept(grant)
        token = await tokens.token(grant)
        try:
            await session.authenticate_by_token(username, token)
        except MailFailure as failure:
            if failure.kind is not ErrorCode.AUTHENTICATION_FAILED:
                raise
            tokens.forget(grant, token)
            if token is not kept:
                raise
            await self._login_again(session, grant, failure)

    async def _login_again(self, session: SessionT, grant: Grant, failure: MailFailure) -> None:
        """By a new token. A server that ends the connection after a refusal has refused all the same."""
        token = await self._mail.tokens.token(grant)
        try:
            await session.authenticate_by_token(self._account.username, token)
        except MailFailure as second:
            raise failure if second.kind is ErrorCode.PROTOCOL_ERROR else second from None


class _GreetsInClear(Exception):
    """The peer greets in clear where TLS was begun: it may have STARTTLS."""


def _expiry(days: int) -> str | None:
    """A warning, where there is one. Only a certificate that is trusted by its fingerprint gets here expired."""
    if days >= EXPIRES_SOON_DAYS:
        return None
    when = f"expires in {_days(days)}" if days >= 0 else f"expired {_days(-days - 1)} ago"
    return f"The server's certificate {when}: its operator must renew it."


def _days(number: int) -> str:
    return "1 day" if number == 1 else f"{number} days"


def _hang_up(line: socket.socket) -> None:
    """Ends a connection through a descriptor of its own, whatever a library or a thread is doing with it."""
    with suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)
    line.close()
