"""The errors that the product raises. Knows nothing of how they are formatted.

    ProductError
    ├── Refused             the input has problems that the client can fix
    ├── Unauthenticated     no or bad credentials
    ├── Forbidden           the permission is missing
    ├── RateLimited         too many attempts; has the seconds until a retry
    ├── Unavailable         a disk, a lock or a database can't be used; has the seconds until a retry
    ├── BadRequest          a malformed request, such as one with a cursor of another list
    ├── TooLarge            a body over the limit
    ├── UnsupportedMedia    a body whose Content-Type is not JSON
    ├── Misdirected         a Host header that does not name this server
    ├── MailFailure         a mail server, or the connection to it, failed; has the fix
    ├── Unforeseen          any other error; the client gets no details
    └── StartError          a setting, a key or a database with which the server must not start

An error has a `code` (GraphQL) and a `status` (HTTP). The docstring of a class is its default message.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Self

FieldPath = tuple[str, ...]


class ErrorCode(StrEnum):
    """What is wrong with an input, or with the server that it names."""

    REQUIRED = "REQUIRED"
    INVALID = "INVALID"
    TOO_LONG = "TOO_LONG"
    TAKEN = "TAKEN"
    NOT_FOUND = "NOT_FOUND"
    CONFLICT = "CONFLICT"
    PASSWORD_REQUIRED = "PASSWORD_REQUIRED"  # noqa: S105 - the name of a problem
    DNS_FAILED = "DNS_FAILED"
    CONNECTION_REFUSED = "CONNECTION_REFUSED"
    TIMEOUT = "TIMEOUT"
    TLS_FAILED = "TLS_FAILED"
    CERTIFICATE_INVALID = "CERTIFICATE_INVALID"
    STARTTLS_UNAVAILABLE = "STARTTLS_UNAVAILABLE"
    AUTHENTICATION_FAILED = "AUTHENTICATION_FAILED"
    MAILBOX_NOT_FOUND = "MAILBOX_NOT_FOUND"
    SENDER_REJECTED = "SENDER_REJECTED"
    RECIPIENT_REJECTED = "RECIPIENT_REJECTED"
    PROTOCOL_ERROR = "PROTOCOL_ERROR"
    HOST_NOT_ALLOWED = "HOST_NOT_ALLOWED"
    CONSENT_REQUIRED = "CONSENT_REQUIRED"
    UNUSUAL = "UNUSUAL"


MAX_QUOTED_LENGTH = 100
"""The most characters of the input that a message repeats."""


def shortened(text: str, length: int = MAX_QUOTED_LENGTH) -> str:
    """Returns the text, cut off after `length` characters."""
    return text if len(text) <= length else f"{text[:length]}…"


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem to fix. `field` is the path of the argument, such as `("input", "smtp", "port")`."""

    code: ErrorCode
    message: str
    field: FieldPath | None = None


class ProductError(Exception):
    """The request failed."""

    code: ClassVar[str] = "INTERNAL_SERVER_ERROR"
    status: ClassVar[int] = 500
    retry_after: int | None = None

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class Refused(ProductError):
    """The input has problems."""

    code = "BAD_USER_INPUT"
    status = 400

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(problems[0].message)
        self.problems = list(problems)

    @classmethod
    def because(cls, code: ErrorCode, message: str, *field: str) -> Self:
        """Returns the error for one problem."""
        return cls([Problem(code, message, field or None)])


class Unauthenticated(ProductError):
    """You must be logged in: send X-User-Id and X-Auth-Token, or Authorization: Bearer <token>."""

    code = "UNAUTHENTICATED"
    status = 401


class Forbidden(ProductError):
    """You may not do this: the permission is missing."""

    code = "FORBIDDEN"
    status = 403


class RateLimited(ProductError):
    """Too many attempts. Wait, then try again."""

    code = "RATE_LIMITED"
    status = 429

    def __init__(self, retry_after: int, *, limit: int) -> None:
        super().__init__()
        self.retry_after = retry_after
        self.limit = limit


class Unavailable(ProductError):
    """The server can't do this at the moment. Try again."""

    code = "SERVICE_UNAVAILABLE"
    status = 503
    retry_after = 5


class BadRequest(ProductError):
    """The request can't be understood."""

    code = "BAD_USER_INPUT"
    status = 400


class TooLarge(ProductError):
    """The request body is over the limit of 1 MiB."""

    code = "BAD_USER_INPUT"
    status = 413


class UnsupportedMedia(ProductError):
    """The body must be JSON in UTF-8: send Content-Type: application/json."""

    code = "BAD_USER_INPUT"
    status = 415


class Misdirected(ProductError):
    """The Host header does not name this server. The operator can set EMAIL_INBOX_PUBLIC_URL or EMAIL_INBOX_HOSTS."""

    code = "BAD_USER_INPUT"
    status = 421


class MailFailure(ProductError):
    """A mail server, or the way to it, did not do what was asked.

    `field` is the path in the API of the field of the server's config to change: `("port",)`, `("oauth2", "tokenUrl")`;
    None if no field is wrong. `hint` says what to do. Neither they nor the message repeat text from the server: they
    name a reply by its code.
    """

    code = "BAD_USER_INPUT"
    status = 400

    def __init__(self, kind: ErrorCode, message: str, *field: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.field: FieldPath | None = field or None
        self.hint = hint


class Unforeseen(ProductError):
    """Internal server error"""


class StartError(ProductError):
    """The server can't start."""


def where(error: BaseException) -> str:
    """Returns the lines that an exception passed through, innermost last, without any value that it holds."""
    places, trace = [], error.__traceback__
    while trace:
        code = trace.tb_frame.f_code
        places.append(f"{code.co_filename.rpartition('/')[2]}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return " > ".join(places[-8:])
