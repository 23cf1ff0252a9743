"""No bad input is a fault: random JSON, bytes, headers and messages at every door, by hypothesis. `FUZZ=full`: more.

Every answer is JSON of the shape that is documented, and comes in time; what is refused leaves nothing behind.
"""

import asyncio
import gc
import json
import os
import random
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import websockets
from cachetools import LRUCache
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.config import InboxConfig
from server import prepare
from tests.api import JSON_TYPE, SET
from tests.inboxes import inbox_values, leaves
from tests.running import ADMIN_HEADERS, client_of, settings_for
from tests.sockets import Subscriber, connected, listening

LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)
PATHS = [*leaves(InboxConfig, between="__"), "imap__unknown", "unknown", "smtp", "imap"]
CHANGES = st.dictionaries(st.sampled_from([path for path in PATHS if path not in ("smtp", "imap")]), VALUES, max_size=4)

FULL = os.environ.get("FUZZ") == "full"
EXAMPLES = settings(
    max_examples=5_000 if FULL else 150,
    deadline=None,
    derandomize=not FULL,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
SECONDS = 10.0
"""Within this every answer comes, on the slowest machine."""

pytestmark = pytest.mark.timeout(3_600 if FULL else 120)


class Door:
    """A server whose requests are sent from tests that are not async themselves, as hypothesis wants them."""

    def __init__(self, folder: Path) -> None:
        self.loop = asyncio.new_event_loop()
        self.loop.run_until_complete(prepare(settings_for(folder)))
        self._world = listening(settings_for(folder))
        self.server, self.url = self.loop.run_until_complete(self._world.__aenter__())

    def send(self, method: str, path: str, client: httpx.AsyncClient | None = None, **options: Any) -> int:
        """The status of the answer, whose body was held against what is documented."""
        return self.loop.run_until_complete(self._send(client or self.server.client, method, path, options))

    async def _send(self, client: httpx.AsyncClient, method: str, path: str, options: dict[str, Any]) -> int:
        async with asyncio.timeout(SECONDS):
            answer = await client.request(method, path, **options)
        (graphql_shape if path == "/graphql" else rest_shape)(answer)
        return answer.status_code

    def say(self, *messages: Any) -> int | None:
        """The code that the WebSocket is closed with after these messages; None where it is still of use."""
        return self.loop.run_until_complete(self._say(messages))

    async def _say(self, messages: tuple[Any, ...]) -> int | None:
        async with asyncio.timeout(SECONDS), connected(self.url) as subscriber:
            try:
                for message in messages:
                    await subscriber.socket.send(message)
                await subscriber.send({"type": "ping"})
                while not is_pong(await subscriber.receive()):
                    pass
            except websockets.ConnectionClosed:
                return (await subscriber.closed())[0]
            return None

    def close(self) -> None:
        self.loop.run_until_complete(self._world.__aexit__(None, None, None))
        self.loop.close()


def rest_shape(answer: httpx.Response) -> None:
    """A success, or a failure that says why."""
    body = answer.json()
    assert answer.headers["Content-Type"] == "application/json"
    if answer.status_code == 200:
        assert body.get("success") is True or body.get("status") == "success"
    else:
        assert body["success"] is False
        assert isinstance(body["error"], str)


def graphql_shape(answer: httpx.Response) -> None:
    """`data` or `errors`, each with its code and the id of the request."""
    body = answer.json()
    kinds = ("application/json; charset=utf-8", "application/graphql-response+json; charset=utf-8", "application/json")
    assert answer.headers["Content-Type"] in kinds
    assert set(body) in ({"data"}, {"errors"}, {"data", "errors"})
    for error in body.get("errors", []):
        assert isinstance(error["message"], str)
        assert error["extensions"]["code"] != "INTERNAL_SERVER_ERROR"
        assert error["extensions"]["requestId"] == answer.headers["X-Request-Id"]


def is_pong(message: dict[str, Any]) -> bool:
    """Whether this is the end of what the server has to say; every message that it sends has a type."""
    assert message["type"] in ("next", "error", "complete", "pong", "ping"), message
    return bool(message["type"] == "pong")


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    opened = Door(tmp_path_factory.mktemp("fuzz"))
    yield opened
    opened.close()


@given(changes=CHANGES)
@EXAMPLES
def test_no_inbox_is_too_strange(door: Door, changes: dict[str, Any]) -> None:
    values = inbox_values(**changes)
    rest = json.dumps({("_id" if name == "id" else name): value for name, value in values.items()})
    assert door.send("POST", "/api/v1/email-inbox", content=rest, headers=JSON_TYPE) in (200, 400)
    graphql = json.dumps({"query": SET, "variables": {"input": values}})
    assert door.send("POST", "/graphql", content=graphql, headers=JSON_TYPE) in (200, 400)


@given(body=VALUES.map(json.dumps).map(str.encode) | st.binary(max_size=200))
@EXAMPLES
def test_no_body_is_too_strange(door: Door, body: bytes) -> None:
    for path in ("email-inbox", "login"):
        assert door.send("POST", f"/api/v1/{path}", content=body, headers=JSON_TYPE) in (200, 400)
    assert door.send("POST", "/graphql", content=body, headers=JSON_TYPE) in (200, 400)


@given(query=st.text(max_size=40), variables=VALUES)
@EXAMPLES
def test_no_query_is_too_strange(door: Door, query: str, variables: Any) -> None:
    headers = {"Content-Type": "application/json"}
    for document in (query, f"{{ emailInboxes(filter: {{ search: {json.dumps(query)} }}) {{ totalCount }} }}"):
        body = json.dumps({"query": document, "variables": variables, "operationName": query})
        assert door.send("POST", "/graphql", content=body, headers=headers) in (200, 400)


@given(name=st.sampled_from(["count", "offset", "sort", "email"]), value=st.text(max_size=30))
@EXAMPLES
def test_no_query_string_is_too_strange(door: Door, name: str, value: str) -> None:
    encodable = value.encode("utf-8", "replace").decode()
    for path in ("email-inbox.list", "email-inbox.search"):
        assert door.send("GET", f"/api/v1/{path}", params={name: encodable}) in (200, 400)
    assert door.send("GET", "/graphql", params={"query": encodable, "variables": encodable}) in (200, 400)


@given(inbox_id=st.text(min_size=1, max_size=30))
@EXAMPLES
def test_no_path_is_too_strange(door: Door, inbox_id: str) -> None:
    path = quote(inbox_id.encode("utf-8", "replace"), safe="")
    for method in ("GET", "DELETE"):
        assert door.send(method, f"/api/v1/email-inbox/{path}") in (200, 404, 405)
    assert door.send("POST", f"/api/v1/email-inbox.send-test/{path}") in (400, 404)


HEADER_NAMES = ["Accept", "Content-Type", "X-Request-Id", "Authorization", "X-User-Id", "X-Auth-Token", "Origin"]
HEADER_VALUES = st.binary(max_size=40) | st.sampled_from(
    [
        b"application/json; q=nan",
        b"*/*; q=1e999",
        b"text/html",
        b"application/json; charset=\xff",
        b"Bearer",
        b"bearer  ",
    ]
)
HEADERS = st.dictionaries(st.sampled_from(HEADER_NAMES), HEADER_VALUES, max_size=4)


@given(headers=HEADERS)
@EXAMPLES
def test_no_header_is_too_strange(door: Door, headers: dict[str, bytes]) -> None:
    given = [(name.encode(), value) for name, value in headers.items()]
    stranger = client_of(door.server.app, {})
    body = b'{"query": "{ viewer { id } }"}'
    assert door.send("POST", "/graphql", stranger, content=body, headers=given) in (200, 400, 403, 406, 415, 429)
    for method, path in (("GET", "me"), ("GET", "email-inbox.list"), ("POST", "email-inbox")):
        refused = (401, 403, 415, 429) if method == "POST" else (401, 429)
        assert door.send(method, f"/api/v1/{path}", stranger, content=body, headers=given) in refused
    known = {name.lower() for name in headers} & {"authorization", "x-user-id", "x-auth-token"}
    if not known:
        admin = [*given, *((name.encode(), value.encode()) for name, value in ADMIN_HEADERS.items())]
        assert door.send("GET", "/api/v1/me", stranger, headers=admin) == 200


@given(length=st.integers(-1, 10**30).map(str) | st.text("0123456789\u0663-+ e.", max_size=8) | st.just("9" * 5_000))
@EXAMPLES
def test_no_length_is_too_strange(door: Door, length: str) -> None:
    headers = [(b"Content-Type", b"application/json"), (b"Content-Length", length.encode())]
    for path in ("/graphql", "/api/v1/email-inbox"):
        assert door.send("POST", path, content=b"{}", headers=headers) in (400, 413)


# ----------------------------------------------------------------------------------------------------------- WebSocket

CLOSED = (1003, 1007, 4400, 4409, 4429)
"""What the protocol, or the one below it, closes with: never 1011, a fault."""
PAYLOADS = VALUES | st.fixed_dictionaries(
    {}, optional={"query": VALUES | st.just("{ viewer { id } }"), "variables": VALUES, "operationName": VALUES}
)
MESSAGES = st.fixed_dictionaries(
    {},
    optional={
        "id": st.text(max_size=3) | VALUES,
        "type": st.sampled_from(["connection_init", "ping", "pong", "subscribe", "complete", "next", ""]) | VALUES,
        "payload": PAYLOADS,
    },
)


@given(messages=st.lists((MESSAGES | VALUES).map(json.dumps), min_size=1, max_size=3))
@EXAMPLES
def test_no_message_is_too_strange(door: Door, messages: list[str]) -> None:
    assert door.say(*messages) in (None, *CLOSED)


@given(message=st.text(max_size=40).map(lambda text: text.encode("utf-8", "replace").decode()) | st.binary(max_size=40))
@EXAMPLES
def test_no_text_is_too_strange_for_a_message(door: Door, message: str | bytes) -> None:
    assert door.say(message) in (None, *CLOSED)


@given(payload=VALUES | st.dictionaries(st.sampled_from(HEADER_NAMES), VALUES, max_size=4))
@EXAMPLES
def test_no_connection_parameters_are_too_strange(door: Door, payload: Any) -> None:
    async def introduce() -> int:
        async with asyncio.timeout(SECONDS), connected(door.url, None) as subscriber:
            await subscriber.send({"type": "connection_init", "payload": payload})
            return await end_of(subscriber)

    assert door.loop.run_until_complete(introduce()) in (0, 4400, 4403)


async def end_of(subscriber: Subscriber) -> int:
    """The code that the connection is closed with; 0 where it is acknowledged."""
    try:
        assert await subscriber.receive() == {"type": "connection_ack"}
    except websockets.ConnectionClosed:
        return (await subscriber.closed())[0]
    return 0


# -------------------------------------------------------------------------------------------------------------- memory

REQUESTS = 20_000 if FULL else 1_000
WARM_UP = 400
"""After so many, the caches of the HTTP client are as full as they get."""


def bad_requests(count: int, seed: int) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """The same ones each time, no two alike, of a thousand bytes and more."""
    drawn = random.Random(seed)
    for number in range(count):
        junk = drawn.randbytes(500)
        text = junk.hex()
        requests: list[tuple[str, str, dict[str, Any]]] = [
            ("POST", "/graphql", {"content": junk + junk, "headers": {"Content-Type": "application/json"}}),
            ("POST", "/graphql", {"json": {"query": f"{{ f{text} }}", "variables": {text: text}}}),
            ("GET", "/graphql", {"params": {"query": f"query q{text} {{ viewer {{ id }} }}"}}),
            ("POST", "/api/v1/email-inbox", {"json": {text: text, "name": text, "_id": text}}),
            ("POST", "/api/v1/email-inbox", {"content": b"[" * 100_000}),
            ("GET", f"/api/v1/email-inbox/{text}", {}),
            ("GET", "/api/v1/email-inbox.list", {"params": {"sort": text}}),
            ("GET", "/api/v1/me", {"headers": {"Authorization": f"Bearer {text}", "X-Request-Id": text}}),
        ]
        yield requests[number % len(requests)]


def test_bad_requests_leave_nothing_behind(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    routes: list[Any] = [*door.server.app.routes]
    documents = next(route.endpoint.schema._documents for route in routes if route.path == "/graphql")
    for name in ("documents", "answers"):
        monkeypatch.setattr(documents, name, LRUCache(20))  # soon full, so that it has no part in the growth
    tracemalloc.start()
    try:
        kept = []
        for count, seed in ((WARM_UP, 1), (REQUESTS, 2)):
            for method, path, options in bad_requests(count, seed):
                assert door.send(method, path, **options) < 500
            gc.collect()
            kept.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert kept[1] - kept[0] < REQUESTS * 1_000 / 10, "a tenth of what was sent"
