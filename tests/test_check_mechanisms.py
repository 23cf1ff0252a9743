"""Ways to log in: which is used, when the next is tried, and that a refused password is never sent again."""

import base64
from collections.abc import Iterator

import pytest

import mail.connect
from mail import patience
from tests.mail.accounts import PASSWORD, USER
from tests.mail.certificates import Certificates
from tests.mail.checking import encodings, outcome
from tests.mail.dialogues import CANARY, IMAP, SMTP, Protocol, dialogue
from tests.mail.hostile import check_scripted, nothing_got_out, nothing_stays
from tests.mail.scripted import Peer, Step, both, close, hear, say, scripted


@pytest.fixture(autouse=True)
def _nothing_stays(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with nothing_stays(capfd, caplog):
        yield


@pytest.fixture(autouse=True)
def _short_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "STAGE_SECONDS", 1.0)
    monkeypatch.setattr(mail.connect, "LOGOUT_SECONDS", 0.2)


# ---------------------------------------------------------------------------------------------------------------- IMAP


ASKS = both(say("+ VXNlciBOYW1l"), hear(), say("+ UGFzc3dvcmQ="), hear(), say("{tag} OK done"))
DIGEST = both(say("+ PDEyMz4="), hear(), say("{tag} OK done"))


@pytest.mark.parametrize(
    ("capabilities", "step", "expected"),
    [
        ("LOGINDISABLED AUTH=LOGIN", ASKS, b"AUTHENTICATE LOGIN"),
        ("LOGINDISABLED AUTH=CRAM-MD5", DIGEST, b"AUTHENTICATE CRAM-MD5"),
        ("LOGINDISABLED AUTH=CRAM-MD5 AUTH=LOGIN AUTH=NTLM", ASKS, b"AUTHENTICATE LOGIN"),
        ("AUTH=CRAM-MD5 AUTH=LOGIN", ASKS, b"LOGIN "),
    ],
)
async def test_ways_to_log_in_to_imap(
    capabilities: str, step: Step, expected: bytes, certificates: Certificates
) -> None:
    offered = say(f"* CAPABILITY IMAP4rev1 STARTTLS {capabilities}", "{tag} OK done")
    script = dialogue(IMAP, CAPABILITY=offered, AUTHENTICATE=step, LOGIN=say("{tag} OK done"))
    with scripted(certificates.server_context(), *script) as server:
        found = await check_scripted(IMAP, server, certificates)
        assert outcome(found) == "SUCCESS"
        [line] = [line for line in server.secret.split(b"\r\n") if b"AUTHENTICATE" in line or b" LOGIN " in line]
        assert line.partition(b" ")[2].startswith(expected)


async def test_a_password_that_is_not_ascii_goes_by_authenticate(certificates: Certificates) -> None:
    """Also where LOGIN may be used."""
    offered = say("* CAPABILITY IMAP4rev1 STARTTLS AUTH=LOGIN", "{tag} OK done")
    with scripted(certificates.server_context(), *dialogue(IMAP, CAPABILITY=offered, AUTHENTICATE=ASKS)) as server:
        assert (await check_scripted(IMAP, server, certificates, login="pässword")).success
        assert base64.b64encode("pässword".encode()) in server.secret


async def test_after_bad_the_next_way_is_tried_and_after_no_none(certificates: Certificates) -> None:
    for answer, expected in (("BAD", "SUCCESS"), ("NO", "AUTHENTICATE AUTHENTICATION_FAILED password")):
        script = dialogue(IMAP, AUTHENTICATE=say(f"{{tag}} {answer} {CANARY}"))
        with scripted(certificates.server_context(), *script) as server:
            found = await check_scripted(IMAP, server, certificates)
            assert outcome(found) == expected
            assert (b" LOGIN " in server.secret) == (answer == "BAD")
            nothing_got_out(server, found)


LOGIN_ONLY = say("* CAPABILITY IMAP4rev1 STARTTLS", "{tag} OK done")


@pytest.mark.parametrize("password", ['quo"ted', "back\\slash", "per%cent *", "(list) {3}", "}{", " "])
async def test_login_by_the_older_command(password: str, certificates: Certificates) -> None:
    script = dialogue(IMAP, CAPABILITY=LOGIN_ONLY, LOGIN=say("{tag} OK done"))
    with scripted(certificates.server_context(), *script) as server:
        found = await check_scripted(IMAP, server, certificates, login=password)
        assert outcome(found) == "SUCCESS"
        [line] = [line for line in server.secret.split(b"\r\n") if b"LOGIN" in line]
        quoted = password.replace("\\", "\\\\").replace('"', '\\"')
        assert line.endswith(f'"{quoted}"'.encode())


