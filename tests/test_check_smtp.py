"""The check of SMTP and the test mail at a real server: TLS on every port, logins, senders, recipients, tokens."""

import asyncio
from email.message import EmailMessage
from email.policy import SMTP

import pytest

from mail.check import check_smtp, send
from mail.compose import test_message as composed
from models.errors import ErrorCode, MailFailure
from tests.mail.accounts import ALIAS, LATER, ODD, ODD_PASSWORD, UNKNOWN, USER
from tests.mail.addresses import At
from tests.mail.certificates import Certificates
from tests.mail.checking import account, grant, mail_of, outcome, stages, warnings
from tests.mail.dovecot import Dovecot
from tests.mail.postfix import Postfix
from tests.process import until

BEFORE = ["POLICY", "DNS", "CONNECT"]
IMPLICIT = [*BEFORE, "TLS", "GREETING"]
UPGRADED = [*BEFORE, "GREETING", "STARTTLS"]
LOGIN = ["AUTHENTICATE", "SENDER"]


def ports(postfix: Postfix) -> dict[int, int]:
    """The ports that everybody knows, and those that a test can have."""
    return {465: postfix.submissions, 587: postfix.submission, 25: postfix.submission, 2525: postfix.submission}


@pytest.mark.parametrize(
    ("at", "port", "secure", "expected"),
    [
        (At.GOOD, 465, True, IMPLICIT),
        (At.GOOD, 465, False, IMPLICIT),
        (At.GOOD, 587, True, UPGRADED),
        (At.GOOD, 587, False, UPGRADED),
        (At.GOOD, 25, True, UPGRADED),
        (At.GOOD, 2525, True, UPGRADED),
        (At.STRICT, 587, True, UPGRADED),
        (At.STRICT, 587, False, UPGRADED),
        (At.CLEAR, 587, False, [*BEFORE, "GREETING"]),
    ],
)
async def test_tls_on_the_ports_that_everybody_knows(
    at: At, port: int, secure: bool, expected: list[str], certificates: Certificates, postfix: Postfix
) -> None:
    found = await check_smtp(mail_of(certificates, at, ports(postfix)), account(port, secure=secure), USER)
    assert outcome(found) == "SUCCESS"
    assert stages(found) == [*expected, *LOGIN]
    assert {"PIPELINING", "AUTH=PLAIN", "SMTPUTF8"} <= set(found.capabilities)
    assert warnings(found).keys() == ({"AUTHENTICATE"} if at is At.CLEAR else set())
    assert (found.certificate is None) == (at is At.CLEAR)


async def test_tls_is_found_on_any_other_port(certificates: Certificates, postfix: Postfix) -> None:
    mailing = mail_of(certificates)
    implicit, upgraded = await asyncio.gather(
        check_smtp(mailing, account(postfix.submissions), USER), check_smtp(mailing, account(postfix.submission), USER)
    )
    assert (outcome(implicit), stages(implicit)) == ("SUCCESS", [*IMPLICIT, *LOGIN])
    assert (outcome(upgraded), stages(upgraded)) == ("SUCCESS", [*UPGRADED, *LOGIN])


@pytest.mark.parametrize("port", [587, 0])
async def test_no_starttls(port: int, certificates: Certificates, postfix: Postfix) -> None:
    mailing = mail_of(certificates, At.CLEAR, ports(postfix))
    found = await check_smtp(mailing, account(port or postfix.submission), USER)
    assert outcome(found) == "STARTTLS STARTTLS_UNAVAILABLE port"


async def test_a_port_that_greets_in_clear_where_tls_should_be(certificates: Certificates, postfix: Postfix) -> None:
    found = await check_smtp(mail_of(certificates, ports={465: postfix.submission}), account(465), USER)
    assert outcome(found) == "TLS TLS_FAILED port"
    assert found.failure
    assert "587" in str(found.failure.hint)


@pytest.mark.parametrize("port", [465, 587])
@pytest.mark.parametrize("at", [At.EXPIRED, At.STRANGER, At.SELF_SIGNED, At.MISNAMED])
async def test_a_bad_certificate(port: int, at: At, certificates: Certificates, postfix: Postfix) -> None:
    mailing = mail_of(certificates, at, ports(postfix))
    found = await check_smtp(mailing, account(port), USER)
    field = "server" if at is At.MISNAMED else "tlsFingerprint"
    assert outcome(found) == f"{'STARTTLS' if port == 587 else 'TLS'} CERTIFICATE_INVALID {field}"
    assert found.certificate
    assert found.certificate.fingerprint == certificates.fingerprint(at)
    trusted = await check_smtp(mailing, account(port, tls_fingerprint=found.certificate.fingerprint), USER)
    assert outcome(trusted) == "SUCCESS"


