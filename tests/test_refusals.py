"""What the refusals of real mail servers mean: row by row, as the servers say them."""

import re
import time

import pytest

from mail.dialogue import enhanced_code
from mail.refusals import replies, verdicts
from mail.refusals.replies import At, of_imap, of_smtp
from mail.refusals.verdicts import Verdict
from mail.report import Reply

PASSWORD_REFUSED = [
    "535 5.7.8 Error: authentication failed: (reason unavailable)",  # Postfix
    "535 5.7.8 Error: authentication failed: UGFzc3dvcmQ6",  # Postfix
    "535-5.7.8 Username and Password not accepted. For more information, go to\n5.7.8 https://support.google.com/x",
    "535 5.7.3 Authentication unsuccessful [DB6P18901CA0015.EURP189.PROD.OUTLOOK.COM]",
    "535 5.7.139 Authentication unsuccessful, the user credentials were incorrect. [BN0PR04CA0001]",
    "535 Incorrect authentication data",  # Exim
    "535 Authentication Failed",  # Zoho
    "535 5.7.0 (#AUTH005) authentication failed",  # Yahoo
    "535 Authentication credentials invalid",  # GMX
    "535 authentication failed (#5.7.1)",  # qmail
]
SMTP_REPLIES: list[tuple[At, str, Verdict]] = [
    *((At.PASSWORD, text, verdicts.PASSWORD) for text in PASSWORD_REFUSED),
    # Google
    (At.PASSWORD, "534-5.7.9 Application-specific password required. Learn more at\n5.7.9 x", verdicts.APP_PASSWORD),
    (At.PASSWORD, "534-5.7.14 Please log in through your web browser and then try again.", verdicts.BROWSER),
    (At.PASSWORD, "535-5.7.1 Please log in with your web browser and then try again.", verdicts.BROWSER),
    (At.PASSWORD, "454 4.7.0 Too many login attempts, please try again later.", verdicts.LOGIN_LATER),
    (At.PASSWORD, "454 4.7.0 Cannot authenticate due to temporary system problem.", verdicts.LOGIN_LATER),
    (At.PASSWORD, "421 4.7.0 Temporary System Problem. Try again later", verdicts.LOGIN_LATER),
    (At.PASSWORD, "501 5.5.2 Cannot Base64-decode Client responses", verdicts.MECHANISM),
    (At.PASSWORD, "504 5.7.4 Unrecognized Authentication Type", verdicts.MECHANISM),
    (At.PASSWORD, "530 5.7.0 Must issue a STARTTLS command first.", verdicts.TLS_FIRST),
    (At.MAIL, "530 5.7.0 Authentication Required. For more information, go to", verdicts.LOGIN_WANTED),
    (At.MAIL, "530-5.7.0 Must issue a STARTTLS command first.", verdicts.TLS_FIRST),
    (At.MAIL, "550 5.4.5 Daily user sending limit exceeded.", verdicts.LIMIT_REACHED),
    (At.DATA, "550-5.4.5 Daily user sending quota exceeded.", verdicts.LIMIT_REACHED),
    (At.RCPT, "450-4.2.1 The user you are trying to contact is receiving mail too quickly.", verdicts.RECIPIENT_LATER),
    (At.RCPT, "452-4.2.2 The email account that you tried to reach is over quota.", verdicts.RECIPIENT_LATER),
    (At.RCPT, "552-5.2.2 The email account that you tried to reach is over quota.", verdicts.RECIPIENT),
    (At.RCPT, "550-5.1.1 The email account that you tried to reach does not exist.", verdicts.RECIPIENT),
    (At.RCPT, "550-5.2.1 The email account that you tried to reach is disabled.", verdicts.RECIPIENT),
    (At.DATA, "552-5.3.4 Your message exceeded Google's message size limits.", verdicts.TOO_LARGE),
    (At.DATA, "552-5.7.0 This message was blocked because its content presents a potential", verdicts.SPAM),
    (At.DATA, "550-5.7.1 [192.0.2.1] Our system has detected that this message is likely spam", verdicts.SPAM),
    (At.DATA, "421-4.7.0 Our system has detected an unusual rate of unsolicited mail", verdicts.TRY_LATER),
    # Microsoft
    (At.PASSWORD, "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant.",
     verdicts.PASSWORD_SWITCHED_OFF),
    (At.PASSWORD, "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox.",
     verdicts.PASSWORD_SWITCHED_OFF),
    (At.PASSWORD, "535 5.7.139 Authentication unsuccessful, basic authentication is disabled. [PN0PR01CA0024]",
     verdicts.PASSWORD_SWITCHED_OFF),
    (At.PASSWORD, "535 5.7.139 Authentication unsuccessful, user is locked by your organization's security defaults",
     verdicts.PASSWORD_SWITCHED_OFF),
    (At.PASSWORD, "535 5.7.139 Authentication unsuccessful, the request did not meet the criteria to be authenticated",
     verdicts.PASSWORD_SWITCHED_OFF),
    (At.TOKEN, "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant.",
     verdicts.SWITCHED_OFF),
    (At.TOKEN, "535 5.7.3 Authentication unsuccessful [DB6P18901CA0015]", verdicts.TOKEN),
    (At.PASSWORD, "432 4.3.2 Concurrent connections limit exceeded. Visit https://aka.ms/concurrent_sending",
     verdicts.LOGIN_LATER),
    (At.MAIL, "530 5.7.57 Client not authenticated to send mail. [X]", verdicts.LOGIN_WANTED),
    (At.MAIL, "550 5.7.60 SMTP; Client does not have permissions to send as this sender", verdicts.SENDER),
    (At.MAIL, "550 5.7.1 Client does not have permissions to send as this sender", verdicts.SENDER),
    (At.DATA, "554 5.2.252 SendAsDenied; a@example.org not allowed to send as b@example.org; STOREDRV.Submission",
     verdicts.SENDER),
    (At.DATA, "554 5.2.0 STOREDRV.Submission.Exception:SendAsDeniedException.MapiExceptionSendAsDenied; Failed",
     verdicts.SENDER),
    (At.DATA, "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException", verdicts.LIMIT_REACHED),
    (At.DATA, "432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded", verdicts.LIMIT_REACHED),
    (At.DATA, "550 5.1.90 Your message can't be sent because you've reached your daily limit", verdicts.LIMIT_REACHED),
    (At.DATA, "550 5.1.8 Access denied, bad outbound sender", verdicts.SENDER),
    (At.RCPT, "550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain", verdicts.RELAY),
    (At.RCPT, "550 5.4.1 Recipient address rejected: Access denied. [DB5EUR03FT010]", verdicts.RECIPIENT),
    (At.RCPT, "550 5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup", verdicts.RECIPIENT),
    (At.RCPT, "451 4.7.500 Access denied, please try again later.", verdicts.TRY_LATER),
    (
        At.DATA,
        "550 5.7.708 Service unavailable. Access denied, traffic not accepted from this IP.",
        verdicts.ADDRESS_BLOCKED,
    ),
    # Postfix
    (At.RCPT, "553 5.7.1 <a@example.org>: Sender address rejected: not owned by user b@example.org", verdicts.SENDER),
    (At.RCPT, "553 5.7.1 <a@example.org>: Sender address rejected: not logged in", verdicts.LOGIN_WANTED),
    (At.RCPT, "553 5.7.1", verdicts.SENDER),
    (At.MAIL, "553 5.7.1 Sender address rejected: not owned by auth user.", verdicts.SENDER),  # Yandex
    (At.RCPT, "450 4.1.8 <a@b>: Sender address rejected: Domain not found", verdicts.SENDER_LATER),
    (At.RCPT, "550 5.1.8 <a@b>: Sender address rejected: Domain not found", verdicts.SENDER),
    (At.RCPT, "550 5.1.1 <a@b>: Recipient address rejected: User unknown in virtual mailbox table", verdicts.RECIPIENT),
    (At.RCPT, "450 4.2.0 <a@b>: Recipient address rejected: Greylisted, see http://postgrey", verdicts.RECIPIENT_LATER),
    (At.RCPT, "450 4.7.1 <a@b>: Recipient address rejected: Greylisted for 5 minutes", verdicts.RECIPIENT_LATER),
    (At.RCPT, "554 5.7.1 <a@b>: Recipient address rejected: Access denied", verdicts.RECIPIENT),
    (At.RCPT, "450 4.7.1 <a@b>: Recipient address rejected: Rate limit exceeded", verdicts.LIMIT_REACHED),
    (At.RCPT, "554 5.7.1 <a@b>: Relay access denied", verdicts.RELAY),
    (At.RCPT, "454 4.7.1 <a@b>: Relay access denied", verdicts.RELAY),
    (At.RCPT, "451 4.3.0 <a@b>: Temporary lookup failure", verdicts.TRY_LATER),
    (At.RCPT, "452 4.3.1 Insufficient system storage", verdicts.TRY_LATER),
    (At.MAIL, "452 4.3.1 Insufficient system storage", verdicts.TRY_LATER),
    (At.RCPT, "530 5.7.0 Must issue a STARTTLS command first", verdicts.TLS_FIRST),
    (At.RCPT, "530 5.7.0", verdicts.LOGIN_WANTED),
    (
        At.RCPT,
        "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using x.spamhaus.org",
        verdicts.ADDRESS_BLOCKED,
    ),
    (At.RCPT, "450 4.7.25 Client host rejected: cannot find your hostname, [192.0.2.1]", verdicts.ADDRESS_BLOCKED),
    (At.RCPT, "504 5.5.2 <x>: Helo command rejected: need fully-qualified hostname", verdicts.ADDRESS_BLOCKED),
    (At.RCPT, "554 5.7.1", verdicts.POLICY),
    (At.MAIL, "552 5.3.4 Message size exceeds fixed limit", verdicts.TOO_LARGE),
    (At.MAIL, "555 5.5.4 Unsupported option: SMTPUTF8", verdicts.TURNED_AWAY),
    (At.PASSWORD, "454 4.7.0 Temporary authentication failure: Connection lost to authentication server",
     verdicts.LOGIN_LATER),
    (At.PASSWORD, "503 5.5.1 Error: authentication not enabled", verdicts.MECHANISM),
    (At.PASSWORD, "535 5.7.8 Error: authentication failed: Invalid authentication mechanism", verdicts.MECHANISM),
    (At.PASSWORD, "538 5.7.11 Encryption required for requested authentication mechanism", verdicts.TLS_FIRST),
    (
        At.HELLO,
        "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using bl.example",
        verdicts.ADDRESS_BLOCKED,
    ),
    (At.HELLO, "421 4.7.0 mail.example.org Error: too many connections from 192.0.2.1", verdicts.TRY_LATER),
    (At.HELLO, "554 No SMTP service here", verdicts.TURNED_AWAY),
    # Exim
    (At.PASSWORD, "503 AUTH command used when not advertised", verdicts.MECHANISM),
    (At.PASSWORD, "435 Unable to authenticate at present", verdicts.LOGIN_LATER),
    (At.RCPT, "550 relay not permitted", verdicts.RELAY),
    (At.RCPT, "550 Unrouteable address", verdicts.RECIPIENT),
    (At.RCPT, "550 Sender verify failed", verdicts.SENDER),
    (At.RCPT, "550 Administrative prohibition", verdicts.POLICY),
    (At.RCPT, "451 Temporary local problem - please try later", verdicts.TRY_LATER),
    (At.RCPT, "451 Greylisted, please try again later", verdicts.RECIPIENT_LATER),
    (At.RCPT, "550 No Such User Here", verdicts.RECIPIENT),
    (At.RCPT, "550 Email account a@b is sending too many emails - rate overlimit = 83.6 / 1h", verdicts.LIMIT_REACHED),
    # Others
    (At.PASSWORD, "535 5.7.0 (#AUTH005) Too many bad auth attempts.", verdicts.LOGIN_LATER),  # Yahoo
    (At.PASSWORD, "535 5.7.8 Error: authentication failed: This user does not have access rights to this service",
     verdicts.SWITCHED_OFF),  # Yandex
    (At.PASSWORD, "535 5.7.0 Application password is REQUIRED", verdicts.APP_PASSWORD),  # Mail.ru
    (At.PASSWORD, "535 Login Fail. Please enter your authorization code to login.", verdicts.APP_PASSWORD),  # QQ
    (At.PASSWORD, "550 User has no permission", verdicts.BARRED),  # NetEase
    (At.PASSWORD, "525 5.7.13 User Account Disabled", verdicts.BARRED),  # RFC 5248
    (At.PASSWORD, "432 4.7.12 A password transition is needed", verdicts.PASSWORD_EXPIRED),  # RFC 4954
    (At.PASSWORD, "534 5.7.9 Authentication mechanism is too weak", verdicts.TOO_WEAK),  # RFC 4954
    (At.PASSWORD, "550 5.7.1", verdicts.BARRED),
    (At.TOKEN, "504 5.5.4", verdicts.NO_TOKENS),
    (At.DATA, "553 Relaying disallowed as a@example.org", verdicts.SENDER),  # Zoho
    (At.DATA, "553 Sender is not allowed to relay emails", verdicts.SENDER),  # Zoho
    (At.DATA, "550 5.7.0 From address is not one of your addresses.", verdicts.SENDER),  # iCloud
    (At.RCPT, "550-Requested action not taken: mailbox unavailable\nSender address is not allowed.", verdicts.SENDER),
    (At.DATA, "550 The from address does not match a verified Sender Identity.", verdicts.SENDER),  # SendGrid
    (At.DATA, "554 Message rejected: Email address is not verified. The following identities failed the check",
     verdicts.SENDER),  # Amazon SES
    (At.DATA, "454 Throttling failure: Daily message quota exceeded.", verdicts.LIMIT_REACHED),  # Amazon SES
    (At.DATA, "550 From header sender domain not verified", verdicts.SENDER),  # SMTP2GO
    (At.DATA, "550 not local sender over smtp", verdicts.SENDER),  # Mail.ru
    (At.DATA, "554-Transaction failed\nReject due to policy restrictions.", verdicts.SPAM),  # IONOS
    (
        At.DATA,
        "450 4.7.1 <END-OF-MESSAGE>: End-of-data rejected: Number messages per hour exceeded",
        verdicts.LIMIT_REACHED,
    ),
    (At.DATA, "451 4.3.0 Error: queue file write error", verdicts.TRY_LATER),
    (At.DATA, "552 5.2.2 Mailbox full", verdicts.LIMIT_REACHED),
    (At.DATA, "554 5.7.1 Spam message rejected", verdicts.SPAM),
    (At.DATA, "550 5.7.1 Spam score exceeds the limit", verdicts.SPAM),
    (At.DATA, "554 5.7.1 The message holds a URL of a block list", verdicts.SPAM),
    (At.DATA, "550 5.7.606 Access denied, banned sending IP [192.0.2.1].", verdicts.ADDRESS_BLOCKED),
    (At.DATA, "554 5.5.1 Error: no valid recipients", verdicts.TURNED_AWAY),
    (At.DATA, "554 5.4.0 Error: too many hops", verdicts.TURNED_AWAY),
    (At.DATA, "554 5.6.0 x", verdicts.SPAM),
    (At.RCPT, "553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)", verdicts.RELAY),  # qmail
    (At.RCPT, "550 x", verdicts.RECIPIENT),
    (At.RCPT, "450 x", verdicts.RECIPIENT_LATER),
]  # fmt: skip
IMAP_REPLIES: list[tuple[At, str, Verdict]] = [
    (At.PASSWORD, "AUTHENTICATIONFAILED Authentication failed.", verdicts.PASSWORD),  # Dovecot
    (At.PASSWORD, "AUTHENTICATIONFAILED Invalid credentials (Failure)", verdicts.PASSWORD),  # Google
    (At.PASSWORD, "AUTHENTICATIONFAILED LOGIN Invalid credentials or IMAP is disabled", verdicts.PASSWORD),  # Yandex
    (At.PASSWORD, "NO LOGIN failed.", verdicts.PASSWORD),  # Exchange
    (At.PASSWORD, "ALERT Too many simultaneous connections. (Failure)", verdicts.LOGIN_LATER),  # Google
    (At.PASSWORD, "ALERT Application-specific password required: https://support.google.com/x", verdicts.APP_PASSWORD),
    (At.PASSWORD, "ALERT Please log in via your web browser: https://support.google.com/x", verdicts.BROWSER),
    (At.PASSWORD, "NO [WEBALERT https://accounts.google.com/x] Web login required.", verdicts.BROWSER),
    (At.PASSWORD, "ALERT Your account is not enabled for IMAP use.", verdicts.SWITCHED_OFF),  # Google
    (At.PASSWORD, "ALERT You are yet to enable IMAP for your account.", verdicts.SWITCHED_OFF),  # Zoho
    (At.PASSWORD, "UNAVAILABLE Maximum number of connections from user+IP exceeded", verdicts.LOGIN_LATER),  # Dovecot
    (At.PASSWORD, "UNAVAILABLE Temporary authentication failure.", verdicts.LOGIN_LATER),  # Dovecot
    (At.PASSWORD, "LIMIT LOGIN Rate limit hit.", verdicts.LOGIN_LATER),  # Yahoo
    (At.PASSWORD, "INUSE x", verdicts.LOGIN_LATER),
    (At.PASSWORD, "OVERQUOTA Account exceeded command or bandwidth limits.", verdicts.LOGIN_LATER),  # Google
    (At.PASSWORD, "THROTTLED x", verdicts.LOGIN_LATER),
    (At.PASSWORD, "SERVERBUG Internal error occurred.", verdicts.LOGIN_LATER),  # Dovecot
    (At.PASSWORD, "NO Server Unavailable. 15", verdicts.LOGIN_LATER),  # Exchange
    (At.PASSWORD, "PRIVACYREQUIRED Plaintext authentication disallowed on non-secure (SSL/TLS) connections.",
     verdicts.TLS_FIRST),  # Dovecot
    (At.PASSWORD, "EXPIRED Password has expired.", verdicts.PASSWORD_EXPIRED),
    (At.PASSWORD, "AUTHORIZATIONFAILED x", verdicts.BARRED),
    (At.PASSWORD, "CONTACTADMIN x", verdicts.BARRED),
    (At.PASSWORD, "NO Your account has been suspended.", verdicts.BARRED),
    (At.PASSWORD, "BAD Unknown command", verdicts.MECHANISM),
    (At.TOKEN, "BAD Unknown command", verdicts.NO_TOKENS),
    (At.TOKEN, "AUTHENTICATIONFAILED Invalid credentials (Failure)", verdicts.TOKEN),
    (At.TOKEN, "NO AUTHENTICATE failed.", verdicts.TOKEN),  # Exchange
    (At.SELECT, "BAD User is authenticated but not connected.", verdicts.SWITCHED_OFF),  # Exchange
    (At.SELECT, "NO SELECT Unsafe Login. Please contact kefu@188.com for help", verdicts.BARRED),  # NetEase
    (At.SELECT, "NONEXISTENT Unknown Mailbox: INBOX (Failure)", verdicts.NO_INBOX),  # Google
    (At.SELECT, "SERVERBUG Internal error occurred.", verdicts.TRY_LATER),  # Dovecot
    (At.SELECT, "THROTTLED x", verdicts.TRY_LATER),
    (At.SELECT, "NO x", verdicts.NO_INBOX),
]  # fmt: skip


