"""`EMAIL_INBOX_RATE_LIMIT`: how often one caller may ask, over every API."""

from collections.abc import AsyncIterator

import pytest
from limits import parse

from models.user import Permission
from settings import Settings
from tests.running import ADMIN_HEADERS, Running
from tests.sockets import connected, listening
from tests.users import caller

LIMIT = 5
VIEWER = {"query": "{ viewer { username } }"}


@pytest.fixture
async def limited(settings: Settings) -> AsyncIterator[tuple[Running, str]]:
    """A server that answers a caller so often in an hour, and the address of its WebSocket."""
    async with listening(settings.model_copy(update={"rate_limit": parse(f"{LIMIT}/hour")})) as found:
        yield found


async def test_every_answer_tells_how_many_are_left(limited: tuple[Running, str]) -> None:
    server, _ = limited
    for number in range(LIMIT):
        answer = await server.client.get("/api/v1/me")
        assert answer.status_code == 200
        assert answer.headers["ratelimit-limit"] == str(LIMIT)
        assert answer.headers["ratelimit-remaining"] == str(LIMIT - 1 - number)
        assert answer.headers["ratelimit-policy"] == f"{LIMIT};w=3600"
        assert 0 < int(answer.headers["ratelimit-reset"]) <= 2 * 3600


async def test_who_asks_too_often_is_told_so_by_each_api(limited: tuple[Running, str]) -> None:
    server, _ = limited
    for _ in range(LIMIT):
        assert (await server.client.post("/graphql", json=VIEWER)).status_code == 200
    rest = await server.client.get("/api/v1/me")
    graphql = await server.client.post("/graphql", json=VIEWER)
    stream = await server.client.post("/graphql", json=VIEWER, headers={"Accept": "text/event-stream"})
    for answer in (rest, graphql, stream):
        assert answer.status_code == 429
        assert answer.headers["ratelimit-remaining"] == "0"
        assert int(answer.headers["retry-after"]) > 0
    assert rest.json()["error"] == "error-too-many-requests"
    assert rest.headers["x-ratelimit-limit"] == str(LIMIT)
    assert graphql.json()["errors"][0]["extensions"]["code"] == "RATE_LIMITED"


async def test_each_caller_has_an_allowance(limited: tuple[Running, str]) -> None:
    server, _ = limited
    eve = await caller(server, "eve", Permission.READ_EMAIL)  # takes one of the administrator's
    for _ in range(LIMIT - 1):
        assert (await server.client.get("/api/v1/me")).status_code == 200
    assert (await server.client.get("/api/v1/me")).status_code == 429
    assert (await eve.get("/api/v1/me")).status_code == 200
    stranger = server.as_caller()
    for _ in range(LIMIT):
        assert (await stranger.get("/api/v1/me")).status_code == 401
    assert (await stranger.get("/api/v1/me")).status_code == 429
    assert (await server.as_caller(Authorization="Bearer wrong").get("/api/v1/me")).status_code == 429
    assert (await eve.get("/api/v1/me")).status_code == 200


async def test_operations_over_websocket_are_counted(limited: tuple[Running, str]) -> None:
    server, url = limited
    async with connected(url) as subscriber:
        for number in range(LIMIT):
            await subscriber.send({"id": str(number), "type": "subscribe", "payload": VIEWER})
            assert (await subscriber.receive())["type"] == "next"
            assert (await subscriber.receive())["type"] == "complete"
        await subscriber.send({"id": "over", "type": "subscribe", "payload": VIEWER})
        refused = await subscriber.receive()
    assert (refused["type"], refused["id"]) == ("error", "over")
    assert refused["payload"][0]["extensions"]["code"] == "RATE_LIMITED"
    assert (await server.client.get("/api/v1/me")).status_code == 429


async def test_health_is_never_counted(limited: tuple[Running, str]) -> None:
    server, _ = limited
    for _ in range(2 * LIMIT):
        answer = await server.as_caller(**ADMIN_HEADERS).get("/health/ready")
        assert answer.status_code == 200
        assert "ratelimit-limit" not in answer.headers


async def test_without_a_limit_nothing_is_counted(server: Running) -> None:
    for _ in range(2 * LIMIT):
        answer = await server.client.get("/api/v1/me")
        assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("ratelimit")]
