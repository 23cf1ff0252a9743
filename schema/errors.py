"""Formats errors for GraphQL responses: a code, the request id, and a message without the client's values.

graphql-core quotes values in its messages, passwords included. Only text known to be free of values is kept.
Unexpected errors are masked, and logged by type and location.
"""

import re

import structlog
from graphql import (
    GraphQLError,
    GraphQLSyntaxError,
    Node,
    ObjectFieldNode,
    ValueNode,
    VariableDefinitionNode,
    VariableNode,
)

from edge.answers import without_long_names
from models.errors import ProductError, Unforeseen, where

PARSE_FAILED = "GRAPHQL_PARSE_FAILED"
VALIDATION_FAILED = "GRAPHQL_VALIDATION_FAILED"
BAD_USER_INPUT = "BAD_USER_INPUT"

_VARIABLE = re.compile(r"(Variable '\$\w+' has invalid value(?: at [\w.\[\]]+)?): ")
_BAD_VARIABLE = re.compile(r"Variable '\$\w+' (has invalid value|of (required|non-null) type)")
_SAFE = re.compile(
    r"\w+ cannot represent [a-z0-9 -]+"
    r"|Expected value of (non-null )?type '[\w!\[\]]+'( to include required field '\w+'| not to be null"
    r"| not to include unknown field '\w+')?"
    r"|DateTime must be .+"
)
_TYPED_TEXT = re.compile(r"(String|BlockString|Int|Float|Name) ['\"].*", re.DOTALL)

log = structlog.get_logger()


class PrintedError(GraphQLError):
    """An error that is safe to send to the client."""


def to_graphql_error(error: GraphQLError, request_id: str) -> PrintedError:
    """Converts an error to one that is safe to send to the client."""
    if isinstance(error, PrintedError):
        return error
    code, message = _code_and_message(error)
    formatted = PrintedError(
        without_long_names(message),
        nodes=error.nodes,
        source=error.source,
        positions=error.positions,
        path=error.path,
        extensions={"code": code, "requestId": request_id},
    )
    formatted.retry_after = getattr(error.original_error, "retry_after", None)  # type: ignore[attr-defined]
    return formatted


def _code_and_message(error: GraphQLError) -> tuple[str, str]:
    cause = error.original_error
    if isinstance(cause, ProductError):
        return cause.code, str(cause)
    if isinstance(error, GraphQLSyntaxError):
        return PARSE_FAILED, _TYPED_TEXT.sub(r"\1", error.message)
    if error.path is None and _is_about_a_value(error):
        return VALIDATION_FAILED, _without_values(error.message)
    if cause is not None and not isinstance(cause, GraphQLError):
        log.error("resolver failed", error=type(cause).__name__, where=where(cause), path=error.path)
        return Unforeseen.code, str(Unforeseen())
    if _is_about_input(error):
        return BAD_USER_INPUT, _without_values(error.message)
    return VALIDATION_FAILED, error.message


def _is_about_input(error: GraphQLError) -> bool:
    if error.path is not None:
        return True
    return isinstance(_first_node(error), VariableDefinitionNode) and bool(_BAD_VARIABLE.match(error.message))


def _is_about_a_value(error: GraphQLError) -> bool:
    node = _first_node(error)
    return isinstance(node, ValueNode | ObjectFieldNode) and not isinstance(node, VariableNode)


def _first_node(error: GraphQLError) -> Node | None:
    return error.nodes[0] if error.nodes else None


def _without_values(message: str) -> str:
    """`Variable '$input' has invalid value at .smtp.port: Int cannot represent non-integer value.`"""
    start = _VARIABLE.match(message)
    rest = message[start.end() :] if start else message
    safe = _SAFE.match(rest)
    kept = safe.group().strip() if safe else "the value is not valid here"
    return f"{start.group(1)}: {kept.rstrip('.')}." if start else f"{kept.rstrip('.')}."
