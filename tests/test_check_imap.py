"""The check of IMAP at a real server: TLS on every port, logins, certificates, folders, tokens."""

import asyncio
import socket
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

import mail.imap
from mail import patience
from mail.check import check_imap
from mail.dialogue import safe_names
from mail.hosts import HostPolicy
from tests.mail.accounts import FOLDERLESS, ODD, ODD_PASSWORD, PASSWORD, USER
from tests.mail.addresses import NAME, OTHER_NAME, At
from tests.mail.certificates import DAYS_LEFT, Certificates
from tests.mail.checking import account, encodings, grant, mail_of, outcome, stages, told, warnings
from tests.mail.dovecot import Dovecot
from tests.process import until

BEFORE = ["POLICY", "DNS", "CONNECT"]
IMPLICIT = [*BEFORE, "TLS", "GREETING"]
UPGRADED = [*BEFORE, "GREETING", "STARTTLS"]
LOGIN = ["AUTHENTICATE", "SELECT_INBOX"]


def ports(dovecot: Dovecot) -> dict[int, int]:
    """The ports that everybody knows, and those that a test can have."""
    return {993: dovecot.imaps, 143: dovecot.imap}


@pytest.mark.parametrize(
    ("at", "port", "secure", "expected"),
    [
        (At.GOOD, 993, True, IMPLICIT),
        (At.GOOD, 993, False, IMPLICIT),
        (At.GOOD, 143, True, UPGRADED),
        (At.GOOD, 143, False, UPGRADED),
        (At.STRICT, 143, True, UPGRADED),
        (At.CLEAR, 143, False, [*BEFORE, "GREETING"]),
    ],
)
async def test_tls_on_the_ports_that_everybody_knows(
    at: At, port: int, secure: bool, expected: list[str], certificates: Certificates, dovecot: Dovecot
) -> None:
    found = await check_imap(mail_of(certificates, at, ports(dovecot)), account(port, secure=secure))
    assert outcome(found) == "SUCCESS"
    assert stages(found) == [*expected, *LOGIN]
    assert all(stage.duration_ms > 0 for stage in found.stages[2:])
    assert "IDLE" in found.capabilities
    assert warnings(found).keys() == ({"AUTHENTICATE"} if at is At.CLEAR else set())
    assert (found.certificate is None) == (at is At.CLEAR)


async def test_tls_is_found_on_any_other_port(certificates: Certificates, dovecot: Dovecot) -> None:
    mailing = mail_of(certificates)
    implicit, upgraded = await asyncio.gather(
        check_imap(mailing, account(dovecot.imaps)), check_imap(mailing, account(dovecot.imap))
    )
    assert (outcome(implicit), stages(implicit)) == ("SUCCESS", [*IMPLICIT, *LOGIN])
    assert (outcome(upgraded), stages(upgraded)) == ("SUCCESS", [*UPGRADED, *LOGIN])
    assert implicit.certificate == upgraded.certificate


async def test_without_secure_any_other_port_begins_in_clear(certificates: Certificates, dovecot: Dovecot) -> None:
    found = await check_imap(mail_of(certificates), account(dovecot.imap, secure=False))
    assert (outcome(found), stages(found)) == ("SUCCESS", [*UPGRADED, *LOGIN])
    in_clear = await check_imap(mail_of(certificates, At.CLEAR), account(dovecot.imap, secure=False))
    assert (outcome(in_clear), stages(in_clear)) == ("SUCCESS", [*BEFORE, "GREETING", *LOGIN])


async def test_without_secure_a_port_that_waits_for_tls_is_silent(
    certificates: Certificates, dovecot: Dovecot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "STAGE_SECONDS", 0.3)
    found = await check_imap(mail_of(certificates), account(dovecot.imaps, secure=False))
    assert outcome(found) == "GREETING TIMEOUT port"
    assert found.failure
    assert "set secure to true" in str(found.failure.hint)


