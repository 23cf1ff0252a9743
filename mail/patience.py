"""The timeout of each stage of a session with a mail server, and the failure when one is exceeded."""

from mail.report import StageName
from models.account import Account
from models.config import IMPLICIT_TLS_PORTS, STARTTLS_PORTS
from models.errors import ErrorCode, MailFailure

STAGE_SECONDS = 20.0
SLOW_STAGES = {StageName.GREETING, StageName.AUTHENTICATE, StageName.SELECT_INBOX, StageName.SENDER}
"""Stages in which servers delay on purpose or look something up: their timeout is doubled.

RFC 5321, 4.5.3.2, requires five minutes, longer than any user waits. postscreen greets after 6 s and more, and Dovecot
refuses a password after up to 17 s.
"""
CHECK_SECONDS = 60.0
MESSAGE_SECONDS = 60.0
"""Timeout for the reply to a message, which spam filters delay. RFC 5321 requires ten minutes."""

_Explanation = tuple[str, str, str]
"""The field at fault, what happened, and what to do."""
_SLOW: _Explanation = (
    "server",
    "The server is slow: it did not answer",
    "Some servers make strangers wait, others are overloaded. Try again later; if it lasts, ask its operator.",
)
_NO_GREETING: _Explanation = ("server", "The server did not greet on port {port}", _SLOW[2])
_WAITS_FOR_TLS: _Explanation = (
    "port",
    _NO_GREETING[1],
    "If TLS is spoken there from the first byte, the server waits for us: set secure to true. Otherwise it is slow.",
)
_BY_STAGE: dict[StageName, _Explanation] = {
    StageName.DNS: (
        "server",
        "The name server did not answer",
        "Try again. Check the spelling of the server's name.",
    ),
    StageName.CONNECT: (
        "port",
        "Nothing answers on port {port}",
        "Check server and port; a firewall may drop what is sent there. Many networks block port 25.",
    ),
    StageName.TLS: (
        "port",
        "The server did not agree on TLS on port {port}",
        "It is slow, or another kind of server listens there: check the port, or try again later.",
    ),
}


def seconds_for(stage: StageName) -> float:
    return STAGE_SECONDS * (2 if stage in SLOW_STAGES else 1)


def timed_out(stage: StageName, account: Account, *, is_silent: bool, is_over: bool) -> MailFailure:
    """The failure of a stage that timed out. `is_silent`: nothing was received. `is_over`: so did the whole check."""
    field, what, hint = _BY_STAGE.get(stage, _SLOW)
    if stage is StageName.GREETING and is_silent:
        is_usual = account.port in IMPLICIT_TLS_PORTS | STARTTLS_PORTS
        field, what, hint = _NO_GREETING if is_usual else _WAITS_FOR_TLS
    limit = f"before the check ended, after {CHECK_SECONDS:g} s" if is_over else f"within {seconds_for(stage):g} s"
    return MailFailure(ErrorCode.TIMEOUT, f"{what.format(port=account.port)} {limit}.", field, hint=hint)