@pytest.mark.parametrize("username", ["a b", "CORP\\john", 'quo"ted', 'CORP\\"john doe" {3}', "(list) %*"])
async def test_a_user_name_in_the_older_command(username: str, certificates: Certificates) -> None:
    """It stays one word, whatever it holds."""
    script = dialogue(IMAP, CAPABILITY=LOGIN_ONLY, LOGIN=say("{tag} OK done"))
    with scripted(certificates.server_context(), *script) as server:
        found = await check_scripted(IMAP, server, certificates, username=username)
        assert outcome(found) == "SUCCESS"
        [line] = [line for line in server.secret.split(b"\r\n") if b"LOGIN" in line]
        quoted = username.replace("\\", "\\\\").replace('"', '\\"')
        assert line.endswith(f' LOGIN "{quoted}" "{PASSWORD}"'.encode())


@pytest.mark.parametrize("password", ["pässword", "line\r\na1 LOGOUT", "nul\0", "line\n"])
async def test_a_password_that_the_older_command_can_not_carry(password: str, certificates: Certificates) -> None:
    """It is not sent in pieces, nor as commands of its own."""
    with scripted(certificates.server_context(), *dialogue(IMAP, CAPABILITY=LOGIN_ONLY)) as server:
        found = await check_scripted(IMAP, server, certificates, login=password)
        assert outcome(found) == "AUTHENTICATE AUTHENTICATION_FAILED password"
        assert b"LOGIN" not in server.heard
        assert USER.encode() not in server.heard


async def test_no_login_where_the_server_takes_none(certificates: Certificates) -> None:
    capability = say("* CAPABILITY IMAP4rev1 LOGINDISABLED", "{tag} OK done")
    with scripted(certificates.server_context(), *dialogue(IMAP, CAPABILITY=capability)) as server:
        found = await check_scripted(IMAP, server, certificates, secure=False)
        assert outcome(found) == "AUTHENTICATE AUTHENTICATION_FAILED port"
        assert found.failure
        assert "secure" in str(found.failure.hint)
        assert USER.encode() not in server.heard


async def test_challenges_are_answered_once(certificates: Certificates) -> None:
    """The password goes out one time, however often the server asks."""
    step = both(say("+ "), hear(), say("+ bW9yZQ=="), hear(), say("+ bW9yZQ=="), hear(), say("{tag} NO no"))
    with scripted(certificates.server_context(), *dialogue(IMAP, AUTHENTICATE=step)) as server:
        found = await check_scripted(IMAP, server, certificates)
        assert outcome(found).startswith("AUTHENTICATE ")
        assert sum(server.secret.count(secret) for secret in encodings(f"\0{USER}\0{PASSWORD}")) == 1


# ---------------------------------------------------------------------------------------------------------------- SMTP


ACCEPTED = say("235 2.7.0 ok")
OF_MECHANISM = {
    "PLAIN": ACCEPTED,
    "LOGIN": both(say("334 VXNlcm5hbWU6"), hear(), say("334 UGFzc3dvcmQ6"), hear(), ACCEPTED),
    "CRAM-MD5": both(say("334 PDEyMz4="), hear(), ACCEPTED),
}


def by_mechanism(**answers: Step) -> Step:
    """Answers AUTH by the mechanism that follows."""

    def step(peer: Peer) -> None:
        name = peer.line.decode().upper().split()[1].replace("-", "_")
        answers[name](peer)

    return step


@pytest.mark.parametrize(
    ("methods", "used"),
    [
        ("LOGIN", "LOGIN"),
        ("CRAM-MD5 LOGIN", "LOGIN"),
        ("PLAIN", "PLAIN"),
        ("LOGIN PLAIN", "PLAIN"),
        ("GSSAPI NTLM CRAM-MD5", "CRAM-MD5"),
    ],
)
async def test_ways_to_log_in(methods: str, used: str, certificates: Certificates) -> None:
    ehlo = say("250-x", "250-STARTTLS", f"250 AUTH {methods}")
    with scripted(certificates.server_context(), *dialogue(SMTP, EHLO=ehlo, AUTH=OF_MECHANISM[used])) as server:
        found = await check_scripted(SMTP, server, certificates)
        assert outcome(found) == "SUCCESS"
        assert f"AUTH={methods.split(maxsplit=1)[0]}" in found.capabilities
        times = sum(server.secret.count(secret) for secret in encodings(PASSWORD))
        assert times == (0 if used == "CRAM-MD5" else 1)
        nothing_got_out(server, found)


async def test_the_user_name_is_no_part_of_the_command_login(certificates: Certificates) -> None:
    """Real servers refuse it there: `501 5.5.4 Syntax error`."""
    ehlo = say("250-x", "250-STARTTLS", "250 AUTH LOGIN")
    with scripted(certificates.server_context(), *dialogue(SMTP, EHLO=ehlo, AUTH=OF_MECHANISM["LOGIN"])) as server:
        assert (await check_scripted(SMTP, server, certificates)).success
        lines = bytes(server.secret).split(b"\r\n")
        place = lines.index(b"AUTH LOGIN")
        assert [base64.b64decode(line).decode() for line in lines[place + 1 : place + 3]] == [USER, PASSWORD]


UNJUDGED = ["500 5.5.1 x", "502 5.5.1 x", "503 5.5.1 x", "504 5.7.4 Unrecognized authentication type", "501 5.5.2 x"]