@pytest.mark.parametrize("port", [143, 0])
async def test_no_starttls(port: int, certificates: Certificates, dovecot: Dovecot) -> None:
    mailing = mail_of(certificates, At.CLEAR, ports(dovecot))
    found = await check_imap(mailing, account(port or dovecot.imap))
    assert outcome(found) == "STARTTLS STARTTLS_UNAVAILABLE port"


async def test_a_port_that_greets_in_clear_where_tls_should_be(certificates: Certificates, dovecot: Dovecot) -> None:
    found = await check_imap(mail_of(certificates, ports={993: dovecot.imap}), account(993))
    assert outcome(found) == "TLS TLS_FAILED port"
    assert found.failure
    assert "143" in str(found.failure.hint)


# ------------------------------------------------------------------------------------------------------ certificates


@pytest.mark.parametrize("port", [993, 143, 0])
@pytest.mark.parametrize(
    ("at", "expected", "hint"),
    [
        (At.EXPIRED, "CERTIFICATE_INVALID tlsFingerprint", "renew"),
        (At.STRANGER, "CERTIFICATE_INVALID tlsFingerprint", "EMAIL_INBOX_CA_FILE"),
        (At.SELF_SIGNED, "CERTIFICATE_INVALID tlsFingerprint", "EMAIL_INBOX_CA_FILE"),
        (At.MISNAMED, "CERTIFICATE_INVALID server", "name"),
    ],
)
async def test_a_bad_certificate(
    port: int, at: At, expected: str, hint: str, certificates: Certificates, dovecot: Dovecot
) -> None:
    """It is told what is wrong and what the certificate says, nobody logs in, and its fingerprint can be trusted."""
    mailing, port = mail_of(certificates, at, ports(dovecot)), port or dovecot.imaps
    found = await check_imap(mailing, account(port))
    assert outcome(found) == f"{'STARTTLS' if port == 143 else 'TLS'} {expected}"
    assert found.failure
    assert found.certificate
    assert hint in str(found.failure.hint)
    assert found.certificate.fingerprint == certificates.fingerprint(at)
    assert "AUTHENTICATE" not in stages(found)
    trusted = await check_imap(mailing, account(port, tls_fingerprint=found.certificate.fingerprint))
    assert outcome(trusted) == "SUCCESS"


async def test_what_a_certificate_says(certificates: Certificates, dovecot: Dovecot) -> None:
    found = await check_imap(mail_of(certificates, At.MISNAMED, ports(dovecot)), account(993))
    assert found.failure
    assert found.certificate
    assert found.certificate.names == [OTHER_NAME]
    assert "trustme" in found.certificate.issuer
    assert found.certificate.valid_from < datetime.now(UTC) < found.certificate.expires_at
    assert OTHER_NAME in str(found.failure)
    assert NAME in str(found.failure)


async def test_a_certificate_that_expired_says_when(certificates: Certificates, dovecot: Dovecot) -> None:
    found = await check_imap(mail_of(certificates, At.EXPIRED, ports(dovecot)), account(993))
    assert found.failure
    assert found.certificate
    assert found.certificate.expires_at < datetime.now(UTC)
    assert f"{found.certificate.expires_at:%Y-%m-%d}" in str(found.failure)


async def test_a_certificate_that_ends_soon_is_warned_of(certificates: Certificates, dovecot: Dovecot) -> None:
    for port, stage in ((993, "TLS"), (143, "STARTTLS")):
        found = await check_imap(mail_of(certificates, At.ENDING, ports(dovecot)), account(port))
        assert outcome(found) == "SUCCESS"
        assert str(DAYS_LEFT) in warnings(found)[stage]
        assert found.certificate
        assert timedelta(DAYS_LEFT) <= found.certificate.expires_at - datetime.now(UTC) < timedelta(DAYS_LEFT + 1)


