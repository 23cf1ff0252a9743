"""How long a mail server is given, stage by stage, and what is told where it takes longer. Knows no protocol."""

from mail.report import StageName
from models.account import Account
from models.config import IMPLICIT_TLS_PORTS, STARTTLS_PORTS
from models.errors import ErrorCode, MailFailure

STAGE_SECONDS = 20.0
SLOW_STAGES = {StageName.GREETING, StageName.AUTHENTICATE, StageName.SELECT_INBOX, StageName.SENDER}
"""Stages in which servers take their time on purpose or look something up: they have twice as long.

RFC 5321, 4.5.3.2, asks for five minutes, which nobody waits for. postscreen greets after 6 s and more, and Dovecot
refuses a password after up to 17 s.
"""
CHECK_SECONDS = 60.0
MESSAGE_SECONDS = 60.0
"""How long a server may think about a message: spam filters do. RFC 5321 asks for ten minutes."""

_Explanation = tuple[str, str, str]
"""The field to look at, what happened, and what to do."""
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
_OF_STAGE: dict[StageName, _Explanation] = {
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
    """What broke a stage that took too long. `is_silent`: nothing has come yet. `is_over`: no time is left at all."""
    field, what, hint = _OF_STAGE.get(stage, _SLOW)
    if stage is StageName.GREETING and is_silent:
        is_usual = account.port in IMPLICIT_TLS_PORTS | STARTTLS_PORTS
        field, what, hint = _NO_GREETING if is_usual else _WAITS_FOR_TLS
    limit = f"before the check ended, after {CHECK_SECONDS:g} s" if is_over else f"within {seconds_for(stage):g} s"
    return MailFailure(ErrorCode.TIMEOUT, f"{what.format(port=account.port)} {limit}.", field, hint=hint)
