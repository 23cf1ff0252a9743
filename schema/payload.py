"""Mutation payloads, which report the problems of the input as data (`userErrors`)."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import strawberry

from models.errors import ErrorCode, Problem, Refused
from schema.enums import described_enum

described_enum(
    ErrorCode,
    "What is wrong with an input, or with the server that it names.",
    {
        ErrorCode.REQUIRED: "A value is missing or blank.",
        ErrorCode.INVALID: "A value does not have the form that its field requires.",
        ErrorCode.TOO_LONG: "A text is longer than its field allows.",
        ErrorCode.TAKEN: "A value that must be unique is already in use.",
        ErrorCode.NOT_FOUND: "Nothing has this id.",
        ErrorCode.CONFLICT: "What is stored is not what the caller expects it to be, or as much is stored as may be.",
        ErrorCode.PASSWORD_REQUIRED: "A password, or secrets of a consent, must be given: none is stored, the stored "
        "one would go elsewhere, or none of this server's keys decrypts it.",
        ErrorCode.DNS_FAILED: "The name of the mail server or of the token endpoint can't be resolved.",
        ErrorCode.CONNECTION_REFUSED: "The mail server or token endpoint refused the connection, or can't be reached.",
        ErrorCode.TIMEOUT: "The mail server or the token endpoint did not answer in time.",
        ErrorCode.TLS_FAILED: "The TLS handshake with the mail server or the token endpoint failed.",
        ErrorCode.CERTIFICATE_INVALID: "The certificate of the mail server or of the token endpoint can't be trusted.",
        ErrorCode.STARTTLS_UNAVAILABLE: "TLS is required, but the mail server does not offer it.",
        ErrorCode.AUTHENTICATION_FAILED: "The mail server refused the login, or the token endpoint the application, "
        "its secret, tenant or scope, or the account. Of `login`: the username or the password is wrong.",
        ErrorCode.MAILBOX_NOT_FOUND: "The account has no INBOX.",
        ErrorCode.SENDER_REJECTED: "The mail server refused the sender's address.",
        ErrorCode.RECIPIENT_REJECTED: "The mail server refused the recipient's address.",
        ErrorCode.PROTOCOL_ERROR: "The mail server or the token endpoint speaks another protocol, hung up, has no time "
        "at the moment, or refused the message. The message of the error says whether to try later.",
        ErrorCode.HOST_NOT_ALLOWED: "This server may not connect to that mail server or token endpoint.",
        ErrorCode.CONSENT_REQUIRED: "The mailbox's owner must consent again: the consent was withdrawn, has ended or "
        "is not enough any more. No other problem has this code.",
        ErrorCode.UNUSUAL: "A warning: the value is unusual, but was saved.",
    },
)


@strawberry.type(description="A problem that the caller can fix. All problems of the input are reported at once.")
class UserError:
    code: ErrorCode = strawberry.field(description="What is wrong.")
    message: str = strawberry.field(description="What is wrong and how to fix it, in English.")
    field: list[str] | None = strawberry.field(
        description='Path of the input field, such as `["input", "smtp", "port"]`; null if no single field is wrong.'
    )


@strawberry.type
class Payload:
    """The fields of every payload."""

    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="All problems of the input; empty on success."
    )

    success: bool = strawberry.field(default=True, description="True if userErrors is empty.")

    def __post_init__(self) -> None:
        self.success = not self.user_errors


PayloadT = TypeVar("PayloadT", bound=Payload)
_Result = TypeVar("_Result")


async def to_payload(
    payload: type[PayloadT], work: Awaitable[_Result], fields: Callable[[_Result], dict[str, Any]]
) -> PayloadT:
    """The payload of the result, or of the problems if the resolver raises Refused."""
    try:
        return payload(**fields(await work))
    except Refused as refused:
        return payload(user_errors=[to_user_error(problem) for problem in refused.problems])


def to_user_error(problem: Problem) -> UserError:
    return UserError(code=problem.code, message=problem.message, field=list(problem.field) if problem.field else None)
