"""What IMAP and SMTP servers may say within the rules, and what a check makes of it: tricks, refusals, odd ways."""

from collections.abc import Iterator

import pytest

import mail.connect
from mail import patience
from mail.check import send
from mail.connect import Progress
from mail.report import Reply, StageName
from mail.settings.providers import provider_of_server
from mail.smtp import MAY_BE_SENT, NOT_RECEIVED_HERE
from models.errors import MailFailure
from tests.mail.accounts import USER
from tests.mail.addresses import At
from tests.mail.certificates import Certificates
from tests.mail.checking import account, mail_of, outcome, told, warnings
from tests.mail.dialogues import CANARY, IMAP, SMTP, Protocol, dialogue
from tests.mail.hostile import PROTOCOLS, check, check_scripted, nothing_got_out, nothing_stays, port_of
from tests.mail.scripted import Scripted, Step, both, close, hang, hear, say, scripted


@pytest.fixture(autouse=True)
def _nothing_stays(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with nothing_stays(capfd, caplog):
        yield


@pytest.fixture(autouse=True)
def _short_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "STAGE_SECONDS", 1.0)
    monkeypatch.setattr(mail.connect, "LOGOUT_SECONDS", 0.2)


@pytest.mark.parametrize(
    ("secure", "expected"),
    [(True, "STARTTLS STARTTLS_UNAVAILABLE port"), (False, "AUTHENTICATE AUTHENTICATION_FAILED port")],
)
async def test_preauth_in_clear(secure: bool, expected: str, certificates: Certificates) -> None:
    """A server that takes us for somebody already, so that nobody would ask for TLS (RFC 9051, 11.1)."""
    script = dialogue(IMAP, GREETING=say(f"* PREAUTH {CANARY}"))
    with scripted(certificates.server_context(), *script) as server:
        found = await check_scripted(IMAP, server, certificates, secure=secure)
        assert outcome(found) == expected
        assert USER.encode() not in server.heard
        nothing_got_out(server, found)


async def test_preauth_in_tls(certificates: Certificates) -> None:
    """It proves nothing about the password."""
    script = dialogue(IMAP, GREETING=say(f"* PREAUTH {CANARY}"))
    with scripted(certificates.server_context(), *script, implicit=True) as server:
        found = await check_scripted(IMAP, server, certificates)
        assert outcome(found) == "AUTHENTICATE AUTHENTICATION_FAILED port"
        assert "It offers" not in str(found.failure)
        nothing_got_out(server, found)


@pytest.mark.parametrize("answer", ["NO [REFERRAL {url}]", "OK [REFERRAL {url}]", "BAD [REFERRAL {url}]"])
@pytest.mark.parametrize("place", ["AUTHENTICATE", "EXAMINE"])
async def test_a_referral_is_not_followed(place: str, answer: str, certificates: Certificates) -> None:
    """RFC 2221: a server that names another one to log in at."""
    with scripted(certificates.server_context(), *dialogue(IMAP)) as other:
        text = answer.format(url=f"imap://{USER};AUTH=*@127.0.0.1:{other.port}/")
        step = say(f"{{tag}} {text} {CANARY}")
        step = both(say("+ "), hear(), step) if place == "AUTHENTICATE" else step
        with scripted(certificates.server_context(), *dialogue(IMAP, **{place: step})) as server:
            found = await check_scripted(IMAP, server, certificates)
            is_unknown = place == "AUTHENTICATE" and answer.startswith("BAD")  # so that LOGIN is tried
            assert found.success == (answer.startswith("OK") or is_unknown)
            nothing_got_out(server, found)
        assert other.connections == 0


async def test_a_server_that_turns_away_with_a_referral(certificates: Certificates) -> None:
    with scripted(certificates.server_context(), *dialogue(IMAP)) as other:
        step = both(say(f"* BYE [REFERRAL imap://127.0.0.1:{other.port}/] {CANARY}"), close())
        with scripted(certificates.server_context(), *dialogue(IMAP, GREETING=step)) as server:
            assert outcome(await check_scripted(IMAP, server, certificates)) == "GREETING PROTOCOL_ERROR server"
        assert other.connections == 0


CAN_ID = say("* CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN ID IDLE", "{tag} OK done")


@pytest.mark.parametrize("answer", ["OK", "NO", "BAD"])
async def test_a_server_that_wants_to_know_who_we_are(answer: str, certificates: Certificates) -> None:
    """NetEase opens no mailbox before (RFC 2971). What others make of it does not matter."""
    script = dialogue(IMAP, CAPABILITY=CAN_ID, ID=say(f"{{tag}} {answer} {CANARY}"))
    with scripted(certificates.server_context(), *script) as server:
        found = await check_scripted(IMAP, server, certificates)
        assert found.success
        assert server.heard.index(b' ID ("name" ') < server.heard.index(b" EXAMINE ")
        nothing_got_out(server, found)


