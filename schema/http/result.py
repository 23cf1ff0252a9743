"""Formats results and refusals as HTTP responses (GraphQL over HTTP, 6)."""

from typing import Any

from starlette.responses import Response
from starlette.types import Scope
from strawberry.types import ExecutionResult

from edge.answers import JsonAnswer, graphql_error, retry_headers
from models.errors import ProductError
from schema.http.negotiation import GRAPHQL

_STATUS_OF_CODE = {"SERVICE_UNAVAILABLE": 503, "RATE_LIMITED": 429}


def to_body(result: ExecutionResult) -> dict[str, Any]:
    """The response map, without `data` if the operation was not executed (GraphQL, 7.1)."""
    body: dict[str, Any] = {} if _was_refused(result) else {"data": result.data}
    if result.errors:
        body["errors"] = [error.formatted for error in result.errors]
    return body


def to_response(result: ExecutionResult, media: str) -> Response:
    """The response in this media type, which also determines the status if the operation was not executed."""
    if not result.errors:
        return JsonAnswer({"data": result.data}, content_type=_content_type(media))
    errors = result.errors
    codes = [(error.extensions or {}).get("code") for error in errors]
    status = next((_STATUS_OF_CODE[code] for code in codes if code in _STATUS_OF_CODE), 200)
    if status == 200 and media == GRAPHQL and _was_refused(result):
        status = 400
    waits = [seconds for error in errors if (seconds := getattr(error, "retry_after", None))]
    headers = {"Retry-After": str(max(waits))} if waits else {}
    return JsonAnswer(to_body(result), status, headers, _content_type(media))


def refuse(
    scope: Scope, media: str, status: int, message: str, headers: dict[str, str], code: str = "BAD_USER_INPUT"
) -> Response:
    """The response to a request that never reached the schema."""
    error = graphql_error(message, code, scope["request_id"])
    return JsonAnswer({"errors": [error]}, status, headers, _content_type(media))


def graphql_fault(error: ProductError, request_id: str) -> JsonAnswer:
    """The answer to a request that could not reach the endpoint."""
    return JsonAnswer(
        {"errors": [graphql_error(str(error), error.code, request_id)]}, error.status, retry_headers(error)
    )


def _was_refused(result: ExecutionResult) -> bool:
    errors = result.errors or []
    return result.data is None and bool(errors) and all(error.path is None for error in errors)


def _content_type(media: str) -> bytes:
    return b"%b; charset=utf-8" % media.encode("ascii")
