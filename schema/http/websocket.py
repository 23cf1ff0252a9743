"""Handles WebSocket messages (graphql-transport-ws): adds validation, limits and timeouts to strawberry's handler."""

import asyncio
from contextlib import suppress
from typing import Any

import structlog
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import BaseGraphQLTransportWSHandler
from strawberry.subscriptions.protocols.graphql_transport_ws.types import ConnectionInitMessage, ErrorMessage

from edge.admission import OVERLOADED_MESSAGE, Load
from edge.answers import graphql_error
from edge.rates import Rate
from models.errors import BadRequest, ProductError, Unavailable, where
from schema.context import GraphQLContext
from schema.http.trusted_documents import AnyDocument, check_variables, operation_name_of

log = structlog.get_logger()

ANONYMOUS_SECONDS = 60.0
_TYPES = ("connection_init", "ping", "pong", "subscribe", "complete")


class TooManyOperations(BadRequest):
    """Too many operations are running on this connection. Complete one, or open another connection."""


class WebSocketHandler(BaseGraphQLTransportWSHandler[GraphQLContext, None]):
    """Closes the connection on JSON that is not a valid message, and refuses operations over a limit."""

    documents: AnyDocument
    rate: Rate | None
    load: Load
    _anonymous_timeout: asyncio.Task[None] | None = None

    async def handle_connection_init(self, message: ConnectionInitMessage) -> None:
        await super().handle_connection_init(message)
        if self.context.anonymous and self._anonymous_timeout is None:
            self._anonymous_timeout = asyncio.create_task(self._close_anonymous())

    async def _close_anonymous(self) -> None:
        """Closes an anonymous connection after a while: it can't subscribe to anything, only log in, for example."""
        await asyncio.sleep(ANONYMOUS_SECONDS)
        with suppress(RuntimeError):  # already closed
            await self.websocket.close(4403, "No credentials: connect again and send them in connection_init")

    async def shutdown(self) -> None:
        if self._anonymous_timeout:
            self._anonymous_timeout.cancel()
        await super().shutdown()

    async def handle_message(self, message: Any) -> None:
        if not _is_message(message):
            await self.handle_invalid_message("The message is not a valid graphql-transport-ws message")
        elif message["type"] == "subscribe" and self.connection_acknowledged:
            await self._subscribe(message)
        else:
            await super().handle_message(message)

    async def _subscribe(self, message: Any) -> None:
        payload, context = message["payload"], self.context.context
        try:
            if self.rate:
                await self.rate.count(context)
            if self.load.is_full:
                raise Unavailable(OVERLOADED_MESSAGE)
            self._check_count(message["id"])
            query, name = self.documents.text_of(payload), operation_name_of(payload)
            check_variables(payload.get("variables"))
            if not isinstance(query, str) or not query:
                raise BadRequest("`query` must be a string that holds a GraphQL document.")
        except ProductError as error:
            formatted: Any = graphql_error(str(error), error.code, context.request_id)
            await self.send_message(ErrorMessage(id=message["id"], type="error", payload=[formatted]))
            return
        message["payload"] = {**payload, "query": query, "operationName": name}
        await super().handle_message(message)

    def _check_count(self, operation_id: str) -> None:
        """Raises TooManyOperations. Ignores an id already in use, for which strawberry closes the connection."""
        most = self.max_subscriptions_per_connection
        if most is not None and len(self.operations) >= most and operation_id not in self.operations:
            raise TooManyOperations

    async def handle_task_exception(self, error: Exception) -> None:
        log.error("operation failed", error=type(error).__name__, where=where(error))


def _is_message(message: Any) -> bool:
    if not isinstance(message, dict) or not isinstance(message.get("id", ""), str):
        return False
    if message.get("type") not in _TYPES:
        return False
    return message.get("type") != "subscribe" or ("id" in message and _is_operation(message.get("payload")))


def _is_operation(payload: Any) -> bool:
    """Whether the types of the payload's fields are valid. `_subscribe` checks the document or its hash."""
    if not isinstance(payload, dict) or not isinstance(payload.get("query", ""), str):
        return False
    variables, name = payload.get("variables"), payload.get("operationName")
    return isinstance(variables, dict | None) and isinstance(name, str | None)