@pytest.mark.parametrize(("at", "said", "expected"), SMTP_REPLIES)
def test_what_an_smtp_server_means(at: At, said: str, expected: Verdict) -> None:
    code, text = int(said[:3]), said[4:]
    assert of_smtp(at, str(Reply(code, enhanced_code(text))), text).message == expected.message


@pytest.mark.parametrize(("at", "said", "expected"), IMAP_REPLIES)
def test_what_an_imap_server_means(at: At, said: str, expected: Verdict) -> None:
    code, _, text = said.partition(" ")
    assert of_imap(at, code, text).message == expected.message


@pytest.mark.parametrize(
    ("rows", "replies"), [(replies.SMTP, SMTP_REPLIES), (replies.IMAP, IMAP_REPLIES)], ids=["smtp", "imap"]
)
def test_every_verdict_is_one_that_a_server_gave(
    rows: list[replies._Row], replies: list[tuple[At, str, Verdict]]
) -> None:
    given = {verdict.message for _, _, verdict in replies} | {verdicts.TURNED_AWAY.message}
    assert {row[-1].message for row in rows} == given


def test_a_verdict_holds_the_code_and_says_what_to_do() -> None:
    for verdict in {row[-1] for row in (*replies.SMTP, *replies.IMAP)}:
        failure = verdict.failure("SMTP", "550 5.7.1")
        assert "(550 5.7.1)" in str(failure)
        assert failure.field
        assert failure.hint
        assert not re.search("[{}]", f"{failure} {failure.hint}")


@pytest.mark.parametrize("text", ["sender " * 20_000, "user" * 20_000, "from " * 20_000, "x" * 100_000])
def test_a_long_reply_takes_no_time(text: str) -> None:
    """It is read on the event loop. A bound of a tenth of a second is a hundred times what it takes."""
    began = time.perf_counter()
    for at in At:
        of_smtp(at, "550 5.7.1", text)
        of_imap(at, "NO", text)
    assert time.perf_counter() - began < 0.1 * len(At)