async def test_a_server_that_ends_when_it_is_told_who_we_are(certificates: Certificates) -> None:
    script = dialogue(IMAP, CAPABILITY=CAN_ID, ID=both(say(f"* BYE {CANARY}"), close()))
    with scripted(certificates.server_context(), *script) as server:
        assert outcome(await check_scripted(IMAP, server, certificates)) == "SELECT_INBOX PROTOCOL_ERROR server"


# ------------------------------------------------------------------------------------------------------ tricks of SMTP


@pytest.mark.parametrize(
    "answer", [f"550 {CANARY}", f"550 5.7.1-{CANARY}", f"550 5.7.{CANARY}", f"550-{CANARY}\r\n550 5.1.8 {CANARY}"]
)
@pytest.mark.parametrize("place", ["EHLO_TLS", "AUTH", "MAIL", "RSET", "STARTTLS"])
async def test_of_a_refusal_only_its_codes_are_told(answer: str, place: str, certificates: Certificates) -> None:
    with scripted(certificates.server_context(), *dialogue(SMTP, **{place: say(answer)})) as server:
        found = await check_scripted(SMTP, server, certificates)
        assert not found.success
        assert "550" in str(found.failure)
        nothing_got_out(server, found)


OF_IMAP = {
    "STARTTLS: NO": "STARTTLS STARTTLS_UNAVAILABLE port",
    "STARTTLS: BAD": "STARTTLS STARTTLS_UNAVAILABLE port",
    "AUTHENTICATE: NO [AUTHENTICATIONFAILED]": "AUTHENTICATE AUTHENTICATION_FAILED password",
    "AUTHENTICATE: NO [PRIVACYREQUIRED]": "AUTHENTICATE AUTHENTICATION_FAILED secure",
    "AUTHENTICATE: NO [ALERT] Too many simultaneous connections.": "AUTHENTICATE PROTOCOL_ERROR server",
    "AUTHENTICATE: NO [LIMIT]": "AUTHENTICATE PROTOCOL_ERROR server",
    "AUTHENTICATE: NO [INUSE]": "AUTHENTICATE PROTOCOL_ERROR server",
    "AUTHENTICATE: NO [OVERQUOTA]": "AUTHENTICATE PROTOCOL_ERROR server",
    "AUTHENTICATE: NO [THROTTLED]": "AUTHENTICATE PROTOCOL_ERROR server",
    "AUTHENTICATE: NO [UNAVAILABLE]": "AUTHENTICATE PROTOCOL_ERROR server",
    "EXAMINE: NO [UNAVAILABLE]": "SELECT_INBOX PROTOCOL_ERROR server",
    "EXAMINE: NO [NONEXISTENT]": "SELECT_INBOX MAILBOX_NOT_FOUND username",
    "EXAMINE: NO": "SELECT_INBOX MAILBOX_NOT_FOUND username",
}
OF_SMTP = {
    "STARTTLS: 454 4.7.0": "STARTTLS STARTTLS_UNAVAILABLE port",
    "STARTTLS: 502 5.5.1": "STARTTLS STARTTLS_UNAVAILABLE port",
    "STARTTLS: 421 4.3.2": "STARTTLS PROTOCOL_ERROR server",
    "AUTH: 454 4.7.0": "AUTHENTICATE PROTOCOL_ERROR server",
    "AUTH: 502 5.5.1": "AUTHENTICATE AUTHENTICATION_FAILED port",
    "AUTH: 503 5.5.1": "AUTHENTICATE AUTHENTICATION_FAILED port",
    "AUTH: 504 5.5.4": "AUTHENTICATE AUTHENTICATION_FAILED port",
    "AUTH: 530 5.7.0": "AUTHENTICATE AUTHENTICATION_FAILED secure",
    "AUTH: 535 5.7.8": "AUTHENTICATE AUTHENTICATION_FAILED password",
    "AUTH: 535 5.7.139": "AUTHENTICATE AUTHENTICATION_FAILED oauth2",
    "AUTH: 432 4.3.2": "AUTHENTICATE PROTOCOL_ERROR server",
    "AUTH: 534 5.7.9 Application-specific password required": "AUTHENTICATE AUTHENTICATION_FAILED password",
    "AUTH: 538 5.7.11": "AUTHENTICATE AUTHENTICATION_FAILED secure",
}
REFUSALS = [(IMAP, *case) for case in OF_IMAP.items()] + [(SMTP, *case) for case in OF_SMTP.items()]


