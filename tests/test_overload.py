"""More requests than the server can answer: what is too much is refused early, and the rest goes on."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

import edge.admission
import edge.protocol
import models.database
from settings import Settings
from tests.inboxes import inbox_values
from tests.process import PLAIN
from tests.running import ADMIN_HEADERS, Running
from tests.sockets import DEADLINE, connected, listening
from tests.stored import locked
from tests.test_changes import CHANGES
from tests.test_sse import stream

WORKING = 3


@pytest.fixture
async def narrow(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Running, str]]:
    """A server that works on few requests at once, and its address."""
    monkeypatch.setattr(edge.admission, "MAX_ACTIVE_REQUESTS", WORKING)
    async with listening(settings) as (server, url):
        yield server, url.replace("ws", "http", 1).removesuffix("/graphql")


def create(client: httpx.AsyncClient, number: int) -> asyncio.Task[httpx.Response]:
    values = {**inbox_values(email=f"{number}@example.org"), "_id": f"i{number}"}
    return asyncio.create_task(client.post("/api/v1/email-inbox", json=values))


async def test_too_much_is_refused_early_in_the_words_of_each_api(narrow: tuple[Running, str]) -> None:
    server, url = narrow
    async with httpx.AsyncClient(base_url=url, headers=ADMIN_HEADERS, timeout=DEADLINE, verify=PLAIN) as client:
        async with locked(server.settings):
            working = [create(client, number) for number in range(WORKING)]
            await _all_turns_taken(server)
            started = time.monotonic()
            rest = await client.get("/api/v1/email-inbox.list")
            took = time.monotonic() - started
            graphql = await client.post("/graphql", json={"query": "{ viewer { username } }"})
            assert (await client.get("/health/live")).status_code == 200
        assert [(await answer).status_code for answer in working] == [200] * WORKING
        refusals = re.search(r"^email_inbox_overload_refusals_total (\d+)", (await client.get("/metrics")).text, re.M)
    assert refusals
    assert int(refusals[1]) >= 2
    assert took < 1
    assert (rest.status_code, graphql.status_code) == (503, 503)
    assert rest.headers["retry-after"] == graphql.headers["retry-after"] == "5"
    assert rest.json() == {"success": False, "error": edge.admission.OVERLOADED_MESSAGE}
    [error] = graphql.json()["errors"]
    assert error["extensions"] == {"code": "SERVICE_UNAVAILABLE", "requestId": graphql.headers["x-request-id"]}


async def _all_turns_taken(server: Running) -> None:
    async with asyncio.timeout(DEADLINE):
        while server.app.state.load.working < WORKING:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0)


async def test_the_limit_holds_in_a_burst(narrow: tuple[Running, str], monkeypatch: pytest.MonkeyPatch) -> None:
    peak = 0
    take = edge.admission.ActiveRequest.take

    def counting(turn: edge.admission.ActiveRequest) -> None:
        nonlocal peak
        take(turn)
        peak = max(peak, turn._load.working)

    monkeypatch.setattr(edge.admission.ActiveRequest, "take", counting)
    server, url = narrow
    found, request = httpx.URL(url), b"HEAD /api/v1/me HTTP/1.1\r\nHost: localhost\r\n\r\n"
    connections = [await asyncio.open_connection(found.host, found.port) for _ in range(50)]
    for _, writer in connections:
        writer.write(request)
    statuses = []
    for reader, _ in connections:
        head = await reader.readuntil(b"\r\n\r\n")
        statuses.append(int(head.split()[1]))
    assert peak <= WORKING
    for reader, writer in connections:
        writer.write(request.replace(b"/api/v1/me", b"/health/live"))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")  # no body stands before it
        writer.close()
    assert set(statuses) <= {401, 503}
    load = server.app.state.load
    assert load.working == load.starting == 0


async def test_operations_over_websocket_are_refused_too(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening(settings) as (_server, url), connected(url) as subscriber:
        monkeypatch.setattr(edge.admission, "MAX_ACTIVE_REQUESTS", 0)
        await subscriber.send({"id": "1", "type": "subscribe", "payload": {"query": "{ viewer { id } }"}})
        refused = await subscriber.receive()
    assert (refused["type"], refused["payload"][0]["extensions"]["code"]) == ("error", "SERVICE_UNAVAILABLE")


async def test_a_turn_comes_free_when_it_is_waited_for(
    narrow: tuple[Running, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge.protocol, "START_WAIT_SECONDS", 0.5)
    _, url = narrow
    async with httpx.AsyncClient(base_url=url, headers=ADMIN_HEADERS, timeout=DEADLINE, verify=PLAIN) as client:
        answers = await asyncio.gather(*(client.get("/api/v1/me") for _ in range(2 * WORKING)))
    assert {answer.status_code for answer in answers} == {200}


async def test_who_is_slow_to_send_keeps_nobody_out(narrow: tuple[Running, str]) -> None:
    _, url = narrow
    found = httpx.URL(url)
    slow = []
    for _ in range(2 * WORKING):
        reader, writer = await asyncio.open_connection(found.host, found.port)
        writer.write(
            b"POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n"
            b"Expect: 100-continue\r\n\r\n"
        )
        assert b"100" in await reader.readline()
        slow.append(writer)
    async with httpx.AsyncClient(base_url=url, headers=ADMIN_HEADERS, timeout=DEADLINE, verify=PLAIN) as client:
        assert (await client.get("/api/v1/me")).status_code == 200
    for writer in slow:
        writer.close()


async def test_subscriptions_keep_nobody_out(narrow: tuple[Running, str]) -> None:
    _, url = narrow
    streams: list[Any] = [stream(f"{url}/graphql", CHANGES) for _ in range(2 * WORKING)]
    for opened in streams:
        await opened.__aenter__()
    async with httpx.AsyncClient(base_url=url, headers=ADMIN_HEADERS, timeout=DEADLINE, verify=PLAIN) as client:
        assert (await client.get("/api/v1/me")).status_code == 200
    for opened in streams:
        await opened.__aexit__(None, None, None)


async def test_changes_that_wait_for_a_lock_leave_room_for_reading(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models.database, "MAX_WAITING_UNITS", WORKING)
    monkeypatch.setattr(models.database, "QUEUE_WAIT_SECONDS", 0.1)
    async with listening(settings) as (server, url):
        address = url.replace("ws", "http", 1).removesuffix("/graphql")
        async with httpx.AsyncClient(base_url=address, headers=ADMIN_HEADERS, timeout=DEADLINE, verify=PLAIN) as client:
            async with locked(settings):
                waiting = [create(client, number) for number in range(WORKING)]
                async with asyncio.timeout(DEADLINE):
                    while not server.context.database._is_full():  # noqa: ASYNC110 - nothing tells of it
                        await asyncio.sleep(0)
                refused = await create(client, WORKING)
                assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
                assert (await client.get("/api/v1/me")).status_code == 200
            assert [(await answer).status_code for answer in waiting] == [200] * WORKING
