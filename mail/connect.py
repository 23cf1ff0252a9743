"""Connects to the mail server of an account and logs in: host policy, DNS, TCP, TLS, login.

Records each stage with its duration and its failure. `mail/patience.py` has the timeouts.
"""

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_address
from typing import Generic, TypeVar

from mail import pasted, patience
from mail.dialogue import Session, hung_up, starttls_unavailable
from mail.hosts import IPAddress, canonical
from mail.refusals.verdicts import NotAllowed
from mail.report import Certificate, ServerCheck, Stage, StageName
from mail.service import Mail
from mail.settings.providers import provider_of_server
from mail.tls import accept, speaks_clear, tls_failure
from models.account import Account, Grant
from models.config import IMPLICIT_TLS_PORTS, STARTTLS_PORTS
from models.errors import ErrorCode, MailFailure
from models.secrets import Secret

CERTIFICATE_SECONDS = 3.0
"""Timeout for fetching a refused certificate over a second connection."""
LOGOUT_SECONDS = 1.0
EXPIRES_SOON_DAYS = 30
NO_RELAY = (
    "Mail is sent without a login, since username and password are empty: set both, or have the operator of the mail "
    "server let this server relay."
)

SessionT = TypeVar("SessionT", bound=Session)
Handshake = Callable[[], Awaitable[None]]


@dataclass(slots=True)
class Progress:
    """Records the stages of one session and enforces the timeout of each stage and of the whole."""

    account: Account
    report: ServerCheck = field(default_factory=ServerCheck)
    session: Session | None = None
    ends_at: float = field(default_factory=lambda: asyncio.get_running_loop().time() + patience.CHECK_SECONDS)

    @asynccontextmanager
    async def stage(self, name: StageName) -> AsyncIterator[Stage]:
        """Records the block as a stage. Raises MailFailure if the block does, times out or loses the connection."""
        stage, started = Stage(name), time.perf_counter()
        self.report.stages.append(stage)
        own_end = asyncio.get_running_loop().time() + patience.seconds_for(name)
        try:
            async with asyncio.timeout_at(min(own_end, self.ends_at)):
                yield stage
        except MailFailure as failure:
            if isinstance(failure, NotAllowed) and not self.account.username:
                failure.hint = NO_RELAY
            stage.fail(failure)
            raise
        except TimeoutError:
            is_silent, is_over = not (self.session and self.session.has_spoken), self.ends_at < own_end
            raise stage.fail(patience.timed_out(name, self.account, is_silent=is_silent, is_over=is_over)) from None
        except OSError:
            raise stage.fail(hung_up("mail")) from None
        finally:
            stage.duration_ms = round((time.perf_counter() - started) * 1000, 1)