@pytest.mark.parametrize(("protocol", "refusal", "expected"), REFUSALS, ids=[refusal for _, refusal, _ in REFUSALS])
async def test_what_a_refusal_means(
    protocol: Protocol, refusal: str, expected: str, certificates: Certificates
) -> None:
    place, _, answer = refusal.partition(": ")
    step = say(f"{'{tag} ' if protocol is IMAP else ''}{answer} {CANARY}")
    with scripted(certificates.server_context(), *dialogue(protocol, **{place: step})) as server:
        found = await check_scripted(protocol, server, certificates)
        assert outcome(found) == expected
        nothing_got_out(server, found)


REFUSED = {"IMAP": "{tag} NO [AUTHENTICATIONFAILED] no", "SMTP": "535 5.7.8 no"}
PUT_OFF = {"IMAP": "{tag} NO [UNAVAILABLE] no", "SMTP": "454 4.7.0 no"}


@PROTOCOLS
async def test_the_provider_is_known_to_want_something_else(protocol: Protocol, certificates: Certificates) -> None:
    """What to do says the provider's row; where the password was not judged, it is no help."""
    name = f"{protocol.name.lower()}.gmail.com"
    provider = provider_of_server(name)
    assert provider
    for answers, is_helpful in ((REFUSED, True), (PUT_OFF, False)):
        login = "AUTHENTICATE" if protocol is IMAP else "AUTH"
        script = dialogue(protocol, **{login: say(answers[protocol.name])})
        with scripted(certificates.server_context(), *script) as server:
            trusted = certificates.fingerprint(At.GOOD)
            port = port_of(protocol)
            mailing = mail_of(certificates, ports={port: server.port})
            found = await check(protocol, mailing, port, server=name, tls_fingerprint=trusted)
            assert found.failure
            assert (found.failure.kind == "AUTHENTICATION_FAILED") == is_helpful
            assert (found.failure.hint == provider.hint) == is_helpful
            assert found.stages[-1].hint == found.failure.hint


@pytest.mark.parametrize("error", [ConnectionResetError(), OSError(CANARY), BrokenPipeError(CANARY)], ids=repr)
async def test_a_connection_that_breaks_wherever_it_does(error: OSError) -> None:
    progress = Progress(account(993))
    with pytest.raises(MailFailure):
        async with progress.stage(StageName.GREETING):
            raise error
    assert outcome(progress.report) == "GREETING PROTOCOL_ERROR server"
    assert CANARY not in told(progress.report)


@pytest.mark.parametrize("place", ["AUTHENTICATE", "EXAMINE"])
@pytest.mark.parametrize(
    "text", [f"[{CANARY.upper()}] x", f"[ALERT] {CANARY}", f"[AUTHENTICATIONFAILED {CANARY}]", CANARY]
)
async def test_of_a_refusal_only_known_codes_are_told(text: str, place: str, certificates: Certificates) -> None:
    with scripted(certificates.server_context(), *dialogue(IMAP, **{place: say(f"{{tag}} NO {text}")})) as server:
        found = await check_scripted(IMAP, server, certificates)
        assert not found.success
        nothing_got_out(server, found)


@PROTOCOLS
async def test_capabilities_are_names(protocol: Protocol, certificates: Certificates) -> None:
    odd = ["<b>canarius</b>", "canarius" * 8, "canarius\x1b[31m", '"canarius"', "canarius:"]
    odd += ["canarius\u202e"] if protocol is SMTP else []  # IMAPClient takes none but ASCII
    names = [*odd, *(f"X{number}" for number in range(500))]
    lines = {
        "IMAP": {"CAPABILITY": say("* CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN " + " ".join(names), "{tag} OK done")},
        "SMTP": {"EHLO": say("250-x", "250-STARTTLS", "250-AUTH PLAIN", *(f"250-{name}" for name in names), "250 X")},
    }
    with scripted(certificates.server_context(), *dialogue(protocol, **lines[protocol.name])) as server:
        found = await check_scripted(protocol, server, certificates)
        assert outcome(found) == "SUCCESS"
        assert len(found.capabilities) == 100
        nothing_got_out(server, found)


# -------------------------------------------------------------------------------------------------------------- senders


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({"RCPT": say(f"553 5.7.1 {CANARY}: Sender address rejected: not owned by user")}, "SENDER_REJECTED email"),
        ({"RCPT": say(f"530 5.7.0 {CANARY}")}, "AUTHENTICATION_FAILED username"),
        ({"RCPT": say(f"554 5.7.1 {CANARY}: Relay access denied")}, "PROTOCOL_ERROR server"),
        ({"RCPT": say(f"451 4.3.0 {CANARY}")}, "PROTOCOL_ERROR server"),
        ({"RCPT": say(f"421 4.3.2 {CANARY}")}, "PROTOCOL_ERROR server"),
        ({"MAIL": say(f"452 4.3.1 {CANARY}")}, "PROTOCOL_ERROR server"),
        ({"MAIL": say(f"550 5.7.60 {CANARY}")}, "SENDER_REJECTED email"),
        ({"MAIL": say(f"550 5.4.5 {CANARY}")}, "PROTOCOL_ERROR server"),
    ],
)
async def test_a_sender_is_judged_when_the_server_hears_a_recipient(
    answers: dict[str, Step], expected: str, certificates: Certificates
) -> None:
    """As Postfix does, unless it is told otherwise."""
    with scripted(certificates.server_context(), *dialogue(SMTP, **answers)) as server:
        found = await check_scripted(SMTP, server, certificates)
        assert outcome(found) == f"SENDER {expected}"
        nothing_got_out(server, found)


