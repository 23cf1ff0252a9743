"""How a mutation answers: its payload, with the problems of the input as data. The one place that prints `Refused`."""

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
        ErrorCode.INVALID: "A value is not of the form that its field asks for.",
        ErrorCode.TOO_LONG: "A text has more characters than its field takes.",
        ErrorCode.TAKEN: "A value that must be unique belongs to another one already.",
        ErrorCode.NOT_FOUND: "There is none with this id.",
        ErrorCode.CONFLICT: "What is stored is not what the caller expects it to be.",
        ErrorCode.PASSWORD_REQUIRED: "A password must be given: none is stored, or it would go to another server.",
        ErrorCode.DNS_FAILED: "The mail server's name can't be resolved.",
        ErrorCode.CONNECTION_REFUSED: "The mail server refused the connection.",
        ErrorCode.TIMEOUT: "The mail server did not answer in time.",
        ErrorCode.TLS_FAILED: "TLS could not be agreed on with the mail server.",
        ErrorCode.CERTIFICATE_INVALID: "The mail server's certificate can't be trusted.",
        ErrorCode.STARTTLS_UNAVAILABLE: "TLS is required, and the mail server offers none.",
        ErrorCode.AUTHENTICATION_FAILED: "The mail server refused username and password.",
        ErrorCode.MAILBOX_NOT_FOUND: "The mail server has no mailbox of this name.",
        ErrorCode.SENDER_REJECTED: "The mail server refused the sender's address.",
        ErrorCode.RECIPIENT_REJECTED: "The mail server refused the recipient's address.",
        ErrorCode.PROTOCOL_ERROR: "The mail server did not keep to its protocol.",
        ErrorCode.HOST_NOT_ALLOWED: "This server may not connect to that mail server.",
        ErrorCode.CONSENT_REQUIRED: "The consent was withdrawn or has ended: its owner must give it again.",
        ErrorCode.UNUSUAL: "Saved all the same, but worth a look.",
    },
)


@strawberry.type(description="Something the caller can put right. Every problem of the input is reported at once.")
class UserError:
    code: ErrorCode = strawberry.field(description="What is wrong.")
    message: str = strawberry.field(description="What is wrong and how to put it right, in English.")
    field: list[str] | None = strawberry.field(
        description='Path of the input field, such as `["input", "smtp", "port"]`; null where it is no single field.'
    )


@strawberry.type
class Payload:
    """What every payload has."""

    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Every problem of the input; empty on success."
    )

    @strawberry.field(description="True where userErrors is empty.")
    def success(self) -> bool:
        return not self.user_errors


PayloadT = TypeVar("PayloadT", bound=Payload)
Result = TypeVar("Result")


async def answer(
    payload: type[PayloadT], work: Awaitable[Result], fields: Callable[[Result], dict[str, Any]]
) -> PayloadT:
    """The payload of what was done, or of why it was refused."""
    try:
        return payload(**fields(await work))
    except Refused as refused:
        return payload(user_errors=[printed(problem) for problem in refused.problems])


def printed(problem: Problem) -> UserError:
    return UserError(code=problem.code, message=problem.message, field=list(problem.field) if problem.field else None)
