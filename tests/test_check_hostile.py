"""Servers that break down, at every stage: what a check finds, how long it takes, and that nothing gets out."""

import asyncio
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

import mail.connect
from mail import patience
from tests.mail.accounts import PASSWORD
from tests.mail.certificates import Certificates
from tests.mail.checking import encodings, outcome
from tests.mail.dialogues import CANARY, IMAP, SMTP, Protocol, dialogue
from tests.mail.hostile import PROTOCOLS, check_scripted, nothing_got_out, nothing_stays
from tests.mail.scripted import Step, both, close, drip, flood, hang, pause, say, scripted
from tests.mail.scripted import send as sends

SECONDS = 1.0
"""How long a slow stage lasts here."""
PLACES = {
    "IMAP": {
        "GREETING": "GREETING",
        "CAPABILITY": "GREETING",
        "STARTTLS": "STARTTLS",
        "CAPABILITY_TLS": "STARTTLS",
        "AUTHENTICATE": "AUTHENTICATE",
        "EXAMINE": "SELECT_INBOX",
    },
    "SMTP": {
        "GREETING": "GREETING",
        "EHLO": "GREETING",
        "STARTTLS": "STARTTLS",
        "EHLO_TLS": "STARTTLS",
        "AUTH": "AUTHENTICATE",
        "MAIL": "SENDER",
        "RCPT": "SENDER",
        "RSET": "SENDER",
    },
}
"""Where a server may go wrong, and the stage at which it is noticed."""


@pytest.fixture(autouse=True)
def _nothing_stays(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with nothing_stays(capfd, caplog):
        yield


@pytest.fixture(autouse=True)
def _short_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "STAGE_SECONDS", SECONDS / 2)
    monkeypatch.setattr(mail.connect, "LOGOUT_SECONDS", 0.2)


async def everywhere(
    protocol: Protocol, certificates: Certificates, misbehaves: Step, **otherwise: Step
) -> dict[str, str]:
    """What is found where a server misbehaves at each place in turn. The servers are asked side by side."""
    with ExitStack() as stack:
        servers = {
            place: stack.enter_context(
                scripted(certificates.server_context(), *dialogue(protocol, **otherwise, **{place: misbehaves}))
            )
            for place in PLACES[protocol.name]
        }
        found = await asyncio.gather(*(check_scripted(protocol, server, certificates) for server in servers.values()))
        for server, report in zip(servers.values(), found, strict=True):
            nothing_got_out(server, report)
        return {place: outcome(report) for place, report in zip(servers, found, strict=True)}


@PROTOCOLS
async def test_a_server_that_behaves(protocol: Protocol, certificates: Certificates) -> None:
    """What the others are measured by: the scripts are right."""
    for implicit in (False, True):
        script = dialogue(protocol)
        with scripted(certificates.server_context(), *script, implicit=implicit) as server:
            found = await check_scripted(protocol, server, certificates)
            assert outcome(found) == "SUCCESS"
            nothing_got_out(server, found)
            assert any(secret in server.secret for secret in encodings(PASSWORD)), "the search would find it"
            assert server.connections == 1


