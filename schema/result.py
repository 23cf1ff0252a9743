"""How a result, or a refusal, is printed as an answer over HTTP (GraphQL over HTTP, 6). Knows no field."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from strawberry.types import ExecutionResult

from edge.answers import JsonAnswer, graphql_error
from schema.negotiation import GRAPHQL

_STATUS_OF_CODE = {"SERVICE_UNAVAILABLE": 503, "RATE_LIMITED": 429}


def body_of(result: ExecutionResult) -> dict[str, Any]:
    """The response map; without `data` where the operation was not run (GraphQL, 7.1)."""
    body: dict[str, Any] = {} if _was_refused(result) else {"data": result.data}
    if result.errors:
        body["errors"] = [error.formatted for error in result.errors]
    return body


def answer(result: ExecutionResult, media: str) -> Response:
    """The answer in this media type, which also decides on the status of what was not run."""
    errors = result.errors or []
    codes = [(error.extensions or {}).get("code") for error in errors]
    status = next((_STATUS_OF_CODE[code] for code in codes if code in _STATUS_OF_CODE), 200)
    if status == 200 and media == GRAPHQL and _was_refused(result):
        status = 400
    waits = [seconds for error in errors if (seconds := getattr(error, "retry_after", None))]
    return _typed(JsonAnswer(body_of(result), status, {"Retry-After": str(max(waits))} if waits else {}), media)


def refusal(
    request: Request, media: str, status: int, message: str, headers: dict[str, str], code: str = "BAD_USER_INPUT"
) -> Response:
    """The answer to what never reached the schema."""
    error = graphql_error(message, code, request.scope["request_id"])
    return _typed(JsonAnswer({"errors": [error]}, status, headers), media)


def _was_refused(result: ExecutionResult) -> bool:
    errors = result.errors or []
    return result.data is None and bool(errors) and all(error.path is None for error in errors)


def _typed(response: Response, media: str) -> Response:
    response.headers["content-type"] = f"{media}; charset=utf-8"
    return response
