"""Interprets the replies of mail servers by reply code, enhanced code (RFC 3463, 5248) and text.

The text is matched here and never repeated to the client. The first row that matches wins: certain meanings come before
usual ones. `tests/test_refusals.py` has the replies of real servers.
"""

import re
from collections.abc import Iterable, Sequence
from enum import Flag, auto
from functools import lru_cache

from mail.refusals import verdicts
from mail.refusals.verdicts import Verdict


class At(Flag):
    """What the server refused."""

    HELLO = auto()
    """The session itself: the greeting, EHLO, RSET."""
    PASSWORD = auto()
    TOKEN = auto()
    MAIL = auto()
    RCPT = auto()
    DATA = auto()
    """DATA, and the message after it."""
    SELECT = auto()


_LOGIN = At.PASSWORD | At.TOKEN
_SENDING = At.MAIL | At.RCPT | At.DATA
_ANY = ~At(0)

MAX_WORDS = 1000
"""How many characters of a reply are matched."""
# Patterns of the text, in any case.
_APP_PASSWORD = r"app(lication)?[- ](specific[- ])?password|authori[sz]ation code"  # noqa: S105 - words
_BROWSER = r"web ?browser|web login"
_CREDENTIALS = r"credentials were incorrect|invalid credentials"
_BASIC = r"basic auth\w* is disabled|smtpclientauthentication is disabled|security defaults|did not meet the criteria"
_OFF = (
    r"\b(smtp|imap)\w*( access| service)?( is| has been)? (disabled|not enabled)|not enabled for (imap|smtp)"
    r"|yet to enable imap|rights to this service|authenticated but not connected"
)
_BUSY = (
    r"too (many|often|fast|frequent)|rate limit|limit (hit|reached|exceeded)|throttl|try again later|temporar"
    r"|maximum number|(server|service) unavailable|(system|internal) error|timed? ?out"
)  # Postfix ends a plain refusal with "(reason unavailable)"
_EXPIRED = r"password.{0,30}(expired|must be changed)"
_ACCOUNT = r"\b(account|user|mailbox)\b.{0,40}\b(disabled|suspended|locked|blocked|deactivated)|no permission"
_MECHANISM = r"(invalid|unrecogni[sz]ed|unsupported|unknown) auth\w* (mechanism|type)"
_CLEAR = r"starttls|plaintext|encrypt|ssl/tls|over tls"
_NO_LOGIN = r"not logged in|authentication (is )?required|must (be )?authenticate|client was not authenticated"
_SENDER = (
    r"sender.{0,60}(reject|denied|mismatch|verify|not (owned|allowed|permitted|authori[sz]ed|verified|local))"
    r"|not owned by|send ?as|relaying disallowed as|not local sender|identities failed"
    r"|\bfrom\b:?( header)?( sender)?( address| domain)?.{0,40}"
    r"(not (verified|allowed|permitted|match|one of)|must match)"
)
_MAILBOX = (
    r"recipient( address)? rejected|no such (user|recipient|person|mailbox)|gr[ea]y-?list|unrout(e)?able|over quota"
    r"|(user|recipient|mailbox|address)\b.{0,40}(unknown|not found|unavailable|n[o']t exist|disabled|full|quota)"
    r"|(unknown|invalid) (user|recipient|mailbox|address)"
)
_LIMIT = r"quota|too (many(?! hops)|much|fast)|\brate\b|throttl|exceed|\blimit"
_POLICY = r"prohibit|policy|access denied|not (permitted|allowed)"
_BROKEN = r"local problem|lookup failure|temporary (system |server )?(problem|failure|error)"
_RELAY = r"relay|rcpthosts"
_SPAM = r"\bspam\b|unsolicited|virus|malware"
_BLOCKED_CLIENT = r"client host|banned sending ip|not accepted from this ip"
_BLOCKED = (
    r"client host|blocked using|bl[ao]ck ?-?list|spamhaus|dnsbl|\brbl\b|helo command|reverse (dns|hostname)|\bptr\b"
)

_Row = tuple[At, str, str, Verdict]
"""What was refused; patterns of the reply (`550 5.7.1`, `550`; in IMAP, the response code) and text; the verdict."""

