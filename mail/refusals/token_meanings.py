"""The possible meanings of a token endpoint's refusal: the field at fault, and the fix.

CONSENT_REQUIRED is only for what a new consent repairs.
"""

from dataclasses import dataclass

from models.errors import ErrorCode, MailFailure


@dataclass(frozen=True, slots=True)
class Meaning:
    """The code, the field of `oauth2` ("" for none), the message without its full stop, and the fix."""

    kind: ErrorCode
    field: str
    message: str
    hint: str

    def failure(self, detail: str = "") -> MailFailure:
        """Builds the failure. `detail` is what was recognized in the response, such as `AADSTS50076`."""
        where = ("oauth2", self.field) if self.field else ("oauth2",)
        return MailFailure(self.kind, f"{self.message}{detail and f' ({detail})'}.", *where, hint=self.hint)


_AGAIN = "Let the mailbox's owner consent again, and set the new refresh token."
_REFUSED = ErrorCode.AUTHENTICATION_FAILED

CONSENT_ENDED = Meaning(
    ErrorCode.CONSENT_REQUIRED,
    "refreshToken",
    "The consent has ended or was withdrawn: the refresh token is no longer accepted",
    f"{_AGAIN} A new password ends a consent, and so does a long time without use. At Google, a consent ends after "
    "seven days while the application is in testing.",
)
SECOND_FACTOR = Meaning(
    ErrorCode.CONSENT_REQUIRED,
    "refreshToken",
    "The organization asks for multi-factor authentication, which this consent was given without",
    f"{_AGAIN} The owner must pass the second factor while doing so.",
)
NOT_CONSENTED = Meaning(
    ErrorCode.CONSENT_REQUIRED,
    "refreshToken",
    "Nobody has consented to this application for this mailbox",
    f"{_AGAIN} The organization may want an administrator to consent.",
)
ADMINISTRATOR = Meaning(
    ErrorCode.CONSENT_REQUIRED,
    "refreshToken",
    "The organization wants an administrator to consent to this application",
    "Let an administrator grant consent for the application, let the mailbox's owner consent again, and set the new "
    "refresh token.",
)
SESSION_ENDED = Meaning(
    ErrorCode.CONSENT_REQUIRED,
    "refreshToken",
    "The organization ends consents after a fixed time, which has passed",
    f"{_AGAIN} It will end again unless an administrator exempts the application: from session control at Google, "
    "from sign-in frequency at Microsoft.",
)
PASSWORD_OUTDATED = Meaning(
    ErrorCode.CONSENT_REQUIRED,
    "refreshToken",
    "The password of the mailbox's account has expired, and the consent with it",
    f"Let the owner set a new password. {_AGAIN}",
)
SINGLE_PAGE = Meaning(
    ErrorCode.CONSENT_REQUIRED,
    "refreshToken",
    "The refresh token was issued to a single-page application, and has expired: those live for 24 hours",
    "Register the redirect URI of the application as a web application, not as a single-page application. " + _AGAIN,
)
TOKEN_UNREADABLE = Meaning(
    _REFUSED,
    "refreshToken",
    "The token endpoint cannot read the refresh token",
    "Set the whole refresh token, without quotation marks and blanks. It is not the access token, and not the "
    "authorization code.",
)

CLIENT_REFUSED = Meaning(
    _REFUSED,
    "clientId",
    "The token endpoint refuses the application",
    "Compare clientId with the id of the registered application.",
)
CREDENTIALS_REFUSED = Meaning(
    _REFUSED,
    "clientSecret",
    "The token endpoint refuses the application",
    "Compare clientId and clientSecret with those of the registered application. A client secret may have expired: "
    "make a new one.",
)
SECRET_WRONG = Meaning(
    _REFUSED,
    "clientSecret",
    "The client secret is wrong",
    "Set the value of the client secret as the provider showed it once. At Microsoft, it is not the secret's id. If "
    "the value is lost, make a new secret.",
)
SECRET_EXPIRED = Meaning(
    _REFUSED,
    "clientSecret",
    "The client secret has expired",
    "Make a new client secret for the application, and set it. The consent stays good.",
)
SECRET_MISSING = Meaning(
    _REFUSED,
    "clientSecret",
    "The application has a client secret, and none was given",
    "Set clientSecret. Or, at Microsoft, register the application as a public client.",
)
SECRET_UNWANTED = Meaning(
    _REFUSED,
    "clientSecret",
    "The application is a public client, which has no client secret, and one was given",
    "Set clientSecret to null. Or register the application's redirect URI as a web application.",
)
CLIENT_UNKNOWN = Meaning(
    _REFUSED,
    "clientId",
    "The provider does not know the application",
    "Compare clientId with the id of the registered application. At Microsoft, tokenUrl must name the tenant in "
    "which it is registered.",
)
CLIENT_DELETED = Meaning(
    _REFUSED,
    "clientId",
    "The application was deleted at the provider",
    "Register an application, let the mailbox's owner consent to it, and set clientId, clientSecret and refreshToken.",
)
CLIENT_DISABLED = Meaning(
    _REFUSED,
    "clientId",
    "The application is disabled at the provider",
    "Enable the application at the provider, or ask an administrator to.",
)
ANOTHER_CLIENT = Meaning(
    _REFUSED,
    "clientId",
    "The application may not use this refresh token",
    "Set the clientId and the clientSecret of the application that the owner consented to, or the refresh token of "
    "a consent to this one.",
)
NOT_ASSIGNED = Meaning(
    _REFUSED,
    "clientId",
    "The account is not assigned to the application",
    "Let an administrator assign the account to the application, under Enterprise applications, Users and groups.",
)
INTERNAL_CLIENT = Meaning(
    _REFUSED,
    "clientId",
    "The application is for accounts of its own organization only",
    "Consent as an account of that organization, or make the application external at the provider.",
)