@pytest.mark.parametrize("port", [465, 587])
async def test_another_fingerprint_trusts_nothing(port: int, certificates: Certificates, postfix: Postfix) -> None:
    fingerprint = certificates.fingerprint(At.STRANGER)
    found = await check_smtp(
        mail_of(certificates, ports=ports(postfix)), account(port, tls_fingerprint=fingerprint), USER
    )
    assert outcome(found).endswith("CERTIFICATE_INVALID tlsFingerprint")
    assert "AUTHENTICATE" not in stages(found)


async def test_a_certificate_that_ends_soon_is_warned_of(certificates: Certificates, postfix: Postfix) -> None:
    found = await check_smtp(mail_of(certificates, At.ENDING, ports(postfix)), account(587), USER)
    assert outcome(found) == "SUCCESS"
    assert warnings(found).keys() == {"STARTTLS"}


# -------------------------------------------------------------------------------------------------- logins and senders


@pytest.mark.parametrize(("username", "password"), [(USER, "wrong"), ("nobody@inbox.test", "any")])
async def test_a_login_that_is_refused(
    username: str, password: str, certificates: Certificates, postfix: Postfix
) -> None:
    found = await check_smtp(
        mail_of(certificates), account(postfix.submissions, username=username, login=password), USER
    )
    assert outcome(found) == "AUTHENTICATE AUTHENTICATION_FAILED password"
    assert "535 5.7.8" in str(found.failure)


async def test_a_password_that_is_hard_to_spell(certificates: Certificates, postfix: Postfix) -> None:
    for port in (postfix.submissions, postfix.submission):
        found = await check_smtp(mail_of(certificates), account(port, username=ODD, login=ODD_PASSWORD), ODD)
        assert outcome(found) == "SUCCESS"


async def test_a_server_where_nobody_can_log_in(certificates: Certificates, postfix: Postfix) -> None:
    found = await check_smtp(mail_of(certificates), account(postfix.open), USER)
    assert outcome(found) == "AUTHENTICATE AUTHENTICATION_FAILED port"


@pytest.mark.parametrize("sender", [ODD, "support@outside.test"])
async def test_a_sender_that_the_account_may_not_use(sender: str, certificates: Certificates, postfix: Postfix) -> None:
    found = await check_smtp(mail_of(certificates), account(postfix.submissions), sender)
    assert outcome(found) == "SENDER SENDER_REJECTED email"
    assert "553 5.7.1" in str(found.failure)


async def test_a_check_sends_nothing(certificates: Certificates, postfix: Postfix) -> None:
    before = postfix.log.count("rset=1 quit=1")
    await check_smtp(mail_of(certificates), account(postfix.submissions), USER)
    until(lambda: postfix.log.count("rset=1 quit=1") > before)
    assert postfix.files() == []


# -------------------------------------------------------------------------------------------------------------- sending


def message(**fields: str) -> bytes:
    found = EmailMessage()
    for name, value in {"Subject": "A test", "From": USER, "To": USER, **fields}.items():
        found[name] = value
    found.set_content("Hello.\n.\nA line of one dot is above, and an ü.\n")
    return found.as_bytes(policy=SMTP)


@pytest.mark.parametrize("port", [465, 587])
async def test_a_mail_arrives(port: int, certificates: Certificates, postfix: Postfix) -> None:
    mailing = mail_of(certificates, ports=ports(postfix))
    reply = await send(mailing, account(port), message(Subject="Grüße"), USER, USER)
    assert (reply.code, reply.enhanced) == (250, "2.0.0")
    [found] = postfix.received()
    assert found["Subject"] == "Grüße"
    assert found["Return-Path"] == f"<{USER}>"
    assert found.get_content().splitlines() == ["Hello.", ".", "A line of one dot is above, and an ü."]


async def test_the_test_mail_arrives(certificates: Certificates, postfix: Postfix) -> None:
    text = composed('Ünit "Support", Ltd.', USER, ODD)
    await send(mail_of(certificates), account(postfix.submissions), text, USER, ODD)
    [found] = postfix.received()
    assert found["From"].addresses[0].display_name == 'Ünit "Support", Ltd.'
    assert found["From"].addresses[0].addr_spec == found["Return-Path"].strip("<>") == USER
    assert found["To"] == found["Delivered-To"] == ODD
    assert USER in found.get_content()


