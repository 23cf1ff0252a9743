"""Logins by access token at scripted servers: how often one is tried, how often one is fetched, and what is told."""

from collections.abc import Iterator

import pytest

import mail.connect
from mail import oauth2, patience
from mail.report import ServerCheck
from mail.service import Mail
from models.account import Grant
from tests.mail.accounts import USER
from tests.mail.certificates import Certificates
from tests.mail.checking import grant, mail_of, outcome
from tests.mail.dialogues import CANARY, IMAP, SMTP, Protocol, dialogue
from tests.mail.hostile import PROTOCOLS, check, nothing_stays, port_of
from tests.mail.scripted import Scripted, Step, at_first, both, close, hear, say, scripted
from tests.mail.token_endpoint import TokenEndpoint

OFFERS = {
    "IMAP": {"CAPABILITY": say("* CAPABILITY IMAP4rev1 AUTH=XOAUTH2 IDLE", "{tag} OK done")},
    "SMTP": {"EHLO": say("250-mail.example.test", "250 AUTH XOAUTH2")},
}
LOGIN = {"IMAP": "AUTHENTICATE", "SMTP": "AUTH"}
ACCEPTS = {protocol.name: protocol.answers[LOGIN[protocol.name]] for protocol in (IMAP, SMTP)}
REFUSES = {
    "IMAP": both(say("+ "), hear(), say(f"{{tag}} NO [AUTHENTICATIONFAILED] {CANARY}")),
    "SMTP": say(f"535 5.7.8 {CANARY}"),
}
REFUSED = "AUTHENTICATE AUTHENTICATION_FAILED oauth2.refreshToken"


@pytest.fixture(autouse=True)
def _nothing_stays(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with nothing_stays(capfd, caplog):
        yield


@pytest.fixture
def tokens(certificates: Certificates) -> Iterator[TokenEndpoint]:
    with TokenEndpoint(certificates.server_context()) as started:
        yield started


@pytest.fixture
def login(tokens: TokenEndpoint) -> Grant:
    return grant(tokens, tokens.consent(USER))


def script(protocol: Protocol, answers: Step, **otherwise: Step) -> list[Step]:
    """That of a server which answers a login so."""
    return dialogue(protocol, **OFFERS[protocol.name], **{LOGIN[protocol.name]: answers}, **otherwise)


def mail_for(protocol: Protocol, server: Scripted, certificates: Certificates) -> Mail:
    return mail_of(certificates, ports={port_of(protocol, implicit=True): server.port})


async def checked(protocol: Protocol, mailing: Mail, login: Grant) -> ServerCheck:
    return await check(protocol, mailing, port_of(protocol, implicit=True), login=login)


def logins(server: Scripted) -> int:
    return server.secret.count(b" XOAUTH2")


@PROTOCOLS
async def test_a_new_token_that_is_refused_is_the_last(
    protocol: Protocol, certificates: Certificates, tokens: TokenEndpoint, login: Grant
) -> None:
    """Another one would be no better; and where failures are counted, it is to count once."""
    with scripted(certificates.server_context(), *script(protocol, REFUSES[protocol.name]), implicit=True) as server:
        mailing = mail_for(protocol, server, certificates)
        assert outcome(await checked(protocol, mailing, login)) == REFUSED
        assert (logins(server), len(tokens.calls)) == (1, 1)
        assert outcome(await checked(protocol, mailing, login)) == REFUSED
        assert (logins(server), len(tokens.calls)) == (2, 2), "what was refused is not kept"


@PROTOCOLS
async def test_a_kept_token_that_is_refused_is_replaced(
    protocol: Protocol, certificates: Certificates, tokens: TokenEndpoint, login: Grant
) -> None:
    """It may have been revoked before its time."""
    answers = at_first(REFUSES[protocol.name], ACCEPTS[protocol.name])
    with scripted(certificates.server_context(), *script(protocol, answers), implicit=True) as server:
        mailing = mail_for(protocol, server, certificates)
        await mailing.tokens.token(login)
        assert outcome(await checked(protocol, mailing, login)) == "SUCCESS"
        assert (logins(server), len(tokens.calls), server.connections) == (2, 2, 1)


@PROTOCOLS
async def test_a_kept_token_is_replaced_once(
    protocol: Protocol, certificates: Certificates, tokens: TokenEndpoint, login: Grant
) -> None:
    with scripted(certificates.server_context(), *script(protocol, REFUSES[protocol.name]), implicit=True) as server:
        mailing = mail_for(protocol, server, certificates)
        await mailing.tokens.token(login)
        assert outcome(await checked(protocol, mailing, login)) == REFUSED
        assert (logins(server), len(tokens.calls)) == (2, 2)


@PROTOCOLS
@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "at the second"])
async def test_a_server_that_hangs_up_on_whom_it_refused(
    protocol: Protocol, at_once: bool, certificates: Certificates, tokens: TokenEndpoint, login: Grant
) -> None:
    """What it said is told, and not that it hung up."""
    refuses = REFUSES[protocol.name]
    answers = at_first(both(refuses, close()) if at_once else refuses, close())
    with scripted(certificates.server_context(), *script(protocol, answers), implicit=True) as server:
        mailing = mail_for(protocol, server, certificates)
        await mailing.tokens.token(login)
        assert outcome(await checked(protocol, mailing, login)) == REFUSED


@PROTOCOLS
async def test_a_server_that_hangs_up_before_it_refused(
    protocol: Protocol, certificates: Certificates, tokens: TokenEndpoint, login: Grant
) -> None:
    with scripted(certificates.server_context(), *script(protocol, close()), implicit=True) as server:
        mailing = mail_for(protocol, server, certificates)
        await mailing.tokens.token(login)
        assert outcome(await checked(protocol, mailing, login)) == "AUTHENTICATE PROTOCOL_ERROR server"
        await mailing.tokens.token(login)
        assert len(tokens.calls) == 1, "nothing is known against the token"


async def test_a_server_that_has_no_such_login_after_all(certificates: Certificates, login: Grant) -> None:
    with scripted(certificates.server_context(), *script(SMTP, say("504 5.5.4 no")), implicit=True) as server:
        found = await checked(SMTP, mail_for(SMTP, server, certificates), login)
        assert outcome(found) == "AUTHENTICATE AUTHENTICATION_FAILED oauth2"
        assert "password" not in str(found.failure)


@PROTOCOLS
async def test_a_token_endpoint_that_hangs_is_not_blamed_on_the_mail_server(
    protocol: Protocol,
    certificates: Certificates,
    tokens: TokenEndpoint,
    login: Grant,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(oauth2, "TOKEN_ENDPOINT_SECONDS", 0.3)
    monkeypatch.setattr(patience, "STAGE_SECONDS", 3.0)
    tokens.hangs()
    with scripted(certificates.server_context(), *script(protocol, ACCEPTS[protocol.name]), implicit=True) as server:
        found = await checked(protocol, mail_for(protocol, server, certificates), login)
        assert outcome(found) == "AUTHENTICATE TIMEOUT oauth2.tokenUrl"
        assert logins(server) == 0


def test_what_is_waited_for_within_a_stage_ends_before_it() -> None:
    """Otherwise the stage would end first, and blame the mail server."""
    assert oauth2.TOKEN_ENDPOINT_SECONDS < patience.STAGE_SECONDS < patience.CHECK_SECONDS
    assert mail.connect.CERTIFICATE_SECONDS < patience.STAGE_SECONDS