@pytest.mark.parametrize(
    "answer", ["550 5.1.1 no such user", "450 4.2.0 Greylisted", "551 not here", "451 4.7.1 greylist"]
)
async def test_a_sender_need_not_have_a_mailbox_at_the_server(answer: str, certificates: Certificates) -> None:
    """A relay knows none; it is warned of, for such a server may not have judged the sender."""
    with scripted(certificates.server_context(), *dialogue(SMTP, RCPT=say(answer))) as server:
        found = await check_scripted(SMTP, server, certificates)
        assert outcome(found) == "SUCCESS"
        assert warnings(found) == {"SENDER": NOT_RECEIVED_HERE}
        assert f"RCPT TO:<{USER}>".encode() in server.secret
        assert server.secret.index(b"RCPT") < server.secret.index(b"RSET")
        assert b"DATA" not in server.secret


# -------------------------------------------------------------------------------------------------------------- sending


async def sent(server: Scripted, certificates: Certificates) -> Reply:
    text = b"Subject: x\n\n.\n..\n"
    return await send(mail_of(certificates, ports={587: server.port}), account(587), text, USER, USER)


@pytest.mark.parametrize(
    ("place", "step", "kind", "may_be_sent"),
    [
        ("RCPT", say(f"550 5.1.1 {CANARY}"), "RECIPIENT_REJECTED", False),
        ("RCPT", say(f"553 5.7.1 {CANARY}"), "SENDER_REJECTED", False),
        ("RCPT", say(f"530 5.7.0 {CANARY}"), "AUTHENTICATION_FAILED", False),
        ("RCPT", say(f"554 5.7.1 {CANARY}"), "PROTOCOL_ERROR", False),
        ("DATA", both(say("354 go"), hear(b"."), say(f"554 5.2.252 {CANARY}")), "SENDER_REJECTED", False),
        ("DATA", both(say("354 go"), hear(b"."), say(f"550 5.4.5 {CANARY}")), "PROTOCOL_ERROR", False),
        ("RCPT", say(f"450 4.2.1 {CANARY}"), "RECIPIENT_REJECTED", False),
        ("RCPT", close(), "PROTOCOL_ERROR", False),
        ("RCPT", hang(), "TIMEOUT", False),
        ("DATA", say(f"554 5.6.0 {CANARY}"), "PROTOCOL_ERROR", False),
        ("DATA", hang(), "TIMEOUT", True),
        ("DATA", both(say("354 go"), close()), "PROTOCOL_ERROR", True),
        ("DATA", both(say("354 go"), hear(b"."), say(f"552 5.2.2 {CANARY}")), "PROTOCOL_ERROR", False),
        ("DATA", both(say("354 go"), hear(b"."), hang()), "TIMEOUT", True),
        ("DATA", both(say("354 go"), hear(b"."), close()), "PROTOCOL_ERROR", True),
        ("DATA", both(say("354 go"), hear(b"."), say(CANARY)), "PROTOCOL_ERROR", True),
    ],
)
async def test_a_mail_that_is_not_taken(
    place: str, step: Step, kind: str, may_be_sent: bool, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose answer was lost may have been sent all the same, and whoever asked for it must know."""
    monkeypatch.setattr(patience, "MESSAGE_SECONDS", 0.3)
    with scripted(certificates.server_context(), *dialogue(SMTP, **{place: step})) as server:
        with pytest.raises(MailFailure) as raised:
            await send(
                mail_of(certificates, ports={587: server.port}), account(587), b"Subject: x\r\n\r\nx\r\n", USER, USER
            )
        assert raised.value.kind == kind
        assert (raised.value.hint == MAY_BE_SENT) == may_be_sent
        assert CANARY not in f"{raised.value} {raised.value.hint}"


async def test_a_mail_that_was_taken_is_sent_however_the_server_leaves(certificates: Certificates) -> None:
    for leaves in (close(), hang(), say(f"500 {CANARY}")):
        with scripted(certificates.server_context(), *dialogue(SMTP, QUIT=leaves)) as server:
            reply = await sent(server, certificates)
            assert reply.code == 250
            assert b"\r\n\r\n..\r\n...\r\n.\r\n" in server.secret
