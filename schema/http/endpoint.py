"""The GraphQL endpoint over HTTP and WebSocket.

Implements the GraphQL over HTTP specification and the graphql-transport-ws protocol.
"""

from datetime import timedelta
from json import JSONDecodeError

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL
from strawberry.exceptions import ConnectionRejectionError, MissingQueryError
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL
from strawberry.types.graphql import OperationType
from strawberry.types.unset import UNSET, UnsetType

from edge.admission import Load
from edge.answers import retry_headers
from edge.body import parse_json
from edge.credentials import (
    address_of,
    authenticate_of,
    context_of,
    context_of_connection,
    credentials_of,
    lasting_context_of,
)
from edge.headers import header
from edge.rates import Rate
from edge.websocket import ADMITTED, AnonymousSocketCounter
from models.errors import BadRequest, ProductError, RateLimited, Unauthenticated
from schema import Schema
from schema.context import GraphQLContext
from schema.http.negotiation import EVENT_STREAM, GRAPHQL, JSON, negotiate
from schema.http.page import GraphiQLPage
from schema.http.parameters import Parameters, RequestError, parameters_of
from schema.http.result import graphql_fault, refuse, to_response
from schema.http.sse import EventStream, once
from schema.http.trusted_documents import AnyDocument
from schema.http.websocket import WebSocketHandler

GRAPHQL_PATH = "/graphql"
INIT_TIMEOUT = timedelta(seconds=5)
MAX_SUBSCRIPTIONS = 20
IDENTIFIED = "email_inbox.identified"
"""Key in the scope of a WebSocket of the callback that reports that its client has credentials."""

_SINGLE_RESULT_TYPES = {OperationType.QUERY, OperationType.MUTATION}


class GraphQLEndpoint(GraphQL[GraphQLContext, None]):
    """The ASGI application at `/graphql`."""

    schema: Schema

    def __init__(
        self, schema: Schema, page: GraphiQLPage | None, documents: AnyDocument, rate: Rate | None, load: Load
    ) -> None:
        super().__init__(
            schema,
            subscription_protocols=(GRAPHQL_TRANSPORT_WS_PROTOCOL,),
            connection_init_wait_timeout=INIT_TIMEOUT,
            max_subscriptions_per_connection=MAX_SUBSCRIPTIONS,
            allowed_origins=["*"],  # `SameOrigin` checks origins for both APIs
        )
        handler = {"documents": documents, "rate": rate, "load": load}
        self.graphql_transport_ws_handler_class = type("Handler", (WebSocketHandler,), handler)
        self._documents = documents
        self._anonymous = AnonymousSocketCounter()
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._connect(scope, receive, send)
            return
        response = await self._respond(scope, receive)
        await response(scope, receive, send)

    async def _respond(self, scope: Scope, receive: Receive) -> Response:
        wanted = negotiate(header(scope, b"accept"))
        if self._page and wanted.html and _asks_for_page(scope):
            return self._page.response()
        media = wanted.media
        try:
            if media is None and not wanted.events:
                raise RequestError(406, f"The answer is {JSON}, {GRAPHQL} or {EVENT_STREAM}.")
            return await self._run(scope, await parameters_of(scope, receive, self._documents), media, wanted.events)
        except RequestError as refused:
            return refuse(scope, media or JSON, refused.status, str(refused), refused.headers)
        except ProductError as error:
            return refuse(scope, media or JSON, error.status, str(error), retry_headers(error), error.code)

    async def _run(self, scope: Scope, parameters: Parameters, media: str | None, events: bool) -> Response:
        reading = scope["method"] == "GET"
        try:
            result = await self.schema.execute(
                parameters.query,
                variable_values=parameters.variables,
                operation_name=parameters.operation_name,
                context_value=GraphQLContext(context_of(scope, "graphql")),
                allowed_operation_types={OperationType.QUERY} if reading else _SINGLE_RESULT_TYPES,
            )
        except InvalidOperationTypeError as error:
            if error.operation_type is OperationType.SUBSCRIPTION and events:
                return await self._subscribe(scope, parameters)
            raise _unsupported_operation(error, reading) from None
        except CannotGetOperationTypeError as error:
            raise BadRequest(error.as_http_error_reason()) from None
        except MissingQueryError:
            raise BadRequest("`query` must be a GraphQL document.") from None
        return to_response(result, media) if media else EventStream(once(result))

    async def _subscribe(self, scope: Scope, parameters: Parameters) -> Response:
        """Refuses invalid credentials before the stream starts. If there are none, the operation itself reports it."""
        await authenticate_of(scope)()
        results = await self.schema.subscribe(
            parameters.query,
            variable_values=parameters.variables,
            operation_name=parameters.operation_name,
            context_value=GraphQLContext(lasting_context_of(scope, "sse")),
        )
        return EventStream(results)

    # ------------------------------------------------------------------------------------------------- WebSocket

    async def _connect(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            leave = self._anonymous.enter(address_of(scope), scope["app"].state.context.observer)
        except ProductError as error:
            await graphql_fault(error, scope["request_id"])(scope, receive, send)
            return
        scope[IDENTIFIED] = leave
        try:
            await super().__call__(scope, receive, send)
        finally:
            leave()

    def decode_json(self, data: str | bytes) -> object:
        """Parses JSON. Raises JSONDecodeError if the data is invalid or nested too deeply."""
        try:
            return parse_json(data)
        except ValueError:
            raise JSONDecodeError("", "", 0) from None

    async def get_context(
        self,
        request: Request | WebSocket,
        response: Response | WebSocket,  # noqa: ARG002 - the signature is strawberry's
    ) -> GraphQLContext:
        scope = request.scope
        return GraphQLContext(
            context_of_connection(scope, "websocket"),
            request.app.state.authenticator,
            admit=scope["state"].get(ADMITTED),
            identified=scope[IDENTIFIED],
        )

    async def on_ws_connect(self, context: GraphQLContext) -> UnsetType:
        """Authenticates the client. Refuses invalid credentials with 4403; without any, only public operations run."""
        connection = context.context
        assert context.authenticator
        try:
            credentials = credentials_of(context.connection_params or {})
            authenticate = context.authenticator.cached_caller(credentials, connection.address, seconds=0)
            caller = await authenticate()
        except (Unauthenticated, RateLimited):
            raise ConnectionRejectionError from None
        context.admitted(anonymous=caller is None)
        context.context = connection.acting_as(authenticate)
        unset: UnsetType = UNSET
        return unset


def _asks_for_page(scope: Scope) -> bool:
    return scope["method"] == "GET" and "query" not in QueryParams(scope["query_string"])


def _unsupported_operation(error: InvalidOperationTypeError, reading: bool) -> RequestError:
    if error.operation_type is OperationType.SUBSCRIPTION:
        return RequestError(
            400, f"Run subscriptions over WebSocket (graphql-transport-ws), or with Accept: {EVENT_STREAM}."
        )
    return RequestError(405, "Send mutations with POST.", {"Allow": "POST"} if reading else {})