@pytest.mark.parametrize(
    ("sender", "recipient", "kind", "code"),
    [
        (USER, UNKNOWN, ErrorCode.RECIPIENT_REJECTED, "550 5.1.1"),
        (USER, LATER, ErrorCode.RECIPIENT_REJECTED, "450 4.2.0"),
        (ODD, USER, ErrorCode.SENDER_REJECTED, "553 5.7.1"),
    ],
)
async def test_a_mail_that_is_refused(
    sender: str, recipient: str, kind: ErrorCode, code: str, certificates: Certificates, postfix: Postfix
) -> None:
    with pytest.raises(MailFailure) as raised:
        await send(mail_of(certificates), account(postfix.submissions), message(), sender, recipient)
    assert raised.value.kind is kind
    assert code in str(raised.value)
    assert postfix.files() == []


async def test_a_mail_is_not_sent_where_the_login_is_refused(certificates: Certificates, postfix: Postfix) -> None:
    with pytest.raises(MailFailure) as raised:
        await send(mail_of(certificates), account(postfix.submissions, login="wrong"), message(), USER, USER)
    assert raised.value.kind is ErrorCode.AUTHENTICATION_FAILED


async def test_a_sender_beyond_ascii(certificates: Certificates, postfix: Postfix) -> None:
    found = await check_smtp(mail_of(certificates), account(postfix.submissions), ALIAS)
    assert outcome(found) == "SUCCESS"


# --------------------------------------------------------------------------------------------------------------- tokens


@pytest.mark.parametrize(("at", "mechanism"), [(At.GOOD, "XOAUTH2"), (At.STRICT, "OAUTHBEARER")])
async def test_an_access_token_in_place_of_a_password(
    at: At, mechanism: str, certificates: Certificates, postfix: Postfix, dovecot: Dovecot
) -> None:
    mailing, tokens = mail_of(certificates, at, ports(postfix)), dovecot.tokens
    login = grant(tokens, tokens.consent(USER))
    for port in (465, 587):
        assert outcome(await check_smtp(mailing, account(port, login=login), USER)) == "SUCCESS"
    assert len(tokens.calls) == 1
    tokens.end_access()
    assert outcome(await check_smtp(mailing, account(587, login=login), USER)) == "SUCCESS"
    assert len(tokens.calls) == 2, "a token that was revoked is replaced"
    tokens.withdraw()
    found = await check_smtp(mailing, account(587, login=login), USER)
    assert outcome(found).startswith("AUTHENTICATE CONSENT_REQUIRED oauth2")


@pytest.mark.parametrize("at", [At.GOOD, At.STRICT])
async def test_a_long_access_token(at: At, certificates: Certificates, postfix: Postfix, dovecot: Dovecot) -> None:
    """Microsoft's are longer than the line of a command that Postfix reads."""
    tokens, token = dovecot.tokens, "x" * 2_000

    def answer(form: dict[str, str]) -> tuple[int, bytes]:
        tokens.access_tokens[token] = tokens.refresh_tokens[form["refresh_token"]]
        return tokens.tokens(access_token=token)

    tokens.answer = answer
    login = grant(tokens, tokens.consent(USER))
    for port in (465, 587):
        found = await check_smtp(mail_of(certificates, at, ports(postfix)), account(port, login=login), USER)
        assert outcome(found) == "SUCCESS"


async def test_the_token_of_another_user(certificates: Certificates, postfix: Postfix, dovecot: Dovecot) -> None:
    login = grant(dovecot.tokens, dovecot.tokens.consent(ODD))
    found = await check_smtp(mail_of(certificates), account(postfix.submissions, login=login), USER)
    assert outcome(found).startswith("AUTHENTICATE AUTHENTICATION_FAILED")


async def test_a_server_that_takes_no_tokens(certificates: Certificates, postfix: Postfix, dovecot: Dovecot) -> None:
    login = grant(dovecot.tokens, dovecot.tokens.consent(USER))
    found = await check_smtp(mail_of(certificates), account(postfix.open, login=login), USER)
    assert outcome(found) == "AUTHENTICATE AUTHENTICATION_FAILED oauth2"
