"""Servers that take their time, and connections that break before anybody has taken them over."""

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import replace

import pytest

from mail import patience
from mail.check import check_imap
from mail.hosts import HostPolicy, IPAddress
from mail.report import StageName
from tests.mail.addresses import At
from tests.mail.certificates import Certificates
from tests.mail.checking import ALL_PORTS, LOOPBACK, account, mail_of, outcome
from tests.mail.dialogues import CANARY, IMAP, SMTP, Protocol, dialogue
from tests.mail.dovecot import Dovecot
from tests.mail.hostile import PROTOCOLS, check, check_scripted, port_of
from tests.mail.scripted import Step, both, hang, pause, say, scripted, send
from tests.process import until


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "STAGE_SECONDS", 0.4)


def test_how_long_servers_are_given() -> None:
    """A greeting, and what comes after a login, may well take longer than 20 s."""
    for stage in StageName:
        assert patience.seconds_for(stage) >= 20
    for stage in (StageName.GREETING, StageName.AUTHENTICATE, StageName.SENDER, StageName.SELECT_INBOX):
        assert patience.seconds_for(stage) >= 40
    assert patience.CHECK_SECONDS >= 60


@PROTOCOLS
@pytest.mark.usefixtures("short")
async def test_a_slow_greeting_is_called_slow(protocol: Protocol, certificates: Certificates) -> None:
    with scripted(certificates.server_context(), hang()) as server:
        found = await check_scripted(protocol, server, certificates)
    assert outcome(found) == "GREETING TIMEOUT server"
    assert found.failure
    assert f"did not greet on port {port_of(protocol)} within 0.8 s" in str(found.failure)
    assert "make strangers wait" in str(found.failure.hint)
    assert "465" not in str(found.failure.hint)


SLOW_AFTER_THE_GREETING: list[tuple[Protocol, dict[str, Step], str]] = [
    (SMTP, {"EHLO": hang()}, "GREETING"),
    (SMTP, {"GREETING": both(say(f"220-{CANARY}"), hang())}, "GREETING"),
    (SMTP, {"GREETING": both(send("220 mail"), hang())}, "GREETING"),
    (SMTP, {"AUTH": hang()}, "AUTHENTICATE"),
    (SMTP, {"RCPT": hang()}, "SENDER"),
    (IMAP, {"CAPABILITY": hang()}, "GREETING"),
    (IMAP, {"EXAMINE": hang()}, "SELECT_INBOX"),
]


@pytest.mark.parametrize(("protocol", "slow", "stage"), SLOW_AFTER_THE_GREETING)
@pytest.mark.usefixtures("short")
async def test_a_server_that_has_spoken_did_greet(
    protocol: Protocol, slow: dict[str, Step], stage: str, certificates: Certificates
) -> None:
    with scripted(certificates.server_context(), *dialogue(protocol, **slow)) as server:
        found = await check_scripted(protocol, server, certificates)
    assert outcome(found) == f"{stage} TIMEOUT server"
    assert found.failure
    assert "The server is slow: it did not answer within 0.8 s" in str(found.failure)


@pytest.mark.usefixtures("short")
async def test_a_server_may_pause_within_its_greeting_and_before_a_mailbox(certificates: Certificates) -> None:
    """Longer than other stages last: screens greet in two lines, and large mailboxes are slow to open."""
    greeting = both(say("220-mail.example.test"), pause(0.5), say("220 mail.example.test"))
    examine = both(pause(0.5), IMAP.answers["EXAMINE"])
    for protocol, slow in ((SMTP, {"GREETING": greeting}), (IMAP, {"EXAMINE": examine})):
        with scripted(certificates.server_context(), *dialogue(protocol, **slow)) as server:
            assert outcome(await check_scripted(protocol, server, certificates)) == "SUCCESS"


async def test_a_check_that_ends_as_a_whole_says_so(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "CHECK_SECONDS", 0.3)
    with scripted(certificates.server_context(), *dialogue(SMTP, AUTH=hang())) as server:
        found = await check_scripted(SMTP, server, certificates)
    assert outcome(found) == "AUTHENTICATE TIMEOUT server"
    assert "before the check ended, after 0.3 s" in str(found.failure)


async def test_a_wrong_password_is_told_after_another_was_wrong(
    certificates: Certificates, dovecot: Dovecot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dovecot makes the second one wait for 4 s, and 2 more; later ones for 17 s at most. Here, all have a fifth."""
    monkeypatch.setattr(patience, "STAGE_SECONDS", patience.STAGE_SECONDS / 5)
    dovecot.forgive(failures=1)
    found = await check_imap(mail_of(certificates), account(dovecot.imaps, login="wrong"))
    assert outcome(found) == "AUTHENTICATE AUTHENTICATION_FAILED password"
    assert found.stages[-1].duration_ms > 5_000, "it comes as it is installed"


# --------------------------------------------------------------------------------------- connections that break at once


class Breaking(socket.socket):
    """A connection on which one call fails."""

    breaks = ""

    def getpeername(self) -> object:
        return self._or_break("getpeername")

    def getsockname(self) -> object:
        return self._or_break("getsockname")

    def dup(self) -> socket.socket:  # type: ignore[override]
        found = self._or_break("dup")
        assert isinstance(found, socket.socket)
        return found

    def setblocking(self, flag: bool) -> None:
        if self.breaks == "setblocking":
            raise OSError(CANARY)
        super().setblocking(flag)

    def _or_break(self, name: str) -> object:
        if name == self.breaks:
            raise OSError(CANARY)
        return getattr(super(), name)()


class Handing(HostPolicy):
    """Connects, and hands out connections that break."""

    def __init__(self, breaks: str) -> None:
        super().__init__(LOOPBACK, ALL_PORTS)
        self.breaks = breaks
        self.given: list[Breaking] = []

    async def resolve(self, server: str) -> list[IPAddress]:
        return [*await super().resolve(str(At.GOOD))]

    async def connect(self, addresses: Sequence[IPAddress], port: int) -> socket.socket:
        connected = await super().connect(addresses, port)
        self.given.append(Breaking(fileno=connected.detach()))
        self.given[-1].breaks = self.breaks
        return self.given[-1]


@pytest.mark.parametrize(
    ("protocol", "breaks", "stage"),
    [
        (SMTP, "getpeername", "CONNECT"),
        (IMAP, "getpeername", "CONNECT"),
        (SMTP, "dup", "CONNECT"),
        (IMAP, "dup", "CONNECT"),
        (SMTP, "getsockname", "GREETING"),
        (IMAP, "setblocking", "GREETING"),
    ],
)
async def test_a_connection_that_breaks_early_is_closed(
    protocol: Protocol, breaks: str, stage: str, certificates: Certificates
) -> None:
    """It is not left to the garbage collector."""
    hosts = Handing(breaks)
    mailing = replace(mail_of(certificates), hosts=hosts)
    with scripted(certificates.server_context(), *dialogue(protocol)) as server:
        found = await check(protocol, mailing, server.port, secure=False)
        await asyncio.to_thread(until, lambda: server.peers and server.peers[0].left.is_set())
    assert outcome(found) == f"{stage} PROTOCOL_ERROR server"
    [given] = hosts.given
    assert given.fileno() == -1
