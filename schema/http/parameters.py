"""Parses the parameters of a GraphQL request over HTTP (GraphQL over HTTP, 5)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import QueryParams
from starlette.types import Receive, Scope

from edge.body import parse_json, read_body, require_json
from models.errors import BadRequest
from schema.http.trusted_documents import AnyDocument, check_variables, operation_name_of


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters of a GraphQL request."""

    query: str
    variables: dict[str, Any] | None
    operation_name: str | None


class RequestError(Exception):
    """An error in a request that never reaches the schema."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})


async def parameters_of(scope: Scope, receive: Receive, documents: AnyDocument) -> Parameters:
    """Reads the parameters. Raises RequestError, BadRequest, UnsupportedMedia or TooLarge."""
    if scope["method"] == "POST":
        require_json(scope)
        sent = _parse(await read_body(scope, receive), "The body")
    elif scope["method"] == "GET":
        sent = dict(QueryParams(scope["query_string"]))
        for name in ("variables", "extensions"):
            sent[name] = _parse(sent[name], f"`{name}`") if sent.get(name) else None
    else:
        raise RequestError(405, "Send GraphQL requests with GET or POST.", {"Allow": "GET, POST"})
    return _check(sent, documents)


def _check(sent: Any, documents: AnyDocument) -> Parameters:
    if not isinstance(sent, dict):
        raise BadRequest("The body must be a JSON object with a `query`.")
    query, variables, name = documents.text_of(sent), sent.get("variables"), operation_name_of(sent)
    if not isinstance(query, str) or not query:
        raise BadRequest("`query` must be a string that holds a GraphQL document.")
    if not isinstance(variables, dict | None):
        raise BadRequest("`variables` must be an object or null.")
    check_variables(variables)
    if not isinstance(sent.get("extensions"), dict | None):
        raise BadRequest("`extensions` must be an object or null.")
    return Parameters(query, variables, name)


def _parse(text: str | bytes, what: str) -> Any:
    try:
        return parse_json(text)
    except ValueError:
        raise BadRequest(f"{what} must be JSON in UTF-8.") from None