TENANT_UNKNOWN = Meaning(
    _REFUSED,
    "tokenUrl",
    "The tenant in tokenUrl does not exist",
    "Set tokenUrl to https://login.microsoftonline.com/TENANT/oauth2/v2.0/token, with the directory (tenant) id of "
    "the organization.",
)
TENANT_WANTED = Meaning(
    _REFUSED,
    "tokenUrl",
    "The application is for one tenant, and tokenUrl names none",
    "Set tokenUrl to https://login.microsoftonline.com/TENANT/oauth2/v2.0/token, with the directory (tenant) id of "
    "the organization. Or make the application multitenant.",
)
ANOTHER_TENANT = Meaning(
    _REFUSED,
    "tokenUrl",
    "The account is not in the tenant of tokenUrl",
    "Set tokenUrl to https://login.microsoftonline.com/TENANT/oauth2/v2.0/token, with the directory (tenant) id of "
    "the account's organization.",
)
PERSONAL_ONLY = Meaning(
    _REFUSED,
    "tokenUrl",
    "The application is for personal Microsoft accounts only",
    "Set tokenUrl to https://login.microsoftonline.com/consumers/oauth2/v2.0/token.",
)
WORK_ONLY = Meaning(
    _REFUSED,
    "tokenUrl",
    "The application is for work and school accounts only",
    "Set tokenUrl to https://login.microsoftonline.com/TENANT/oauth2/v2.0/token, with the directory (tenant) id of "
    "the organization.",
)

SCOPE_REFUSED = Meaning(
    _REFUSED,
    "scope",
    "The token endpoint refuses the scope",
    "Ask for what was consented to, or leave the scope out. At Microsoft, all of it must be of one service: "
    "https://outlook.office.com/… beside offline_access.",
)
SCOPE_NOT_GRANTED = Meaning(
    _REFUSED,
    "scope",
    "The consent does not cover the scope",
    "Ask for what was consented to, or let the owner consent again, with this scope.",
)
SCOPE_NOT_REGISTERED = Meaning(
    _REFUSED,
    "scope",
    "The application is not registered for the scope",
    "Add the permissions IMAP.AccessAsUser.All and SMTP.Send to the application, under API permissions, and let the "
    "owner or an administrator consent to them.",
)

ACCOUNT_BLOCKED = Meaning(
    _REFUSED,
    "",
    "A policy of the organization blocks the sign-in",
    "Ask an administrator. At Microsoft, the sign-in log names the Conditional Access policy that blocked it; at "
    "Google, the application must be trusted under API controls. A new consent does not help.",
)
ACCOUNT_GONE = Meaning(
    _REFUSED,
    "",
    "The account that consented is disabled or deleted",
    "Let an administrator restore the account, or consent as another one. A new consent of this account does not help.",
)
ACCOUNT_LOCKED = Meaning(
    _REFUSED,
    "",
    "The account is locked, or the sign-in looks dangerous to the provider",
    "Try again later, or ask an administrator to unlock the account. A new consent does not help.",
)

ENDPOINT_BUSY = Meaning(
    ErrorCode.PROTOCOL_ERROR,
    "tokenUrl",
    "The token endpoint gives no tokens at the moment",
    "Try again later. Nothing is known to be wrong with the consent.",
)
WRONG_REQUEST = Meaning(
    ErrorCode.PROTOCOL_ERROR,
    "tokenUrl",
    "The token endpoint does not understand the request",
    "Check that tokenUrl is the token endpoint of the provider, with the right tenant.",
)
NO_TOKEN = Meaning(
    ErrorCode.PROTOCOL_ERROR,
    "tokenUrl",
    "The token endpoint gave nothing that can be used as an access token",
    WRONG_REQUEST.hint,
)
NOT_UNDERSTOOD = Meaning(
    ErrorCode.PROTOCOL_ERROR,
    "tokenUrl",
    "The token endpoint gave no access token, and no reason that is known",
    WRONG_REQUEST.hint,
)
