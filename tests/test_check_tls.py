"""Servers that would have a login without TLS, or with a TLS that proves nothing: not a byte of one is sent."""

import socket
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import mail.connect
from mail import patience
from mail.check import check_imap
from mail.hosts import IPAddress
from mail.tls import Trust
from models.account import Grant
from models.secrets import Secret
from tests.mail.accounts import PASSWORD, USER
from tests.mail.addresses import At
from tests.mail.certificates import SPOILED, Certificates
from tests.mail.checking import Leading, account, encodings, mail_of, outcome, warnings
from tests.mail.dialogues import CANARY, IMAP, Protocol, dialogue
from tests.mail.hostile import PROTOCOLS, TLS, check, check_scripted, nothing_got_out, nothing_stays, port_of
from tests.mail.scripted import (
    Peer,
    Step,
    at_first,
    both,
    break_tls,
    close,
    hang,
    say,
    scripted,
    secure,
    secure_in_vain,
)
from tests.mail.scripted import send as sends


@pytest.fixture(autouse=True)
def _nothing_stays(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with nothing_stays(capfd, caplog):
        yield


@pytest.fixture(autouse=True)
def _short_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "STAGE_SECONDS", 1.0)


def garbage(peer: Peer) -> None:
    """In answer to what begins a handshake."""
    peer.receive()
    sends(CANARY * 100)(peer)


@PROTOCOLS
@TLS
@pytest.mark.parametrize(
    ("step", "expected"),
    [(hang(), ["TIMEOUT"]), (close(), ["TLS_FAILED", "PROTOCOL_ERROR"]), (garbage, ["TLS_FAILED"])],
    ids=["silent", "closed", "garbage"],
)
async def test_hands_that_are_not_shaken(
    protocol: Protocol, implicit: bool, step: Step, expected: list[str], certificates: Certificates
) -> None:
    begin = say("{tag} OK go") if protocol is IMAP else say("220 go")
    script = [both(step, hang())] if implicit else dialogue(protocol, STARTTLS=both(begin, step, hang()))
    with scripted(certificates.server_context(), *script) as server:
        port = port_of(protocol, implicit=implicit)
        found = await check(protocol, mail_of(certificates, ports={port: server.port}), port)
        stage, kind, _ = outcome(found).split()
        assert stage == ("TLS" if implicit else "STARTTLS")
        assert kind in expected
        nothing_got_out(server, found)


IN_TLS = {
    "IMAP": {
        "GREETING": "GREETING",
        "CAPABILITY": "GREETING",
        "AUTHENTICATE": "AUTHENTICATE",
        "EXAMINE": "SELECT_INBOX",
    },
    "SMTP": {"GREETING": "GREETING", "EHLO": "GREETING", "AUTH": "AUTHENTICATE", "MAIL": "SENDER"},
}
"""Where TLS may break, and the stage at which it is noticed."""


@PROTOCOLS
async def test_tls_that_breaks(protocol: Protocol, certificates: Certificates) -> None:
    for place, stage in IN_TLS[protocol.name].items():
        script = dialogue(protocol, **{place: both(break_tls(), hang())})
        with scripted(certificates.server_context(), *script, implicit=True) as server:
            found = await check_scripted(protocol, server, certificates)
            assert outcome(found) == f"{stage} TLS_FAILED server", place
            nothing_got_out(server, found)


@PROTOCOLS
@TLS
async def test_a_server_that_wants_a_certificate_of_ours(
    protocol: Protocol, implicit: bool, certificates: Certificates
) -> None:
    """With TLS 1.3 it says so when, for us, hands are shaken already."""
    begin, refuse = say("{tag} OK go") if protocol is IMAP else say("220 go"), secure_in_vain()
    script = [refuse] if implicit else dialogue(protocol, STARTTLS=both(begin, refuse, hang()))
    with scripted(certificates.demanding_context(), *script) as server:
        port = port_of(protocol, implicit=implicit)
        found = await check(protocol, mail_of(certificates, ports={port: server.port}), port)
        stage, kind, field = outcome(found).split()
        assert (stage, kind) == ("GREETING" if implicit else "STARTTLS", "TLS_FAILED")
        assert field == "server" or not implicit
        assert USER.encode() not in server.heard
        nothing_got_out(server, found)


@PROTOCOLS
@pytest.mark.parametrize("secure", [True, False])
async def test_no_clear_text_where_tls_fails(protocol: Protocol, secure: bool, certificates: Certificates) -> None:
    """Even where TLS is not asked for, a broken STARTTLS is no reason to log in without."""
    begin = say("{tag} OK go") if protocol is IMAP else say("220 go")
    no = say(f"{{tag}} NO {CANARY}") if protocol is IMAP else say(f"454 4.7.0 {CANARY}")
    for step in (both(begin, sends(b"x" * 999), hang()), both(begin, close()), no):
        with scripted(certificates.server_context(), *dialogue(protocol, STARTTLS=step)) as server:
            found = await check_scripted(protocol, server, certificates, secure=secure)
            assert outcome(found).startswith("STARTTLS ")
            nothing_got_out(server, found)