BREAKDOWNS: dict[str, tuple[Step, str]] = {
    "silent": (hang(), "TIMEOUT"),
    "half a line of IMAP": (both(sends(f"* OK {CANARY}"), hang()), "TIMEOUT"),
    "half a reply of SMTP": (both(sends(f"250-{CANARY}"), hang()), "TIMEOUT"),
    "a byte at a time": (drip(f"* OK {CANARY}" * 100, 0.03), "TIMEOUT"),
    "closed": (close(), "PROTOCOL_ERROR"),
    "closed within a line": (both(sends("* O"), close()), "PROTOCOL_ERROR"),
    "closed within a code": (both(sends("25"), close()), "PROTOCOL_ERROR"),
    "BYE": (both(say(f"* BYE {CANARY}"), close()), "PROTOCOL_ERROR"),
    "421": (both(say(f"421 4.3.2 {CANARY}"), close()), "PROTOCOL_ERROR"),
    "HTTP": (both(say(f"HTTP/1.1 400 {CANARY}", "", CANARY), close()), "PROTOCOL_ERROR"),
    "binary": (both(sends(bytes(range(256)) * 20 + b"\r\n"), close()), "PROTOCOL_ERROR"),
    "a line of 10 MB": (both(flood(CANARY.encode(), 10_000_000), hang()), "PROTOCOL_ERROR"),
}
OF_IMAP: dict[str, tuple[Step, str]] = {
    "a line at a time": (drip(f"* OK {CANARY}\r\n" * 100, 0.005), "TIMEOUT"),
    "lines without end": (flood(f"* OK {CANARY}\r\n".encode()), "PROTOCOL_ERROR"),
    "empty lines without end": (flood(b"\r\n"), "PROTOCOL_ERROR"),
    "challenges without end": (flood(b"+ \r\n"), "PROTOCOL_ERROR"),
    "a huge literal": (both(say("* OK {99999999999}"), hang()), "PROTOCOL_ERROR"),
    "literals without end": (flood(b"* OK {2}\r\nab\r\n"), "PROTOCOL_ERROR"),
}
OF_SMTP: dict[str, tuple[Step, str]] = {
    "a line at a time": (drip(f"250-{CANARY}\r\n" * 100, 0.005), "TIMEOUT"),
    "lines without end": (flood(f"250-{CANARY}\r\n".encode()), "PROTOCOL_ERROR"),
    "a code of its own": (both(say(f"000 {CANARY}"), hang()), "PROTOCOL_ERROR"),
    "an IMAP server": (both(say(f"* OK {CANARY}"), hang()), "PROTOCOL_ERROR"),
}
CASES = [
    pytest.param(protocol, *case, id=f"{protocol.name}: {name}")
    for protocol, own in ((IMAP, OF_IMAP), (SMTP, OF_SMTP))
    for name, case in (BREAKDOWNS | own).items()
]


@pytest.mark.parametrize(("protocol", "misbehaves", "expected"), CASES)
async def test_a_server_that_breaks_down(
    protocol: Protocol, misbehaves: Step, expected: str, certificates: Certificates
) -> None:
    """The stage at which it did is told, and a check takes no longer than that stage may."""
    began = time.monotonic()
    found = await everywhere(protocol, certificates, misbehaves)
    assert time.monotonic() - began < SECONDS + 3
    assert {place: text.split()[:2] for place, text in found.items()} == {
        place: [stage, expected] for place, stage in PLACES[protocol.name].items()
    }


def test_the_places_are_all() -> None:
    for protocol in (IMAP, SMTP):
        asked = {place.removesuffix("_TLS") for place in PLACES[protocol.name]} - {"GREETING"}
        assert asked == protocol.answers.keys() - {"LOGIN", "SELECT", "LOGOUT", "DATA", "QUIT"}


@PROTOCOLS
async def test_a_server_that_takes_its_time(
    protocol: Protocol, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each stage is in time, and all of them are not."""
    monkeypatch.setattr(patience, "CHECK_SECONDS", 0.5)
    slow = {
        place: both(pause(0.2), protocol.answers.get(place, protocol.greeting))
        for place in ("GREETING", *protocol.answers)
    }
    began = time.monotonic()
    with scripted(certificates.server_context(), *dialogue(protocol, **slow)) as server:
        found = await check_scripted(protocol, server, certificates)
    assert outcome(found).split()[1] == "TIMEOUT"
    assert time.monotonic() - began < 0.5 + 0.5


@PROTOCOLS
async def test_a_check_that_nobody_waits_for(protocol: Protocol, certificates: Certificates) -> None:
    """Its connection is closed, and its thread ends."""
    with scripted(certificates.server_context(), hang()) as server:
        task = asyncio.create_task(check_scripted(protocol, server, certificates))
        while not server.connections:  # noqa: ASYNC110 - a thread tells it
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(server.peers[0].left.wait, 5)
        assert server.peers[0].left.is_set()


@PROTOCOLS
async def test_a_flood_costs_neither_memory_nor_time(protocol: Protocol, certificates: Certificates) -> None:
    """The loop goes on beside it."""
    gaps: list[float] = []
    line = b"* OK x\r\n" if protocol is IMAP else b"250-x\r\n"
    tracemalloc.start()
    try:
        ticking = asyncio.create_task(tick(gaps))
        for text in (b"x" * 65_536, line, b"\0"):
            with scripted(certificates.server_context(), flood(text)) as server:
                assert not (await check_scripted(protocol, server, certificates)).success
        ticking.cancel()
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()
    assert max(gaps) < 0.5


async def tick(gaps: list[float]) -> None:
    while True:
        began = time.monotonic()
        await asyncio.sleep(0.005)
        gaps.append(time.monotonic() - began)
