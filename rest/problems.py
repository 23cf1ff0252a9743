"""Converts errors to REST responses, and defines their bodies."""

from http import HTTPStatus
from typing import Annotated, Any, Literal

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from typing_extensions import TypedDict

from edge.answers import JsonAnswer, retry_headers
from models.errors import (
    ErrorCode,
    FieldPath,
    Forbidden,
    Problem,
    ProductError,
    RateLimited,
    Refused,
    TooLarge,
    Unauthenticated,
    shortened,
)
from models.fields import Published


class Failure(TypedDict):
    """Every answer but a success."""

    success: Literal[False]
    error: str


class Unauthorized(Failure):
    """Missing or invalid credentials."""

    status: Literal["error"]
    message: str


class Detail(TypedDict):
    """One thing to put right."""

    field: str | None
    code: ErrorCode
    message: str


class InvalidParams(Failure):
    """Input with problems: `error` is the first, `details` are all of them."""

    errorType: Literal["error-invalid-params"]
    details: list[Detail]


class DuplicateEmail(Failure):
    """The address belongs to another inbox, and nothing else is wrong."""

    errorType: Literal["error-duplicate-email"]


class InvalidSort(Failure):
    """`sort` is no JSON object of 1 and -1 on fields that can be sorted by."""

    errorType: Literal["error-invalid-sort"]


class NotSendable(TypedDict):
    """`inbox-not-found`: there is no active inbox with this id. `user-without-verified-email`: you have no address."""

    success: Literal[False]
    error: Literal["inbox-not-found", "user-without-verified-email"]


class MailRefused(Failure):
    """Not known to be sent: `error` says why, or that it may have been; `errorType` ends in the code in lower case."""

    errorType: Annotated[str, Published(pattern="^error-smtp-[a-z-]+$")]


class TooManyRequests(Failure):
    """Too many requests, or too many failed attempts."""

    message: str


class Fault(Failure):
    """A fault of the server; the log has more under this id."""

    requestId: str


UNAUTHORIZED: Unauthorized = {
    "success": False,
    "error": "unauthorized",
    "status": "error",
    "message": "You must be logged in to do this.",
}


class NotFound(ProductError):
    """Resource not found"""

    status = 404


class BadSort(ProductError):
    """The sort parameter is no JSON object of 1 and -1 on fields that can be sorted by."""

    status = 400

    def __init__(self, text: str) -> None:
        super().__init__(f'Invalid sort parameter provided: "{shortened(text)}" [error-invalid-sort]')


class NotSent(ProductError):
    """A test mail is not known to be sent."""

    status = 400

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def to_response(error: ProductError, sent: dict[str, Any]) -> Response:
    """The response to an error. `sent` is the request's body: the response quotes a taken address from it."""
    match error:
        case Unauthenticated():
            return JsonAnswer(UNAUTHORIZED, 401)
        case Forbidden():
            return failure("unauthorized", 403)
        case TooLarge():
            return failure("error-too-large", 413)
        case RateLimited():
            return _rate_limited(error)
        case Refused():
            return _refused(error.problems, sent)
        case BadSort():
            invalid: InvalidSort = {"success": False, "errorType": "error-invalid-sort", "error": str(error)}
            return JsonAnswer(invalid, 400)
        case NotSent():
            return _not_sent(error.problem)
        case _:
            return failure(str(error), error.status, retry_headers(error))


def rest_fault(error: ProductError, request_id: str) -> JsonAnswer:
    """The answer to a request that could not reach any endpoint."""
    # Old clients know a refusal by this word.
    body: dict[str, Any] = {"success": False, "error": "unauthorized" if isinstance(error, Forbidden) else str(error)}
    if error.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        body["requestId"] = request_id
    return JsonAnswer(body, error.status, retry_headers(error))


def dotted(path: FieldPath | None) -> str | None:
    """The REST name of a field: `("input", "smtp", "port")` is `smtp.port`, and the id is `_id`."""
    if path is None:
        return None
    name = ".".join(path[1:] if path[0] == "input" else path)
    return "_id" if name == "id" else name


async def not_found(scope: Scope, receive: Receive, send: Send) -> None:
    """The response if there is no endpoint at this path."""
    await resource_not_found()(scope, receive, send)


def resource_not_found() -> Response:
    return failure("Resource not found", 404)


def not_allowed(methods: list[str]) -> Response:
    """Answers a method that the endpoint does not support; `methods` are those that it does."""
    return failure("Method Not Allowed", 405, {"Allow": ", ".join(methods)})


def failure(error: str, status: int, headers: dict[str, str] | None = None) -> Response:
    body: Failure = {"success": False, "error": error}
    return JsonAnswer(body, status, headers)


def _refused(problems: list[Problem], sent: dict[str, Any]) -> Response:
    codes = {problem.code for problem in problems}
    if codes == {ErrorCode.NOT_FOUND}:
        return resource_not_found()
    if codes == {ErrorCode.TAKEN}:
        text = f'E11000 duplicate key error: email_1 dup key: {{ email: "{sent.get("email")}" }}'
        duplicate: DuplicateEmail = {"success": False, "errorType": "error-duplicate-email", "error": text}
        return JsonAnswer(duplicate, 400)
    details: list[Detail] = [
        {"field": dotted(problem.field), "code": problem.code, "message": _message(problem)} for problem in problems
    ]
    body: InvalidParams = {
        "success": False,
        "errorType": "error-invalid-params",
        "error": details[0]["message"],
        "details": details,
    }
    return JsonAnswer(body, 400)


def _not_sent(problem: Problem) -> Response:
    if problem.field == ("id",):
        return failure("inbox-not-found", 400)
    if problem.field == ("to",) and problem.code is ErrorCode.REQUIRED:
        return failure("user-without-verified-email", 400)
    code = problem.code.lower().replace("_", "-")
    body: MailRefused = {"success": False, "errorType": f"error-smtp-{code}", "error": problem.message}
    return JsonAnswer(body, 400)


def _message(problem: Problem) -> str:
    return f"_{problem.message}" if problem.field == ("input", "id") else problem.message


def _rate_limited(error: RateLimited) -> Response:
    seconds = str(error.retry_after)
    headers = {
        **retry_headers(error),
        "X-RateLimit-Limit": str(error.limit),
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": seconds,
    }
    message = f"Error, too many requests. Please slow down. You must wait {seconds} seconds before trying again."
    body: TooManyRequests = {"success": False, "error": "error-too-many-requests", "message": message}
    return JsonAnswer(body, 429, headers)
