"""What a stranger sends over a WebSocket costs little before it is known who sends it, and is refused by a code."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from typing import Any

import httpx
import pytest
import websockets
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame, Opcode

from edge import websocket
from edge.body import MAX_BODY_BYTES
from edge.websocket import MAX_ANONYMOUS_PER_ADDRESS, MAX_FIRST_MESSAGE, MAX_FRAMES, AnonymousSocketCounter
from models.errors import Unavailable
from models.observer import Observer
from schema.http import websocket as messages
from schema.http.endpoint import MAX_SUBSCRIPTIONS
from schema.http.trusted_documents import MAX_VALUES
from settings import Settings
from tests.running import ADMIN_HEADERS, Running
from tests.sockets import PROTOCOL, connected, listening

INIT = {"type": "connection_init", "payload": ADMIN_HEADERS}
FOLLOW = "subscription { emailInboxChanged { id } }"


@pytest.fixture
async def live(settings: Settings) -> AsyncIterator[tuple[Running, str]]:
    async with listening(settings) as found:
        yield found


async def test_nothing_is_compressed(live: tuple[Running, str]) -> None:
    async with websockets.connect(live[1], subprotocols=[websockets.Subprotocol(PROTOCOL)]) as opened:
        assert opened.response
        assert "Sec-WebSocket-Extensions" not in opened.response.headers


@pytest.mark.parametrize(("size", "code"), [(MAX_FIRST_MESSAGE - 100, 4400), (MAX_FIRST_MESSAGE + 1, 1009)])
async def test_messages_are_small_until_the_client_is_known(live: tuple[Running, str], size: int, code: int) -> None:
    async with connected(live[1], None) as subscriber:
        await subscriber.send(json.dumps({"type": "unknown", "text": "a" * size}))
        assert (await subscriber.closed())[0] == code


async def test_messages_may_be_large_once_the_client_is_known(live: tuple[Running, str]) -> None:
    async with connected(live[1]) as subscriber:
        await subscriber.send({"type": "ping", "payload": {"text": "a" * (MAX_BODY_BYTES - 100)}})
        assert (await subscriber.receive())["type"] == "pong"
        await subscriber.send({"type": "ping", "payload": {"text": "a" * MAX_BODY_BYTES}})
        assert (await subscriber.closed())[0] == 1009


async def test_a_message_in_too_many_pieces_is_too_big(live: tuple[Running, str]) -> None:
    async with connected(live[1], None) as subscriber:

        async def pieces() -> AsyncIterator[str]:
            for _ in range(MAX_FRAMES + 2):
                yield ""

        with suppress(websockets.ConnectionClosed):
            await subscriber.socket.send(pieces())
        assert (await subscriber.closed())[0] == 1009


async def test_many_frames_at_once_keep_nobody_waiting(live: tuple[Running, str], monkeypatch: Any) -> None:
    """In one turn of the event loop no more is read than a slice."""
    largest = 0
    read = WebSocketsSansIOProtocol.data_received

    def measured(self: Any, data: bytes) -> None:
        nonlocal largest
        largest = max(largest, len(data))
        read(self, data)

    monkeypatch.setattr(WebSocketsSansIOProtocol, "data_received", measured)
    async with connected(live[1], None) as subscriber:
        pong = b"".join([Frame(Opcode.PONG, b"").serialize(mask=True)] * 20_000)
        subscriber.socket.transport.write(pong)
        await subscriber.send(INIT)
        assert (await subscriber.receive())["type"] == "connection_ack"
    assert 0 < largest <= websocket.READ_BYTES_PER_TURN


@pytest.mark.parametrize("depth", [150, 900, 2_000])
async def test_a_message_however_deep_is_refused_by_a_code_of_the_protocol(
    live: tuple[Running, str], depth: int
) -> None:
    deep = "[" * depth + "]" * depth
    async with connected(live[1], None) as subscriber:
        await subscriber.send(f'{{"type": {deep}}}')
        assert (await subscriber.closed())[0] == 4400
    async with connected(live[1], None) as subscriber:
        await subscriber.send(f'{{"type": "connection_init", "payload": {deep}}}')
        assert (await subscriber.closed())[0] == 4400


async def test_one_subscription_too_many_is_refused_and_the_connection_stays(live: tuple[Running, str]) -> None:
    async with connected(live[1]) as subscriber:
        for _ in range(MAX_SUBSCRIPTIONS):
            await subscriber.start(FOLLOW)
        await subscriber.send({"id": "more", "type": "subscribe", "payload": {"query": FOLLOW}})
        refused = await subscriber.receive()
        assert (refused["id"], refused["type"]) == ("more", "error")
        assert refused["payload"][0]["extensions"]["code"] == "BAD_USER_INPUT"
        assert refused["payload"][0]["extensions"]["requestId"]
        await subscriber.send({"id": "1", "type": "complete"})
        await subscriber.start(FOLLOW)
        await subscriber.send({"id": "2", "type": "subscribe", "payload": {"query": FOLLOW}})
        assert (await subscriber.closed())[0] == 4409


async def test_more_variables_than_any_operation_takes_are_refused(live: tuple[Running, str]) -> None:
    async with connected(live[1]) as subscriber:
        payload = {"query": "{ __typename }", "variables": {"a": [1] * MAX_VALUES}}
        await subscriber.send({"id": "1", "type": "subscribe", "payload": payload})
        refused = (await subscriber.receive())["payload"][0]
        assert refused["extensions"]["code"] == "BAD_USER_INPUT"
        assert "variables" in refused["message"]


async def test_a_long_operation_name_is_refused(live: tuple[Running, str]) -> None:
    async with connected(live[1]) as subscriber:
        payload = {"query": "{ __typename }", "operationName": "a" * 100_000}
        await subscriber.send({"id": "1", "type": "subscribe", "payload": payload})
        assert (await subscriber.receive())["payload"][0]["extensions"]["code"] == "BAD_USER_INPUT"


async def test_sockets_without_credentials_are_few(live: tuple[Running, str]) -> None:
    server, url = live
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(connected(url, parameters)) for parameters in NAMELESS]
        with pytest.raises(websockets.InvalidStatus) as refused:
            await stack.enter_async_context(connected(url))
        assert refused.value.response.status_code == 503
        assert refused.value.response.headers["Retry-After"]
        metrics = (await server.client.get("/metrics")).text
        assert "email_inbox_websocket_refusals_total 1.0" in metrics
        await opened[0].send(INIT)
        assert (await opened[0].receive())["type"] == "connection_ack"
        await stack.enter_async_context(connected(url))
        await stack.enter_async_context(connected(url))


NAMELESS: list[dict[str, Any] | None] = [None, *[{}] * (MAX_ANONYMOUS_PER_ADDRESS - 1)]


async def test_a_refused_socket_is_no_fault_in_the_log(
    live: tuple[Running, str], caplog: pytest.LogCaptureFixture
) -> None:
    """Anybody could fill the log with errors otherwise."""
    with pytest.raises(websockets.InvalidStatus) as refused:
        await websockets.connect(
            live[1],
            subprotocols=[websockets.Subprotocol(PROTOCOL)],
            additional_headers={"Origin": "https://evil.example"},
        )
    assert refused.value.response.status_code == 403
    assert refused.value.response.body
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_sockets_of_one_ipv6_network_count_together() -> None:
    sockets, observer = AnonymousSocketCounter(), Observer()
    left = [sockets.enter(f"2001:db8::{number:x}", observer) for number in range(MAX_ANONYMOUS_PER_ADDRESS)]
    with pytest.raises(Unavailable):
        sockets.enter("2001:db8::ffff", observer)
    sockets.enter("2001:db8:0:1::1", observer)
    left[0]()
    sockets.enter("2001:db8::ffff", observer)


async def test_a_socket_that_is_closed_counts_no_more(live: tuple[Running, str]) -> None:
    for _ in range(2 * MAX_ANONYMOUS_PER_ADDRESS):
        async with connected(live[1], {}):
            pass


async def test_who_does_not_say_who_he_is_is_let_go(live: tuple[Running, str], monkeypatch: Any) -> None:
    monkeypatch.setattr(messages, "ANONYMOUS_SECONDS", 0.05)
    async with connected(live[1], {}) as nameless, connected(live[1]) as known:
        assert (await nameless.closed())[0] == 4403
        await known.send({"type": "ping"})
        assert (await known.receive())["type"] == "pong"


async def test_who_takes_no_pongs_is_read_no_further(live: tuple[Running, str]) -> None:
    """Answers that nobody takes are not gathered."""
    found = httpx.URL(live[1])
    assert await asyncio.to_thread(flooded, str(found.host), found.port or 0) < FLOOD


FLOOD = 64 * 1024 * 1024


def flooded(host: str, port: int) -> int:
    """Bytes of pings that a server reads of a client which reads nothing."""
    pings, sent = Frame(Opcode.PING, b"a" * 125).serialize(mask=True) * 1_000, 0
    with socket.create_connection((host, port), timeout=3) as connection, suppress(TimeoutError, ConnectionError):
        connection.sendall(HANDSHAKE)
        while sent < FLOOD:
            connection.sendall(pings)
            sent += len(pings)
    return sent


HANDSHAKE = b"\r\n".join(
    [
        b"GET /graphql HTTP/1.1",
        b"Host: localhost",
        b"Connection: Upgrade",
        b"Upgrade: websocket",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Protocol: graphql-transport-ws",
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        b"",
        b"",
    ]
)