WITHOUT_STARTTLS = {
    "IMAP": {"CAPABILITY": say("* CAPABILITY IMAP4rev1 AUTH=PLAIN", "{tag} OK done")},
    "SMTP": {"EHLO": say("250-mail.example.test", "250 AUTH PLAIN LOGIN")},
}


@PROTOCOLS
@pytest.mark.parametrize("known", [True, False], ids=["a known port", "any port"])
async def test_starttls_that_somebody_took_out(protocol: Protocol, known: bool, certificates: Certificates) -> None:
    """Not one byte of a login is sent; not even the user's name."""
    script = dialogue(protocol, **WITHOUT_STARTTLS[protocol.name])
    with scripted(certificates.server_context(), *script) as server:
        port = port_of(protocol) if known else server.port
        found = await check(protocol, mail_of(certificates, ports={port: server.port}), port)
        assert outcome(found) == "STARTTLS STARTTLS_UNAVAILABLE port"
        assert USER.encode() not in server.heard
        assert b"AUTH" not in server.heard
        nothing_got_out(server, found)
        found = await check(protocol, mail_of(certificates, ports={port: server.port}), port, secure=False)
        assert outcome(found) == "SUCCESS"
        assert any(secret in server.clear for secret in encodings(PASSWORD)), "the search would have found it"
        assert [stage.hint for stage in found.stages if stage.hint], "it is warned of"


@PROTOCOLS
async def test_what_is_said_before_tls_counts_for_nothing_after_it(
    protocol: Protocol, certificates: Certificates
) -> None:
    """Lines in the same segment as the answer to STARTTLS (CVE-2011-0411 and its like)."""

    def inject(peer: Peer) -> None:
        if protocol is IMAP:
            tags = (b"%s%d" % (peer.tag[:4], int(peer.tag[4:]) + more) for more in range(1, 6))
            say("{tag} OK go", "* CAPABILITY IMAP4rev1 EVIL AUTH=EVIL", *(tag + b" OK x" for tag in tags))(peer)
        else:
            say("220 go", "250-mail", "250-AUTH EVIL", "250 EVIL", "235 ok")(peer)
        peer.secure()

    refuse = {
        "IMAP": {"AUTHENTICATE": say("{tag} NO [AUTHENTICATIONFAILED] no")},
        "SMTP": {"AUTH": say("535 5.7.8 no")},
    }
    with scripted(
        certificates.server_context(), *dialogue(protocol, STARTTLS=inject, **refuse[protocol.name])
    ) as server:
        found = await check_scripted(protocol, server, certificates)
        assert outcome(found) == "AUTHENTICATE AUTHENTICATION_FAILED password"
        assert not any("EVIL" in name for name in found.capabilities)
        nothing_got_out(server, found)


@PROTOCOLS
@pytest.mark.parametrize("at", [At.EXPIRED, At.STRANGER, At.SELF_SIGNED, At.MISNAMED])
@TLS
async def test_a_bad_certificate_is_looked_at_and_no_more(
    protocol: Protocol, at: At, implicit: bool, certificates: Certificates
) -> None:
    with scripted(certificates.server_context(at), *dialogue(protocol), implicit=implicit) as server:
        found = await check_scripted(protocol, server, certificates)
        assert outcome(found).split()[1] == "CERTIFICATE_INVALID"
        assert found.certificate
        assert found.certificate.fingerprint == certificates.fingerprint(at)
        assert server.connections <= 2
        assert USER.encode() not in server.heard
        assert b"AUTH" not in server.heard
        nothing_got_out(server, found)


@PROTOCOLS
@TLS
@pytest.mark.parametrize("at", [At.GOOD, At.STRANGER])
async def test_another_fingerprint_ends_it_before_the_first_byte_of_a_login(
    protocol: Protocol, implicit: bool, at: At, certificates: Certificates
) -> None:
    with scripted(certificates.server_context(at), *dialogue(protocol), implicit=implicit) as server:
        found = await check_scripted(protocol, server, certificates, tls_fingerprint="0" * 64)
        assert outcome(found).endswith("CERTIFICATE_INVALID tlsFingerprint")
        assert USER.encode() not in server.heard
        assert b"AUTH" not in server.heard
        assert server.connections == 1
        nothing_got_out(server, found)


