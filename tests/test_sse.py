"""Operations over server-sent events: the protocol graphql-sse in its mode of distinct connections."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import httpx
import pytest

import resolvers.inbox
import schema.http.sse
from resolvers.events import Events
from resolvers.throttle import Throttle
from settings import Settings
from tests.api import GraphQLApi
from tests.inboxes import inbox_values
from tests.process import PLAIN, environment_of, serving
from tests.running import ADMIN_HEADERS, Running
from tests.sockets import DEADLINE, listening
from tests.test_changes import CHANGES, member_of

EVENTS = "text/event-stream"
ANY = "application/graphql-response+json, application/json, text/event-stream, multipart/mixed"
"""What urql accepts."""


@pytest.fixture
async def live(settings: Settings) -> AsyncIterator[tuple[Running, str]]:
    async with listening(settings) as (server, url):
        yield server, url.replace("ws", "http", 1)


class Stream:
    """An answer of events, read one by one."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._blocks = self._split()

    async def _split(self) -> AsyncIterator[list[str]]:
        block: list[str] = []
        async for line in self.response.aiter_lines():
            if line:
                block.append(line)
            elif block:
                yield block
                block = []

    async def block(self) -> list[str] | None:
        """The lines of the next event or comment; None at the end."""
        async with asyncio.timeout(DEADLINE):
            return await anext(self._blocks, None)

    async def next(self) -> dict[str, Any]:
        block = await self.block()
        assert block is not None
        assert block[0] == "event: next", block
        found: dict[str, Any] = json.loads(block[1].removeprefix("data: "))
        return found

    async def change(self) -> dict[str, Any]:
        found: dict[str, Any] = (await self.next())["data"]["emailInboxChanged"]
        return found


@asynccontextmanager
async def stream(
    url: str, query: str, headers: dict[str, str] | None = None, method: str = "POST", **variables: Any
) -> AsyncIterator[Stream]:
    sent = {"Accept": EVENTS, **(ADMIN_HEADERS if headers is None else headers)}
    asked: dict[str, Any] = {"json": {"query": query, "variables": variables}}
    if method == "GET":
        asked = {"params": {"query": query, "variables": json.dumps(variables)}}
    async with (
        httpx.AsyncClient(timeout=DEADLINE, verify=PLAIN) as client,
        client.stream(method, url, headers=sent, **asked) as response,
    ):
        yield Stream(response)


@asynccontextmanager
async def following(live: tuple[Running, str], *given: Any, **variables: Any) -> AsyncIterator[Stream]:
    """A stream of changes that misses none from here on: the head of its answer is sent before it is one."""
    server, url = live
    async with stream(url, CHANGES, *given, **variables) as changes:
        await _until_somebody_listens(server.app.state.context.events)
        yield changes


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("accept", [EVENTS, ANY])
async def test_changes_are_told_in_order(live: tuple[Running, str], method: str, accept: str) -> None:
    api = GraphQLApi(live[0].client)
    async with following(live, {**ADMIN_HEADERS, "Accept": accept}, method) as changes:
        assert changes.response.status_code == 200
        assert changes.response.headers["content-type"].startswith(EVENTS)
        assert changes.response.headers["cache-control"] == "no-store"
        await api.set_inbox(inbox_values(id="a"))
        created = await changes.change()
        assert (created["kind"], created["emailInbox"]) == ("CREATED", {"name": "Support", "version": 1})
        await api.delete_inbox("a")
        assert (await changes.change())["kind"] == "DELETED"


async def test_who_comes_back_with_a_cursor_misses_nothing_and_gets_nothing_twice(live: tuple[Running, str]) -> None:
    api = GraphQLApi(live[0].client)
    async with following(live) as changes:
        await api.set_inbox(inbox_values(id="a"))
        cursor = (await changes.change())["cursor"]
    for number in range(5):
        await api.set_inbox(inbox_values(id=f"b{number}", email=f"b{number}@example.org"))
    async with following(live, after=cursor) as changes:
        await api.set_inbox(inbox_values(id="c", email="c@example.org"))
        assert [(await changes.change())["id"] for _ in range(6)] == ["b0", "b1", "b2", "b3", "b4", "c"]


async def test_a_query_is_one_event_where_nothing_else_is_accepted(live: tuple[Running, str]) -> None:
    _, url = live
    async with stream(url, "{ viewer { username } }") as events:
        assert await events.next() == {"data": {"viewer": {"username": "admin"}}}
        assert await events.block() == ["event: complete", "data:"]
        assert await events.block() is None


async def test_a_query_is_json_where_that_is_accepted_too(live: tuple[Running, str]) -> None:
    _, url = live
    async with stream(url, "{ viewer { username } }", {**ADMIN_HEADERS, "Accept": ANY}) as answer:
        assert answer.response.headers["content-type"] == "application/graphql-response+json; charset=utf-8"
        assert json.loads(await answer.response.aread()) == {"data": {"viewer": {"username": "admin"}}}