@pytest.mark.parametrize("port", [993, 143])
@pytest.mark.parametrize("at", [At.GOOD, At.EXPIRED])
async def test_another_fingerprint_trusts_nothing(
    port: int, at: At, certificates: Certificates, dovecot: Dovecot
) -> None:
    """Not even a certificate that is good."""
    mailing = mail_of(certificates, at, ports(dovecot))
    found = await check_imap(mailing, account(port, tls_fingerprint=certificates.fingerprint(At.STRANGER)))
    assert outcome(found).endswith("CERTIFICATE_INVALID tlsFingerprint")
    assert "AUTHENTICATE" not in stages(found)
    assert found.certificate
    assert found.certificate.fingerprint == certificates.fingerprint(at)


async def test_an_authority_of_ones_own_must_be_named(certificates: Certificates, dovecot: Dovecot) -> None:
    found = await check_imap(mail_of(certificates, At.STRANGER, ports(dovecot)), account(993, secure=False))
    assert outcome(found) == "TLS CERTIFICATE_INVALID tlsFingerprint"


async def test_a_server_that_is_named_by_its_address(certificates: Certificates, dovecot: Dovecot) -> None:
    found = await check_imap(mail_of(certificates), account(dovecot.imaps, server=At.GOOD))
    assert outcome(found) == "SUCCESS"


# ------------------------------------------------------------------------------------------------------------- logins


@pytest.mark.parametrize(("username", "password"), [(USER, "wrong"), ("nobody@inbox.test", PASSWORD), (USER, " ")])
async def test_a_login_that_is_refused(
    username: str, password: str, certificates: Certificates, dovecot: Dovecot
) -> None:
    found = await check_imap(mail_of(certificates), account(dovecot.imaps, username=username, login=password))
    assert outcome(found) == "AUTHENTICATE AUTHENTICATION_FAILED password"
    assert "AUTHENTICATIONFAILED" in str(found.failure)
    assert not any(secret.decode() in told(found) for secret in encodings(password) if len(secret) > 3)


async def test_a_password_that_is_hard_to_spell(certificates: Certificates, dovecot: Dovecot) -> None:
    for port in (dovecot.imaps, dovecot.imap):
        found = await check_imap(mail_of(certificates), account(port, username=ODD, login=ODD_PASSWORD))
        assert outcome(found) == "SUCCESS"


async def test_no_login_without_tls(certificates: Certificates, dovecot: Dovecot) -> None:
    """Where the server takes none, and TLS is not asked for: TLS is used all the same."""
    found = await check_imap(mail_of(certificates, At.STRICT), account(dovecot.imap, secure=False))
    assert (outcome(found), stages(found)) == ("SUCCESS", [*UPGRADED, *LOGIN])


async def test_an_account_without_inbox(certificates: Certificates, dovecot: Dovecot) -> None:
    found = await check_imap(mail_of(certificates), account(dovecot.imaps, username=FOLDERLESS))
    assert outcome(found) == "SELECT_INBOX MAILBOX_NOT_FOUND username"


async def test_a_check_goes_as_it_came(certificates: Certificates, dovecot: Dovecot) -> None:
    """It logs out."""
    before = dovecot.log.count("Logged out")
    await check_imap(mail_of(certificates), account(dovecot.imaps))
    until(lambda: dovecot.log.count("Logged out") > before)


# -------------------------------------------------------------------------------------------------------- the way there


async def test_nothing_listens(certificates: Certificates) -> None:
    with socket.create_server((At.GOOD, 0)) as listener:
        port = listener.getsockname()[1]
    found = await check_imap(mail_of(certificates), account(port))
    assert outcome(found) == "CONNECT CONNECTION_REFUSED port"


