"""Python's `gql`: httpx for queries and mutations, a WebSocket for subscriptions.

Knows nothing of the code of the server.
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from gql import Client, GraphQLRequest
from gql.transport.exceptions import TransportConnectionFailed, TransportQueryError
from gql.transport.httpx import HTTPXAsyncTransport
from gql.transport.websockets import WebsocketsTransport
from websockets.exceptions import ConnectionClosed

WAIT_SECONDS = 0.5
BAD_CREDENTIALS = 4403

LOG_IN = """
    mutation ($username: String!, $password: String!) {
        login(username: $username, password: $password) { token userErrors { code message } }
    }
"""
SET_INBOX = """
    mutation ($input: SetEmailInboxInput!) {
        setEmailInbox(input: $input) { success emailInbox { id version } userErrors { code message field } }
    }
"""
INBOXES = """
    query ($first: Int, $after: String) {
        emailInboxes(first: $first, after: $after) { nodes { id name } pageInfo { hasNextPage endCursor } }
    }
"""
CHANGES = """
    subscription ($after: String) {
        emailInboxChanged(after: $after) { cursor kind id emailInbox { name version } }
    }
"""


def over_http(url: str, token: str | None = None) -> Client:
    """For queries and mutations. `url` ends with /graphql."""
    return Client(transport=HTTPXAsyncTransport(url=url, headers=credentials(token)))


def over_websocket(url: str, token: str | None = None) -> Client:
    """For subscriptions; queries and mutations go as well."""
    address = url.replace("http", "ws", 1)
    return Client(transport=WebsocketsTransport(url=address, init_payload=credentials(token)))


def credentials(token: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def request(text: str, **variables: Any) -> GraphQLRequest:
    return GraphQLRequest(text, variable_values=variables)


async def log_in(url: str, username: str, password: str) -> str:
    """The token. Raises PermissionError."""
    async with over_http(url) as session:
        found = await session.execute(request(LOG_IN, username=username, password=password))
    if found["login"]["userErrors"]:
        raise PermissionError(found["login"]["userErrors"][0]["message"])
    token: str = found["login"]["token"]
    return token


async def set_inbox(url: str, token: str, values: dict[str, Any]) -> dict[str, Any]:
    """The inbox as stored. Raises ValueError with every problem of the input."""
    async with over_http(url, token) as session:
        payload = (await session.execute(request(SET_INBOX, input=values)))["setEmailInbox"]
    if not payload["success"]:
        raise ValueError({".".join(error["field"] or []): error["message"] for error in payload["userErrors"]})
    inbox: dict[str, Any] = payload["emailInbox"]
    return inbox


async def inboxes(url: str, token: str, page_size: int = 50) -> AsyncGenerator[dict[str, Any], None]:
    """Every inbox, fetched page by page while you read."""
    after = None
    async with over_http(url, token) as session:
        while True:
            found = await session.execute(request(INBOXES, first=page_size, after=after))
            for inbox in found["emailInboxes"]["nodes"]:
                yield inbox
            if not found["emailInboxes"]["pageInfo"]["hasNextPage"]:
                return
            after = found["emailInboxes"]["pageInfo"]["endCursor"]


async def changes(url: str, token: str, after: str | None = None) -> AsyncGenerator[dict[str, Any], None]:
    """Every change after the cursor, or from now on, through lost connections: none is missed and none comes twice.

    Raises PermissionError where the server does not take the token, and TransportQueryError where it refuses.
    """
    while True:
        try:
            async with over_websocket(url, token) as session:
                async for found in session.subscribe(request(CHANGES, after=after)):
                    after = found["emailInboxChanged"]["cursor"]
                    yield found["emailInboxChanged"]
        except (TransportConnectionFailed, TransportQueryError) as error:
            if closing_code(error) == BAD_CREDENTIALS:
                raise PermissionError("The server does not take this token.") from error
            if isinstance(error, TransportQueryError) and not is_passing(error):
                raise
        await asyncio.sleep(WAIT_SECONDS)


def closing_code(error: Exception) -> int | None:
    """The code that the server closed the WebSocket with."""
    closed = error.__cause__
    return closed.rcvd.code if isinstance(closed, ConnectionClosed) and closed.rcvd else None


def is_passing(error: TransportQueryError) -> bool:
    """Whether to come back helps."""
    codes = {found["extensions"]["code"] for found in error.errors or []}
    return bool(codes & {"SERVICE_UNAVAILABLE", "RATE_LIMITED"})