class Connector(Generic[SessionT]):
    """Opens a session with the server of an account, stage by stage."""

    def __init__(self, mail: Mail, progress: Progress, new_session: Callable[[socket.socket], SessionT]) -> None:
        self._mail = mail
        self._account = progress.account
        self._progress = progress
        self._new_session = new_session
        self._server_name = canonical(self._account.server)
        self._addresses: list[IPAddress] = []
        self._connections = AsyncExitStack()

    @asynccontextmanager
    async def session(self) -> AsyncIterator[SessionT]:
        """Opens a session, logs in, and closes it at the end of the block. Raises MailFailure."""
        async with self._progress.stage(StageName.POLICY):
            await self._mail.hosts.admit(self._account.server, self._account.port)
        async with self._progress.stage(StageName.DNS):
            self._addresses = await self._mail.hosts.resolve(self._account.server)
        context = await self._mail.trust.context_for(self._account)
        async with self._connections:
            session = await self._secure(context)
            try:
                await self._login(session)
                yield session
            finally:
                self._progress.report.capabilities = session.capabilities
            with suppress(MailFailure, TimeoutError, OSError):
                async with asyncio.timeout(LOGOUT_SECONDS):
                    await session.leave()

    async def _secure(self, context: ssl.SSLContext) -> SessionT:
        """Returns a greeted session, with TLS if the account requires it or the server offers it."""
        async with self._progress.stage(StageName.CONNECT):
            session = await self._connect()
        if self._begins_with_tls:
            try:
                async with self._progress.stage(StageName.TLS) as stage:
                    await self._handshake(stage, session, partial(session.open, context, self._server_name))
            except _GreetsInClear:
                self._progress.report.stages.pop()
        async with self._progress.stage(StageName.GREETING):
            if not session.is_encrypted:
                session = await self._connect() if self._begins_with_tls else session
                await session.open(None, self._server_name)
            self._progress.session = session
            await session.greet()
        if not session.is_encrypted:
            await self._upgrade(session, context)
        return session

    @property
    def _begins_with_tls(self) -> bool:
        port = self._account.port
        return port in IMPLICIT_TLS_PORTS or (self._account.secure and port not in STARTTLS_PORTS)

    async def _connect(self) -> SessionT:
        """Opens a connection and a session on it. `_connections` closes both.

        Later connections go to the address that answered first.
        """
        connected = await self._mail.hosts.connect(self._addresses, self._account.port)
        session = self._new_session(connected)
        self._connections.push_async_callback(session.close)
        self._connections.callback(_hang_up, connected.dup())
        self._addresses = [ip_address(str(connected.getpeername()[0]).partition("%")[0])]
        return session

    async def _upgrade(self, session: SessionT, context: ssl.SSLContext) -> None:
        if session.offers_starttls and not session.is_logged_in:
            async with self._progress.stage(StageName.STARTTLS) as stage:
                await self._handshake(stage, session, partial(session.start_tls, context, self._server_name))
        elif self._account.secure:
            async with self._progress.stage(StageName.STARTTLS):
                raise starttls_unavailable(self._account.port)

    async def _handshake(self, stage: Stage, session: SessionT, begin: Handshake) -> None:
        """Negotiates TLS and accepts the certificate before any credentials are sent."""
        report, account = self._progress.report, self._account
        try:
            await begin()
        except OSError as error:
            if speaks_clear(error) and account.port not in IMPLICIT_TLS_PORTS and not session.was_greeted:
                raise _GreetsInClear from None
            if isinstance(error, ssl.SSLCertVerificationError):
                report.certificate = await self._fetch_refused_certificate(starttls=session.was_greeted)
            raise tls_failure(error, account, report.certificate) from None
        report.certificate = session.certificate()
        accept(account, report.certificate)
        stage.hint = _expiry(report.certificate.days_left())

    async def _fetch_refused_certificate(self, *, starttls: bool) -> Certificate | None:
        """Fetches the refused certificate over a separate connection, which sends no credentials."""
        with suppress(MailFailure, OSError):
            async with asyncio.timeout(CERTIFICATE_SECONDS):
                session = await self._connect()
                if starttls:
                    await session.open(None, self._server_name)
                    await session.greet()
                    await session.start_tls(self._mail.trust.looking, self._server_name)
                else:
                    await session.open(self._mail.trust.looking, self._server_name)
                return session.certificate()
        return None

    async def _login(self, session: SessionT) -> None:
        account = self._account
        async with self._progress.stage(StageName.AUTHENTICATE) as stage:
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
        """Logs in. If the server refuses the password, the hint of a known provider replaces the general one."""
        try:
            await session.authenticate(self._account.username, password)
        except MailFailure as failure:
            provider = provider_of_server(self._server_name)
            if failure.field == ("password",) and provider and provider.hint:
                failure.hint = provider.hint
            if failure.field == ("password",) and (odd := pasted.hint(self._account.username, password.reveal())):
                failure.hint = f"{odd} {failure.hint}"
            raise

    async def _login_by_token(self, session: SessionT, grant: Grant) -> None:
        """Logs in. If the server refuses a cached token, which may have been revoked, retries once with a new one."""
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
        """Retries with a new token. If the server closes the connection instead, raises the first refusal."""
        token = await self._mail.tokens.token(grant)
        try:
            await session.authenticate_by_token(self._account.username, token)
        except MailFailure as second:
            raise failure if second.kind is ErrorCode.PROTOCOL_ERROR else second from None


class _GreetsInClear(Exception):
    """The server answered the TLS handshake in cleartext: it may offer STARTTLS."""


def _expiry(days: int) -> str | None:
    """Warns of an expiry that is near. Only a certificate pinned by its fingerprint can be expired here."""
    if days >= EXPIRES_SOON_DAYS:
        return None
    when = f"expires in {_days(days)}" if days >= 0 else f"expired {_days(-days - 1)} ago"
    return f"The server's certificate {when}: its operator must renew it."


def _days(number: int) -> str:
    return "1 day" if number == 1 else f"{number} days"


def _hang_up(connection: socket.socket) -> None:
    """Shuts a connection down through a duplicate descriptor, even while a library or a thread uses it."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