async def test_what_is_wrong_with_an_operation_is_told_in_the_stream(live: tuple[Running, str]) -> None:
    _, url = live
    for query, code in (("subscription { nothing }", "GRAPHQL_VALIDATION_FAILED"), ("{", "GRAPHQL_PARSE_FAILED")):
        async with stream(url, query) as events:
            assert [error["extensions"]["code"] for error in (await events.next())["errors"]] == [code]
            assert await events.block() == ["event: complete", "data:"]


async def test_credentials_are_asked_for_before_the_stream_begins(live: tuple[Running, str]) -> None:
    _, url = live
    async with stream(url, CHANGES, {"Authorization": "Bearer wrong"}) as answer:
        assert answer.response.status_code == 401
        error = json.loads(await answer.response.aread())["errors"][0]
        assert error["extensions"]["code"] == "UNAUTHENTICATED"
    async with stream(url, CHANGES, {}) as events:
        assert (await events.next())["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
        assert await events.block() == ["event: complete", "data:"]


async def test_get_never_writes(live: tuple[Running, str]) -> None:
    _, url = live
    async with stream(url, "mutation { logout { success } }", method="GET") as answer:
        assert answer.response.status_code == 405
        assert answer.response.headers["allow"] == "POST"


async def test_a_quiet_stream_is_kept_alive(live: tuple[Running, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema.http.sse, "PING_SECONDS", 0.05)
    _, url = live
    async with stream(url, CHANGES) as events:
        assert await events.block() == [":"]


async def test_who_loses_the_token_loses_the_subscription(
    live: tuple[Running, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolvers.inbox, "RECHECK_SECONDS", 0.05)
    server, url = live
    headers = await member_of(server)
    async with stream(url, CHANGES, headers) as events:
        await server.as_caller(**headers).post("/api/v1/logout")
        assert (await events.next())["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
        assert await events.block() == ["event: complete", "data:"]


async def test_a_client_that_goes_away_is_forgotten(live: tuple[Running, str]) -> None:
    server, _ = live
    events = server.app.state.context.events
    async with following(live) as changes:
        await GraphQLApi(server.client).set_inbox(inbox_values(id="a"))
        await changes.change()
        assert len(events._queues) == 1
    await _until_nobody_listens(events)


async def test_a_client_that_goes_away_at_once_is_forgotten(live: tuple[Running, str]) -> None:
    server, url = live
    events, found = server.app.state.context.events, httpx.URL(url)
    body = json.dumps({"query": CHANGES}).encode()
    lines = "".join(f"{name}: {value}\r\n" for name, value in {**ADMIN_HEADERS, "Accept": EVENTS}.items())
    lines += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    head = f"POST /graphql HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n"
    for turn in range(60):
        _, writer = await asyncio.open_connection(found.host, found.port)
        writer.write(head.encode() + body)
        await writer.drain()
        for _ in range(turn * 3):
            await asyncio.sleep(0)
        writer.transport.abort()
    await _until_nobody_listens(events)


async def test_a_client_that_goes_away_with_a_request_behind_it_is_forgotten(live: tuple[Running, str]) -> None:
    server, url = live
    found, query = httpx.URL(url), quote("subscription { emailInboxChanged { id } }")
    lines = "".join(f"{name}: {value}\r\n" for name, value in {**ADMIN_HEADERS, "Accept": EVENTS}.items())
    reader, writer = await asyncio.open_connection(found.host, found.port)
    writer.write(
        f"GET /graphql?query={query} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\nGET / HTTP/1.1\r\n\r\n".encode()
    )
    assert b"200" in await reader.readline()
    events = server.app.state.context.events
    await _until_somebody_listens(events)
    writer.transport.abort()
    await _until_nobody_listens(events)


async def _until_somebody_listens(events: Events) -> None:
    async with asyncio.timeout(DEADLINE):
        while not events._queues:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0)


async def _until_nobody_listens(events: Events) -> None:
    async with asyncio.timeout(DEADLINE):
        while events._queues:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)


async def test_a_bad_token_counts_once(live: tuple[Running, str], monkeypatch: pytest.MonkeyPatch) -> None:
    _, url = live
    failures = []

    def failed(_throttle: Throttle, address: str) -> None:
        failures.append(address)

    monkeypatch.setattr(Throttle, "token_failed", failed)
    async with stream(url, CHANGES, {"Authorization": "Bearer wrong"}) as answer:
        assert answer.response.status_code == 401
    assert len(failures) == 1


def test_a_stop_ends_the_stream_without_completing_it(settings: Settings, tmp_path: Any) -> None:
    with serving(environment_of(settings), tmp_path) as process:
        with process.client.stream("POST", "/graphql", json={"query": CHANGES}, headers={"Accept": EVENTS}) as response:
            process.signal(15)
            assert "complete" not in "".join(response.iter_text())
        assert process.wait(5) == 0
        assert "error" not in process.err
