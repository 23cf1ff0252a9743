"""The possible meanings of a mail server's refusal: the error code, the field to change, the message and the fix.

`mail/refusals/replies.py` maps replies to them. A message contains the code of the reply, and no text of the server.
"""

from dataclasses import dataclass

from models.errors import ErrorCode, FieldPath, MailFailure

_LOGIN = ErrorCode.AUTHENTICATION_FAILED
_SERVER = ErrorCode.PROTOCOL_ERROR


@dataclass(frozen=True, slots=True)
class Verdict:
    """`message` has placeholders for the `protocol` and the `code` of the reply; `hint`, for the `protocol`."""

    kind: ErrorCode
    field: FieldPath
    message: str
    hint: str

    def failure(self, protocol: str, code: str) -> MailFailure:
        message = self.message.format(protocol=protocol, code=code)
        made = Unjudged if self is MECHANISM else NotAllowed if self in _BY_RIGHT else MailFailure
        return made(self.kind, message, *self.field, hint=self.hint.format(protocol=protocol))


class Unjudged(MailFailure):
    """The server did not check the username and password: another mechanism may be tried."""


class NotAllowed(MailFailure):
    """The account, or a sender without a login, lacks the right to send this mail."""


# -------------------------------------------------------------------------------------------------------------- logins

PASSWORD = Verdict(
    _LOGIN,
    ("password",),
    "The {protocol} server refused the username or the password ({code}).",
    "Check both. The username is often the whole address. With two-factor login, an app password is needed.",
)
APP_PASSWORD = Verdict(
    _LOGIN,
    ("password",),
    "The {protocol} server wants an app password ({code}).",
    "Make an app password in the settings of the account and use it in place of the account's own.",
)
PASSWORD_EXPIRED = Verdict(
    _LOGIN,
    ("password",),
    "The password has expired or must be changed ({code}).",
    "Log in at the provider's website once, change the password there, and set the new one here.",
)
PASSWORD_SWITCHED_OFF = Verdict(
    _LOGIN,
    ("oauth2",),
    "Login by password is switched off for {protocol} ({code}).",
    "The password may be right. Have the administrator allow password logins for this mailbox (at Microsoft 365: "
    '"Authenticated SMTP", which security defaults forbid), or set oauth2 in place of the password.',
)
SWITCHED_OFF = Verdict(
    _LOGIN,
    ("username",),
    "{protocol} is switched off for this account ({code}).",
    "Switch {protocol} on in the settings of the account, or have the administrator do it.",
)
BROWSER = Verdict(
    _LOGIN,
    ("username",),
    "The provider wants a login in the browser first ({code}).",
    "Log in at the provider's website, confirm that it was you, and try again. An app password or OAuth2 avoids it.",
)
BARRED = Verdict(
    _LOGIN,
    ("username",),
    "The {protocol} server does not let this account in ({code}).",
    "The account may be disabled, locked or not allowed to use {protocol}. Ask the provider or its administrator.",
)
TLS_FIRST = Verdict(
    _LOGIN, ("secure",), "The {protocol} server accepts logins only over TLS ({code}).", "Set secure to true."
)
MECHANISM = Verdict(
    _LOGIN,
    ("port",),
    "The {protocol} server refused every way to log in that was tried ({code}).",
    "It has not judged the password. Try another port (587 or 465 for SMTP, 993 for IMAP), or ask its operator.",
)
TOO_WEAK = Verdict(
    _LOGIN,
    ("password",),
    "The {protocol} server wants a stronger way to log in for this account ({code}).",
    "Use an app password, or set oauth2 in place of the password.",
)
TOKEN = Verdict(
    _LOGIN,
    ("oauth2", "refreshToken"),
    "The {protocol} server refused the access token ({code}).",
    "Check that username is the address whose owner consented, that the consent covers IMAP and SMTP, and that both "
    "are switched on for the account.",
)
NO_TOKENS = Verdict(
    _LOGIN,
    ("oauth2",),
    "The {protocol} server accepts no access tokens ({code}).",
    "Set a password in place of oauth2.",
)
LOGIN_LATER = Verdict(
    _SERVER,
    ("server",),
    "The {protocol} server accepts no login at the moment ({code}).",
    "It has not judged the password. Try again in some minutes: servers answer like this when they are busy, or "
    "after too many failed logins or connections.",
)
LOGIN_WANTED = Verdict(
    _LOGIN,
    ("username",),
    "The {protocol} server wants a login before it sends mail ({code}).",
    "Check that server and port are those for outgoing mail (587 or 465), and that the account may send.",
)

# ------------------------------------------------------------------------------------------------------------- sending

SENDER = Verdict(
    ErrorCode.SENDER_REJECTED,
    ("email",),
    "The {protocol} server does not accept mail from this address ({code}).",
    "The account may not send as this address: have it added as an alias, or use the account that owns it.",
)
SENDER_LATER = Verdict(
    ErrorCode.SENDER_REJECTED,
    ("email",),
    "The {protocol} server could not verify the sender's address ({code}).",
    "Check the domain of the address, and try again later.",
)
RECIPIENT = Verdict(
    ErrorCode.RECIPIENT_REJECTED,
    ("to",),
    "The {protocol} server does not accept mail for this recipient ({code}).",
    "Check the address.",
)
RECIPIENT_LATER = Verdict(
    ErrorCode.RECIPIENT_REJECTED,
    ("to",),
    "The {protocol} server accepts no mail for this recipient at the moment ({code}).",
    "Try again later. Some servers make a new sender wait some minutes (greylisting).",
)
RELAY = Verdict(
    _SERVER,
    ("server",),
    "The {protocol} server does not send mail to other domains for this account ({code}).",
    "Use the provider's server for outgoing mail, usually on 587 or 465, or have the account allowed to send.",
)
POLICY = Verdict(
    _SERVER,
    ("server",),
    "The {protocol} server refuses this mail by a rule of its own ({code}).",
    "The recipient's address is not the reason. The account may lack the right to send: ask the server's operator.",
)
ADDRESS_BLOCKED = Verdict(
    _SERVER,
    ("server",),
    "The {protocol} server blocks the address that this server connects from ({code}).",
    "It may be on a block list or lack a host name. Ask the operator of the mail server, or send through another one.",
)
LIMIT_REACHED = Verdict(
    _SERVER,
    ("server",),
    "The account has reached a limit of its mail server ({code}).",
    "Try again later: providers limit how much an account sends in an hour or a day.",
)
TRY_LATER = Verdict(
    _SERVER,
    ("server",),
    "The {protocol} server is busy or out of order at the moment ({code}).",
    "Try again later. If it lasts, ask the server's operator.",
)
TOO_LARGE = Verdict(
    _SERVER,
    ("server",),
    "The {protocol} server says that the message is too large ({code}).",
    "Ask the operator of the mail server to raise its limit.",
)
SPAM = Verdict(
    _SERVER,
    ("server",),
    "The {protocol} server does not accept the message ({code}).",
    "It may look like spam to the server: ask its operator.",
)

# ------------------------------------------------------------------------------------------------------ everything else

TURNED_AWAY = Verdict(
    _SERVER,
    ("server",),
    "The {protocol} server refused to go on ({code}).",
    "Ask the operator of the mail server.",
)
NO_INBOX = Verdict(
    ErrorCode.MAILBOX_NOT_FOUND,
    ("username",),
    "The account has no mailbox INBOX that can be opened ({code}).",
    "Check that the username is of an account that receives mail, and that IMAP is switched on for it.",
)

_BY_RIGHT = (LOGIN_WANTED, SENDER, RELAY, POLICY)