@PROTOCOLS
@TLS
@pytest.mark.parametrize("later", [hang(), close()], ids=["silent", "closed"])
async def test_a_bad_certificate_that_is_not_shown_again(
    protocol: Protocol, implicit: bool, later: Step, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server may let nobody in twice: what is known is told, within the stage."""
    monkeypatch.setattr(mail.connect, "CERTIFICATE_SECONDS", 0.3)
    begins = at_first(secure() if implicit else both(), later)
    with scripted(certificates.server_context(At.EXPIRED), begins, *dialogue(protocol)) as server:
        port = port_of(protocol, implicit=implicit)
        found = await check(protocol, mail_of(certificates, ports={port: server.port}), port)
        assert outcome(found) == f"{'TLS' if implicit else 'STARTTLS'} CERTIFICATE_INVALID tlsFingerprint"
        assert found.certificate is None
        assert found.stages[-1].duration_ms < patience.STAGE_SECONDS * 1000
        assert server.connections == 2
        nothing_got_out(server, found)


@PROTOCOLS
@TLS
@pytest.mark.parametrize("trusted", [True, False], ids=["trusted", "not trusted"])
@pytest.mark.parametrize("spoiled", SPOILED)
async def test_a_certificate_that_can_not_be_read(
    protocol: Protocol, implicit: bool, trusted: bool, spoiled: str, certificates: Certificates
) -> None:
    """Not even its fingerprint makes it good: nobody could be told what is trusted."""
    context, fingerprint = certificates.spoiled_context(spoiled)
    with scripted(context, *dialogue(protocol), implicit=implicit) as server:
        more = {"tls_fingerprint": fingerprint} if trusted else {}
        found = await check_scripted(protocol, server, certificates, **more)
        assert outcome(found).split()[:2] == ["TLS" if implicit else "STARTTLS", "CERTIFICATE_INVALID"]
        assert found.certificate is None
        assert ("can't be read" in str(found.failure)) == trusted
        assert USER.encode() not in server.heard
        nothing_got_out(server, found)


@PROTOCOLS
@TLS
async def test_a_fingerprint_outlasts_its_certificate(
    protocol: Protocol, implicit: bool, certificates: Certificates
) -> None:
    with scripted(certificates.server_context(At.EXPIRED), *dialogue(protocol), implicit=implicit) as server:
        fingerprint = certificates.fingerprint(At.EXPIRED)
        found = await check_scripted(protocol, server, certificates, tls_fingerprint=fingerprint)
        assert outcome(found) == "SUCCESS"
        assert "expired 1 day ago" in warnings(found)["TLS" if implicit else "STARTTLS"]


@PROTOCOLS
async def test_an_access_token_is_no_more_sent_in_clear_than_a_password(
    protocol: Protocol, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def token(_: Grant) -> Secret:
        return Secret(PASSWORD)

    for answers in ({}, WITHOUT_STARTTLS[protocol.name]):
        with scripted(certificates.server_context(), *dialogue(protocol, **answers)) as server:
            port = port_of(protocol)
            mailing = mail_of(certificates, ports={port: server.port})
            monkeypatch.setattr(mailing.tokens, "token", token)
            found = await check(protocol, mailing, port, login=Grant("https://x", "x", None, Secret("x")))
            assert not found.success
            nothing_got_out(server, found)


async def test_a_certificate_is_looked_at_where_it_was_refused(certificates: Certificates) -> None:
    """A name may have many addresses, each with a certificate of its own."""

    class Twofold(Leading):
        async def look_up(self, name: str) -> list[str]:
            return [str(At.GOOD), str(At.CLEAR)]

        async def connect(self, addresses: Sequence[IPAddress], port: int) -> socket.socket:
            reached.append([str(address) for address in addresses])
            return await super().connect(addresses, port)

    reached: list[list[str]] = []
    with scripted(certificates.server_context(At.EXPIRED), *dialogue(IMAP), implicit=True) as server:
        twofold = replace(mail_of(certificates), hosts=Twofold(At.GOOD, {993: server.port}))
        found = await check_imap(twofold, account(993))
    assert outcome(found) == "TLS CERTIFICATE_INVALID tlsFingerprint"
    assert reached == [[At.GOOD, At.CLEAR], [At.GOOD]]


async def test_the_file_of_authorities_is_read_once(certificates: Certificates, tmp_path: Path) -> None:
    copy = tmp_path / "ca.pem"
    copy.write_bytes(b"# fran\xc3\xa7ais\n" + certificates.ca_file.read_bytes())
    trust = Trust(copy)
    copy.unlink()
    with scripted(certificates.server_context(), *dialogue(IMAP), implicit=True) as server:
        trusting = replace(mail_of(certificates, ports={993: server.port}), trust=trust)
        assert (await check_imap(trusting, account(993))).success
