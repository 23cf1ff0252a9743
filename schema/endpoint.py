"""GraphQL over HTTP and WebSocket: requests in, answers out. Knows no noun.

Follows the GraphQL over HTTP specification and the graphql-transport-ws protocol.
"""

from datetime import timedelta
from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL
from strawberry.exceptions import ConnectionRejectionError, MissingQueryError
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import BaseGraphQLTransportWSHandler
from strawberry.types import ExecutionResult
from strawberry.types.graphql import OperationType
from strawberry.types.unset import UNSET, UnsetType

from edge.answers import JsonAnswer, retry_headers
from edge.credentials import context_of, context_of_connection, credentials_of
from models.errors import BadRequest, ProductError, RateLimited, Unauthenticated, where
from schema import Schema
from schema.context import GraphQLContext
from schema.negotiation import GRAPHQL, JSON, media_type, wants_html
from schema.page import Page
from schema.parameters import Parameters, RequestError, parameters_of

INIT_TIMEOUT = timedelta(seconds=5)
MAX_SUBSCRIPTIONS = 20

log = structlog.get_logger()

_MESSAGE_TYPES = ("connection_init", "ping", "pong", "subscribe", "complete")
_OVER_POST = {OperationType.QUERY, OperationType.MUTATION}
_STATUS_OF_CODE = {"SERVICE_UNAVAILABLE": 503, "RATE_LIMITED": 429}


class WebSocketHandler(BaseGraphQLTransportWSHandler[GraphQLContext, None]):
    """Closes with the protocol's code what is JSON but no message."""

    async def handle_message(self, message: Any) -> None:
        if _is_message(message):
            await super().handle_message(message)
        else:
            await self.handle_invalid_message("The message is not one of graphql-transport-ws")

    async def handle_task_exception(self, error: Exception) -> None:
        log.error("operation failed", error=type(error).__name__, where=where(error))


class Endpoint(GraphQL[GraphQLContext, None]):
    """The ASGI application at `/graphql`."""

    graphql_transport_ws_handler_class = WebSocketHandler
    schema: Schema

    def __init__(self, schema: Schema, page: Page | None, origins: list[str]) -> None:
        super().__init__(
            schema,
            subscription_protocols=(GRAPHQL_TRANSPORT_WS_PROTOCOL,),
            connection_init_wait_timeout=INIT_TIMEOUT,
            max_subscriptions_per_connection=MAX_SUBSCRIPTIONS,
            allowed_origins=origins,
        )
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await super().__call__(scope, receive, send)
            return
        request = Request(scope, receive)
        response = await self._respond(request)
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        accept = request.headers.get("accept")
        if self._page and request.method == "GET" and "query" not in request.query_params and wants_html(accept):
            return self._page.response()
        media = media_type(accept)
        try:
            if media is None:
                raise RequestError(406, f"The answer is {JSON} or {GRAPHQL}.")
            return await self._run(request, await parameters_of(request), media)
        except RequestError as refused:
            return _refusal(request, media or JSON, refused.status, str(refused), refused.headers)
        except ProductError as error:
            return _refusal(request, media or JSON, error.status, str(error), retry_headers(error), error.code)

    async def _run(self, request: Request, parameters: Parameters, media: str) -> Response:
        reading = request.method == "GET"
        try:
            result = await self.schema.execute(
                parameters.query,
                variable_values=parameters.variables,
                operation_name=parameters.operation_name,
                context_value=GraphQLContext(context_of(request)),
                allowed_operation_types={OperationType.QUERY} if reading else _OVER_POST,
            )
        except InvalidOperationTypeError as error:
            raise _not_over_http(error, reading) from None
        except CannotGetOperationTypeError as error:
            raise BadRequest(error.as_http_error_reason()) from None
        except MissingQueryError:
            raise BadRequest("`query` must be a GraphQL document.") from None
        return _answer(result, media)

    # ------------------------------------------------------------------------------------------------- WebSocket

    async def get_context(
        self,
        request: Request | WebSocket,
        response: Response | WebSocket,  # noqa: ARG002 - the signature is strawberry's
    ) -> GraphQLContext:
        return GraphQLContext(context_of_connection(request), request.app.state.authenticator)

    async def on_ws_connect(self, context: GraphQLContext) -> UnsetType:
        """Asks who connects: bad credentials are refused with 4403; without any, only what is public can be run."""
        credentials = credentials_of(context.connection_params or {})
        world = context.context
        assert context.authenticator
        authenticate = context.authenticator.remembered(credentials, world.address, seconds=0)
        try:
            await authenticate()
        except (Unauthenticated, RateLimited):
            raise ConnectionRejectionError from None
        context.context = world.acting_as(authenticate, world.address, world.request_id)
        unset: UnsetType = UNSET
        return unset


def _answer(result: ExecutionResult, media: str) -> Response:
    errors = result.errors or []
    refused = result.data is None and bool(errors) and all(error.path is None for error in errors)
    body: dict[str, Any] = {} if refused else {"data": result.data}
    if errors:
        body["errors"] = [error.formatted for error in errors]
    codes = [(error.extensions or {}).get("code") for error in errors]
    status = next((_STATUS_OF_CODE[code] for code in codes if code in _STATUS_OF_CODE), 200)
    if status == 200 and refused and media == GRAPHQL:
        status = 400
    waits = [seconds for error in errors if (seconds := getattr(error, "retry_after", None))]
    return _typed(JsonAnswer(body, status, {"Retry-After": str(max(waits))} if waits else {}), media)


def _refusal(
    request: Request, media: str, status: int, message: str, headers: dict[str, str], code: str = "BAD_USER_INPUT"
) -> Response:
    extensions = {"code": code, "requestId": request.scope["request_id"]}
    return _typed(JsonAnswer({"errors": [{"message": message, "extensions": extensions}]}, status, headers), media)


def _typed(response: Response, media: str) -> Response:
    response.headers["content-type"] = f"{media}; charset=utf-8"
    return response


def _not_over_http(error: InvalidOperationTypeError, reading: bool) -> RequestError:
    if error.operation_type is OperationType.SUBSCRIPTION:
        return RequestError(400, "Subscriptions are run over WebSocket, with the protocol graphql-transport-ws.")
    return RequestError(405, "Mutations are sent by POST.", {"Allow": "POST"} if reading else {})


def _is_message(message: Any) -> bool:
    if not isinstance(message, dict) or not isinstance(message.get("id", ""), str):
        return False
    if message.get("type") not in _MESSAGE_TYPES:
        return False
    return message.get("type") != "subscribe" or _is_operation(message.get("payload"))


def _is_operation(payload: Any) -> bool:
    if not isinstance(payload, dict) or not isinstance(payload.get("query"), str):
        return False
    variables, name = payload.get("variables"), payload.get("operationName")
    return isinstance(variables, dict | None) and isinstance(name, str | None)
