"""A server on a real socket in the test's event loop, and a client for its WebSocket."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import uvicorn
import websockets
from websockets.asyncio.client import ClientConnection

from edge.metrics import Metrics
from edge.serving import UVICORN_OPTIONS
from server import create_app
from settings import Settings
from tests.running import ADMIN_HEADERS, Running, client_of, types_built_once

PROTOCOL = "graphql-transport-ws"
DEADLINE = 10.0


@asynccontextmanager
async def listening(settings: Settings, metrics: Metrics | None = None) -> AsyncIterator[tuple[Running, str]]:
    """Starts a server; yields it and the address of its WebSocket."""
    with types_built_once():
        app = create_app(settings, metrics)
    config = uvicorn.Config(app, port=0, **UVICORN_OPTIONS)
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    serving = asyncio.create_task(server._serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for that
        await asyncio.sleep(0)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        async with client_of(app, ADMIN_HEADERS) as client:
            yield Running(app, client, settings), f"ws://127.0.0.1:{port}/graphql"
    finally:
        server.should_exit = True
        await serving


@dataclass
class Subscriber:
    """A client that sends single messages of graphql-transport-ws."""

    socket: ClientConnection
    ids: int = field(default=0)

    async def send(self, message: Any) -> None:
        await self.socket.send(message if isinstance(message, str) else json.dumps(message))

    async def receive(self) -> dict[str, Any]:
        async with asyncio.timeout(DEADLINE):
            found: dict[str, Any] = json.loads(await self.socket.recv())
        return found

    async def start(self, query: str, **variables: Any) -> str:
        """Subscribes, and returns once the server has processed it: it handles the messages of a socket in order."""
        self.ids += 1
        payload = {"query": query, "variables": variables}
        await self.send({"id": str(self.ids), "type": "subscribe", "payload": payload})
        await self.send({"type": "ping"})
        assert (await self.receive())["type"] == "pong"
        return str(self.ids)

    async def next(self) -> dict[str, Any]:
        """Returns the data of the next event."""
        message = await self.receive()
        assert message["type"] == "next", message
        found: dict[str, Any] = message["payload"]["data"]
        return found

    async def closed(self) -> tuple[int, str]:
        """Waits for the close. Returns the code and the reason from the server."""
        async with asyncio.timeout(DEADLINE):
            with suppress(websockets.ConnectionClosedError):
                async for _ in self.socket:
                    pass
            await self.socket.wait_closed()
        assert self.socket.close_code is not None
        return self.socket.close_code, self.socket.close_reason or ""


@asynccontextmanager
async def connected(
    url: str, parameters: dict[str, Any] | None = ADMIN_HEADERS, **options: Any
) -> AsyncIterator[Subscriber]:
    """Connects a subscriber; with parameters, waits for the server's acknowledgement."""
    async with websockets.connect(url, subprotocols=[websockets.Subprotocol(PROTOCOL)], **options) as socket:
        subscriber = Subscriber(socket)
        if parameters is not None:
            await subscriber.send({"type": "connection_init", "payload": parameters})
            assert await subscriber.receive() == {"type": "connection_ack"}
        yield subscriber
