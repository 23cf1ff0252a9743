"""Builds the OpenAPI 3.1 document of the REST API from its routes.

Summaries, response schemas and permissions come from the handlers' docstrings, annotations and decorators.
"""

from collections.abc import Iterable, Sequence
from typing import Any, get_origin, get_type_hints

from starlette.routing import Route

from edge.version import VERSION
from models.user import Permission
from rest.components import (
    COMMON_FAILURES,
    FAILURES,
    PARAMETERS,
    RESPONSE_HEADERS,
    SECURITY,
    SECURITY_SCHEMES,
    DocumentedFailure,
    JsonObject,
)
from rest.endpoint import Endpoint
from rest.operations import OPERATIONS, DocumentedOperation
from rest.schemas import reference, schemas_of

API_PREFIX = "/api/v1"
DESCRIPTION = """\
Clients written for Rocket.Chat's `email-inbox` endpoints keep working. Whatever can be done here can be done over
GraphQL too, and more.

The order of checks is 421 (a foreign `Host`), 403 (a POST or DELETE with a foreign `Origin`), 415 (a body whose
`Content-Type` is not `application/json`), 401, 403, 413, and then everything else. A body that is no JSON object counts
as `{}`. An unknown path is answered with 404, and a method that an endpoint does not have with 405.

Where the operator limits how often one caller may ask, every answer of an endpoint has `RateLimit-Limit`,
`RateLimit-Remaining`, `RateLimit-Reset` and `RateLimit-Policy`.
"""


def document_of(routes: Sequence[Route]) -> JsonObject:
    """Returns the document. `OPERATIONS` must have an entry for each route, by the name of its handler."""
    paths: dict[str, JsonObject] = {}
    for route in routes:
        shared = {"parameters": [{"$ref": "#/components/parameters/RequestId"}]}
        paths.setdefault(route.path, shared)[_method(route).lower()] = _operation(route, OPERATIONS[route.name])
    return {
        "openapi": "3.1.0",
        "info": {"title": "Email inbox server", "version": VERSION, "description": DESCRIPTION},
        "servers": [{"url": API_PREFIX}],
        "paths": paths,
        "components": {
            "schemas": schemas_of(_outputs(routes)),
            "responses": {failure.name: _failure(failure) for failure in FAILURES.values()},
            "headers": RESPONSE_HEADERS,
            "parameters": PARAMETERS,
            "securitySchemes": SECURITY_SCHEMES,
        },
    }


def _operation(route: Route, operation: DocumentedOperation) -> JsonObject:
    entry: JsonObject = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": route.endpoint.__doc__,
        "description": _describe_access(route),
        "security": [] if _permissions(route) is None else SECURITY,
        "responses": {"200": _success(route, operation), **_failures(route, operation)},
    }
    if operation.parameters:
        entry["parameters"] = operation.parameters
    if operation.sent:
        body = {"schema": reference(operation.sent), "example": operation.example}
        entry["requestBody"] = {"required": True, "content": {"application/json": body}}
    return entry


def _describe_access(route: Route) -> str:
    permissions = _permissions(route)
    if permissions is None:
        return "For anybody."
    return (
        f"Needs the permission {' or '.join(f'`{name}`' for name in permissions)}." if permissions else "For any user."
    )


def _success(route: Route, operation: DocumentedOperation) -> JsonObject:
    response = _response(_output(route).__doc__ or "", _schema(_output(route)), COMMON_FAILURES)
    links = {
        OPERATIONS[name].id: {"operationId": OPERATIONS[name].id, "parameters": {"id": "$response.body#/_id"}}
        for name in operation.leads_to
    }
    return {**response, "links": links} if links else response


def _failures(route: Route, operation: DocumentedOperation) -> dict[str, JsonObject]:
    """The failures of an endpoint by status: those of its own checks, and those common to all endpoints."""
    permissions = _permissions(route)
    may_end_in = {
        401: permissions is not None or operation.id == "login",
        403: bool(permissions) or _method(route) in ("POST", "DELETE"),
        404: operation.may_miss,
        405: False,
        413: _method(route) == "POST",
        415: _method(route) == "POST",
    }
    shared = {
        str(status): {"$ref": f"#/components/responses/{failure.name}"}
        for status, failure in FAILURES.items()
        if may_end_in.get(status, True)
    }
    if not operation.refusals:
        return shared
    kinds = [_schema(kind) for kind in operation.refusals]
    description = " Or: ".join(kind.__doc__ or "" for kind in operation.refusals)
    schema = kinds[0] if len(kinds) == 1 else {"oneOf": kinds}
    return {"400": _response(description, schema, COMMON_FAILURES), **shared}


def _failure(failure: DocumentedFailure) -> JsonObject:
    return _response(failure.description, _schema(failure.body), COMMON_FAILURES + failure.headers, failure.example)


def _response(
    description: str, schema: JsonObject, headers: Iterable[str], example: JsonObject | None = None
) -> JsonObject:
    media = {"schema": schema} if example is None else {"schema": schema, "example": example}
    return {
        "description": description,
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in headers},
        "content": {"application/json": media},
    }


def _outputs(routes: Sequence[Route]) -> list[Any]:
    """The types of all responses that have a name."""
    kinds = [_output(route) for route in routes]
    kinds += [kind for operation in OPERATIONS.values() for kind in operation.refusals]
    kinds += [failure.body for failure in FAILURES.values()]
    return [kind for kind in dict.fromkeys(kinds) if get_origin(kind) is None]


def _schema(kind: Any) -> JsonObject:
    return reference(kind.__name__) if get_origin(kind) is None else {"type": "object"}


def _output(route: Route) -> Any:
    return get_type_hints(route.endpoint)["return"]


def _permissions(route: Route) -> tuple[Permission, ...] | None:
    assert isinstance(route.endpoint, Endpoint)
    return route.endpoint.permissions


def _method(route: Route) -> str:
    return next(method for method in sorted(route.methods or ()) if method != "HEAD")
