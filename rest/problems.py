"""How an error is printed on the REST path: the one place for its bodies. Knows no endpoint."""

from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

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
)

UNAUTHORIZED = {
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
        super().__init__(f'Invalid sort parameter provided: "{text}" [error-invalid-sort]')


def printed(error: ProductError, sent: dict[str, Any]) -> Response:
    """The answer to an error. `sent` is the request's body: a taken address is named as it was sent."""
    match error:
        case Unauthenticated():
            return JsonAnswer(UNAUTHORIZED, 401)
        case Forbidden():
            return JsonAnswer({"success": False, "error": "unauthorized"}, 403)
        case TooLarge():
            return JsonAnswer({"success": False, "error": "error-too-large"}, 413)
        case RateLimited():
            return _rate_limited(error)
        case Refused():
            return _refused(error.problems, sent)
        case BadSort():
            return JsonAnswer({"success": False, "errorType": "error-invalid-sort", "error": str(error)}, 400)
        case _:
            return JsonAnswer({"success": False, "error": str(error)}, error.status, retry_headers(error))


def dotted(path: FieldPath | None) -> str | None:
    """The name of a field on this path: `("input", "smtp", "port")` is `smtp.port`, and the id is `_id`."""
    if path is None:
        return None
    name = ".".join(path[1:] if path[0] == "input" else path)
    return "_id" if name == "id" else name


async def not_found(scope: Scope, receive: Receive, send: Send) -> None:
    """The answer where there is no endpoint, or none for this method."""
    await resource_not_found()(scope, receive, send)


def resource_not_found() -> Response:
    return JsonAnswer({"success": False, "error": "Resource not found"}, 404)


def _refused(problems: list[Problem], sent: dict[str, Any]) -> Response:
    codes = {problem.code for problem in problems}
    if codes == {ErrorCode.NOT_FOUND}:
        return resource_not_found()
    if codes == {ErrorCode.TAKEN}:
        duplicate = f'E11000 duplicate key error: email_1 dup key: {{ email: "{sent.get("email")}" }}'
        return JsonAnswer({"success": False, "errorType": "error-duplicate-email", "error": duplicate}, 400)
    details = [
        {"field": dotted(problem.field), "code": problem.code, "message": _message(problem)} for problem in problems
    ]
    body = {"errorType": "error-invalid-params", "error": details[0]["message"], "details": details}
    return JsonAnswer({"success": False, **body}, 400)


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
    return JsonAnswer({"success": False, "error": "error-too-many-requests", "message": message}, 429, headers)