SMTP: Sequence[_Row] = (
    (At.PASSWORD | At.TOKEN, "421.*", "", verdicts.LOGIN_LATER),
    (_ANY, "421.*", "", verdicts.TRY_LATER),
    # Logins (RFC 4954, 6).
    (_LOGIN, r"432 4\.7\.12", "", verdicts.PASSWORD_EXPIRED),
    (_LOGIN, "4.*", "", verdicts.LOGIN_LATER),
    (_LOGIN, "53[08].*", "", verdicts.TLS_FIRST),
    (_LOGIN, "5.*", _CLEAR, verdicts.TLS_FIRST),
    (At.PASSWORD, r"50[0234].*|5.. 5\.5\..*", "", verdicts.MECHANISM),
    (At.TOKEN, r"50[0234].*|5.. 5\.5\..*", "", verdicts.NO_TOKENS),
    (At.PASSWORD, "5.*", _MECHANISM, verdicts.MECHANISM),
    (At.PASSWORD, ".*", _APP_PASSWORD, verdicts.APP_PASSWORD),
    (_LOGIN, ".*", _BROWSER, verdicts.BROWSER),
    (At.PASSWORD, ".*", _CREDENTIALS, verdicts.PASSWORD),
    (At.TOKEN, ".*", _CREDENTIALS, verdicts.TOKEN),
    (At.PASSWORD, ".*", _BASIC, verdicts.PASSWORD_SWITCHED_OFF),
    (At.PASSWORD, r"535 5\.7\.139", "", verdicts.PASSWORD_SWITCHED_OFF),
    (At.TOKEN, r"535 5\.7\.139", "", verdicts.SWITCHED_OFF),
    (_LOGIN, ".*", _OFF, verdicts.SWITCHED_OFF),
    (_LOGIN, ".*", _BUSY, verdicts.LOGIN_LATER),
    (At.PASSWORD, ".*", _EXPIRED, verdicts.PASSWORD_EXPIRED),
    (_LOGIN, r"525.*|5.. 5\.7\.13", "", verdicts.BARRED),
    (_LOGIN, ".*", _ACCOUNT, verdicts.BARRED),
    (At.PASSWORD, "534.*", "", verdicts.TOO_WEAK),
    (At.PASSWORD, "535.*", "", verdicts.PASSWORD),
    (At.PASSWORD, ".*", "", verdicts.BARRED),
    (At.TOKEN, ".*", "", verdicts.TOKEN),
    # The right to send, and the sender.
    (_SENDING, "5.*", r"starttls|must use tls", verdicts.TLS_FIRST),
    (_SENDING, r"530.*|5.. 5\.7\.57", "", verdicts.LOGIN_WANTED),
    (_SENDING, "5.*", _NO_LOGIN, verdicts.LOGIN_WANTED),
    (_SENDING, r"5.. 5\.(1\.9\d|2\.253|4\.5)", "", verdicts.LIMIT_REACHED),
    (_SENDING, r"4.. 4\.1\.[78]", "", verdicts.SENDER_LATER),
    (_SENDING, "4.*", _SENDER, verdicts.SENDER_LATER),
    (_SENDING, r"5.. 5\.(1\.[78]|2\.252|7\.60)", "", verdicts.SENDER),
    (_SENDING, "5.*", _SENDER, verdicts.SENDER),
    (At.MAIL | At.RCPT, r"553 5\.7\.1", "", verdicts.SENDER),  # Postfix uses it for the sender only
    # The recipient's mailbox.
    (At.RCPT, r"4.. 4\.[12]\..*", "", verdicts.RECIPIENT_LATER),
    (At.RCPT, r"5.. 5\.(1\.([0-46]|10)|2\.\d+|4\.1|7\.1(24|29|33|34))", "", verdicts.RECIPIENT),
    (At.DATA, r"5.. 5\.1\.([1-46]|10)", "", verdicts.RECIPIENT),
    (At.RCPT, ".*", r"(mailbox|user).{0,40}quota|over quota", verdicts.RECIPIENT),
    # Limits, and faults of the server or of this client.
    (_SENDING, r"5.. 5\.3\.4", "", verdicts.TOO_LARGE),
    (_SENDING, "552.*", r"\bsize\b|too (large|big)", verdicts.TOO_LARGE),
    (At.DATA, "5.*", _SPAM, verdicts.SPAM),
    (_SENDING, ".*", _LIMIT, verdicts.LIMIT_REACHED),
    (At.DATA, r"5.. 5\.2\.2", "", verdicts.LIMIT_REACHED),
    (At.RCPT, ".*", _RELAY, verdicts.RELAY),
    (At.HELLO | At.MAIL | At.RCPT, ".*", _BLOCKED, verdicts.ADDRESS_BLOCKED),
    (_SENDING, "5.*", _BLOCKED_CLIENT, verdicts.ADDRESS_BLOCKED),
    (At.RCPT, "4.*", _MAILBOX, verdicts.RECIPIENT_LATER),
    (At.RCPT, "5.*", _MAILBOX, verdicts.RECIPIENT),
    (At.RCPT, "4.*", _BROKEN, verdicts.TRY_LATER),
    (At.RCPT, "4..", "", verdicts.RECIPIENT_LATER),
    (_ANY, "4.*", "", verdicts.TRY_LATER),
    (At.RCPT, "5.*", _POLICY, verdicts.POLICY),
    (At.RCPT, "55[0-3]", "", verdicts.RECIPIENT),  # RFC 5321, 4.2.2: 55x concerns a mailbox, except 554
    (At.RCPT, ".*", "", verdicts.POLICY),
    (At.MAIL | At.DATA, r"50.*|5.. 5\.[345]\..*", "", verdicts.TURNED_AWAY),
    (At.MAIL, ".*", "", verdicts.SENDER),
    (At.DATA, ".*", "", verdicts.SPAM),
    (_ANY, ".*", "", verdicts.TURNED_AWAY),
)
PUT_OFF = "UNAVAILABLE|LIMIT|INUSE|SERVERBUG|OVERQUOTA|THROTTLED"
"""Response codes of temporary failures, which do not concern the account (RFC 5530, 9208; THROTTLED is Google's)."""
IMAP: Sequence[_Row] = (
    (_LOGIN, "PRIVACYREQUIRED", "", verdicts.TLS_FIRST),
    (_LOGIN, ".*", _CLEAR, verdicts.TLS_FIRST),
    (At.PASSWORD, "BAD", "", verdicts.MECHANISM),
    (At.TOKEN, "BAD", "", verdicts.NO_TOKENS),
    (_LOGIN, PUT_OFF, "", verdicts.LOGIN_LATER),
    (At.PASSWORD, ".*", _APP_PASSWORD, verdicts.APP_PASSWORD),
    (_LOGIN, ".*", _BROWSER, verdicts.BROWSER),
    (At.PASSWORD, ".*", _CREDENTIALS, verdicts.PASSWORD),
    (_LOGIN | At.SELECT, ".*", _OFF, verdicts.SWITCHED_OFF),
    (_LOGIN, ".*", _BUSY, verdicts.LOGIN_LATER),
    (At.PASSWORD, "EXPIRED", "", verdicts.PASSWORD_EXPIRED),
    (At.PASSWORD, ".*", _EXPIRED, verdicts.PASSWORD_EXPIRED),
    (At.PASSWORD, "AUTHORIZATIONFAILED|CONTACTADMIN", "", verdicts.BARRED),
    (_LOGIN, ".*", _ACCOUNT, verdicts.BARRED),
    (At.PASSWORD, ".*", "", verdicts.PASSWORD),
    (At.TOKEN, ".*", "", verdicts.TOKEN),
    (At.SELECT, PUT_OFF, "", verdicts.TRY_LATER),
    (At.SELECT, ".*", _BUSY, verdicts.TRY_LATER),
    (At.SELECT, ".*", "unsafe login", verdicts.BARRED),
    (At.SELECT, ".*", "", verdicts.NO_INBOX),
    (_ANY, ".*", "", verdicts.TURNED_AWAY),
)


def of_smtp(at: At, code: str, text: str) -> Verdict:
    """Interprets the refusal of an SMTP server with this code (`550 5.7.1`) and text."""
    return _first_match(SMTP, at, code, text)


def of_imap(at: At, code: str, text: str) -> Verdict:
    """Interprets the refusal of an IMAP server. The code is a response code, NO or BAD."""
    return _first_match(IMAP, at, code, text)


def _first_match(rows: Iterable[_Row], at: At, code: str, text: str) -> Verdict:
    flat = " ".join(text[:MAX_WORDS].split())
    return next(verdict for row in rows if (verdict := _match(row, at, code, flat)))


def _match(row: _Row, at: At, code: str, text: str) -> Verdict | None:
    refused, reply, words, verdict = row
    fits = at in refused and _pattern(reply).fullmatch(code) and _pattern(words).search(text)
    return verdict if fits else None


@lru_cache(None)
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.IGNORECASE)