@pytest.mark.parametrize("answer", UNJUDGED)
async def test_what_is_no_verdict_on_the_password_lets_the_next_way_be_tried(
    answer: str, certificates: Certificates
) -> None:
    ehlo = say("250-x", "250-STARTTLS", "250 AUTH PLAIN LOGIN CRAM-MD5")
    auth = by_mechanism(PLAIN=say(answer), LOGIN=say(answer), CRAM_MD5=OF_MECHANISM["CRAM-MD5"])
    with scripted(certificates.server_context(), *dialogue(SMTP, EHLO=ehlo, AUTH=auth)) as server:
        assert outcome(await check_scripted(SMTP, server, certificates)) == "SUCCESS"
        assert server.secret.count(b"AUTH ") == 3


async def test_a_server_that_refuses_every_way_and_hangs_up(certificates: Certificates) -> None:
    """What it refused says more than that it had enough of it."""
    auth = by_mechanism(PLAIN=say("504 5.5.4 x"), LOGIN=close())
    with scripted(certificates.server_context(), *dialogue(SMTP, AUTH=auth)) as server:
        found = await check_scripted(SMTP, server, certificates)
        assert outcome(found) == "AUTHENTICATE AUTHENTICATION_FAILED port"
        assert "504 5.5.4" in str(found.failure)


@pytest.mark.parametrize(
    "answer", ["535 5.7.8 no", "535 5.7.139 no", "534 5.7.9 no", "454 4.7.0 no", "550 no", "421 no"]
)
async def test_once_a_password_is_refused_it_is_not_sent_again(answer: str, certificates: Certificates) -> None:
    """Servers lock accounts after so many failures."""
    auth = by_mechanism(PLAIN=say("504 5.5.4 no"), LOGIN=both(say("334 x"), hear(), say("334 y"), hear(), say(answer)))
    ehlo = say("250-x", "250-STARTTLS", "250 AUTH PLAIN LOGIN CRAM-MD5")
    with scripted(certificates.server_context(), *dialogue(SMTP, EHLO=ehlo, AUTH=auth)) as server:
        found = await check_scripted(SMTP, server, certificates)
        assert answer.removesuffix(" no") in str(found.failure), "that the first way is not known is not the news"
        assert server.secret.count(b"AUTH ") == 2


@pytest.mark.parametrize(
    ("protocol", "offered"),
    [
        (SMTP, {"EHLO": say("250-x", "250-STARTTLS", "250 AUTH GSSAPI NTLM XOAUTH2")}),
        (IMAP, {"CAPABILITY": say("* CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED AUTH=NTLM AUTH=GSSAPI AUTH=XOAUTH2",
                                  "{tag} OK done")}),
    ],
    ids=["smtp", "imap"],
)  # fmt: skip
async def test_ways_that_nobody_here_knows_are_named(
    protocol: Protocol, offered: dict[str, Step], certificates: Certificates
) -> None:
    with scripted(certificates.server_context(), *dialogue(protocol, **offered)) as server:
        found = await check_scripted(protocol, server, certificates)
        assert outcome(found) == "AUTHENTICATE AUTHENTICATION_FAILED port"
        assert "GSSAPI, NTLM, XOAUTH2" in str(found.failure)
        assert found.failure
        assert "oauth2" in str(found.failure.hint)
        nothing_got_out(server, found)


async def test_a_wrong_password_counts_once(certificates: Certificates) -> None:
    """Servers lock accounts after so many failures: no second way is tried."""
    ehlo = say("250-x", "250-STARTTLS", "250 AUTH PLAIN LOGIN CRAM-MD5")
    script = dialogue(SMTP, EHLO=ehlo, AUTH=say("535 5.7.8 no"))
    with scripted(certificates.server_context(), *script) as server:
        found = await check_scripted(SMTP, server, certificates)
        assert outcome(found) == "AUTHENTICATE AUTHENTICATION_FAILED password"
        assert server.heard.count(b"AUTH ") == 1


async def test_a_long_password_is_no_part_of_the_command(certificates: Certificates) -> None:
    """A command line has 512 bytes (RFC 5321, 4.5.3.1.4)."""
    password, auth = "x" * 1_000, both(say("334 "), hear(), say("235 2.7.0 ok"))
    with scripted(certificates.server_context(), *dialogue(SMTP, AUTH=auth)) as server:
        found = await check_scripted(SMTP, server, certificates, login=password)
        assert outcome(found) == "SUCCESS"
        lines = bytes(server.secret).split(b"\r\n")
        assert lines[lines.index(b"AUTH PLAIN") + 1] == base64.b64encode(f"\0{USER}\0{password}".encode())


async def test_a_digest_is_liked_where_there_is_no_tls(certificates: Certificates) -> None:
    ehlo, auth = say("250-x", "250 AUTH PLAIN CRAM-MD5"), both(say("334 PDEyMz4="), hear(), say("235 ok"))
    with scripted(certificates.server_context(), *dialogue(SMTP, EHLO=ehlo, AUTH=auth)) as server:
        found = await check_scripted(SMTP, server, certificates, secure=False)
        assert outcome(found) == "SUCCESS"
        assert b"CRAM-MD5" in server.clear
        nothing_got_out(server, found)