async def test_a_name_that_is_not_known(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(name: str) -> list[str]:
        raise OSError(name)

    mailing = mail_of(certificates)
    monkeypatch.setattr(mailing.hosts, "_lookup", unknown)
    assert outcome(await check_imap(mailing, account(993))) == "DNS DNS_FAILED server"


async def test_a_name_server_that_is_silent(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(name: str) -> list[str]:
        await asyncio.Event().wait()
        return []

    mailing = mail_of(certificates)
    monkeypatch.setattr(patience, "STAGE_SECONDS", 0.05)
    monkeypatch.setattr(mailing.hosts, "_lookup", silent)
    assert outcome(await check_imap(mailing, account(993))) == "DNS TIMEOUT server"


async def test_a_host_that_is_not_public(certificates: Certificates, dovecot: Dovecot) -> None:
    mailing = replace(mail_of(certificates), hosts=HostPolicy(ports={dovecot.imaps}))
    for server, stage in ((At.GOOD, "POLICY"), ("localhost", "POLICY")):
        found = await check_imap(mailing, account(dovecot.imaps, server=server))
        assert outcome(found) == f"{stage} HOST_NOT_ALLOWED server"


async def test_a_port_that_is_none_of_mail(certificates: Certificates) -> None:
    mailing = replace(mail_of(certificates), hosts=HostPolicy(["127.0.0.0/8"]))
    assert outcome(await check_imap(mailing, account(22))) == "POLICY HOST_NOT_ALLOWED port"


# ------------------------------------------------------------------------------------------------------------- tokens


async def test_an_access_token_in_place_of_a_password(certificates: Certificates, dovecot: Dovecot) -> None:
    mailing, tokens = mail_of(certificates), dovecot.tokens
    login = grant(tokens, tokens.consent(USER))
    for _ in range(3):
        assert outcome(await check_imap(mailing, account(dovecot.imaps, login=login))) == "SUCCESS"
    assert len(tokens.calls) == 1, "the token is used as long as it is good"


async def test_a_server_that_takes_tokens_in_the_standard_way_only(
    certificates: Certificates, dovecot: Dovecot, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(names: Iterable[str]) -> list[str]:
        return [name for name in safe_names(names) if name != "AUTH=XOAUTH2"]

    monkeypatch.setattr(mail.imap, "safe_names", without)
    mailing, login = mail_of(certificates), grant(dovecot.tokens, dovecot.tokens.consent(USER))
    assert outcome(await check_imap(mailing, account(dovecot.imaps, login=login))) == "SUCCESS"
    until(lambda: "method=OAUTHBEARER" in dovecot.log)
    dovecot.tokens.end_access()
    assert outcome(await check_imap(mailing, account(dovecot.imaps, login=login))) == "SUCCESS"
    assert len(dovecot.tokens.calls) == 2


async def test_a_token_that_was_revoked_is_replaced(certificates: Certificates, dovecot: Dovecot) -> None:
    mailing, tokens = mail_of(certificates), dovecot.tokens
    login = grant(tokens, tokens.consent(USER))
    await check_imap(mailing, account(dovecot.imaps, login=login))
    tokens.end_access()
    assert outcome(await check_imap(mailing, account(dovecot.imaps, login=login))) == "SUCCESS"
    assert len(tokens.calls) == 2


async def test_a_consent_that_was_withdrawn(certificates: Certificates, dovecot: Dovecot) -> None:
    """Before the first token is fetched, and while one is in use."""
    mailing, tokens = mail_of(certificates), dovecot.tokens
    login = grant(tokens, tokens.consent(USER))
    await check_imap(mailing, account(dovecot.imaps, login=login))
    tokens.withdraw()
    for each in (mailing, mail_of(certificates)):
        found = await check_imap(each, account(dovecot.imaps, login=login))
        assert outcome(found).startswith("AUTHENTICATE CONSENT_REQUIRED oauth2")


async def test_the_token_of_another_user(certificates: Certificates, dovecot: Dovecot) -> None:
    tokens = dovecot.tokens
    found = await check_imap(mail_of(certificates), account(dovecot.imaps, login=grant(tokens, tokens.consent(ODD))))
    assert outcome(found).startswith("AUTHENTICATE AUTHENTICATION_FAILED")
    assert len(tokens.calls) == 1, "a token that was made for this login is not better the second time"
