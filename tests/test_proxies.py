"""Whose address counts: that of the connection, or what a proxy that the operator named says of it."""

from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.proxies import Proxies
from tests.running import running, settings_for

LOGIN = {"user": "nobody", "password": "wrong"}


async def seen(trusted: list[str], peer: Any, *headers: tuple[str, str], kind: str = "http") -> dict[str, Any]:
    """What an application behind the middleware is told of the client."""
    from settings import Settings

    networks = Settings(_env_file=None, proxies=",".join(trusted)).proxies
    found: dict[str, Any] = {}

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        found.update(scope)

    sent = [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in headers]
    scope = {"type": kind, "client": peer, "scheme": "ws" if kind == "websocket" else "http", "headers": sent}
    await Proxies(app, networks)(scope, None, None)  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "client"),
    [
        ([], "127.0.0.1", "203.0.113.9", "127.0.0.1"),
        ([], "203.0.113.1", "127.0.0.1", "203.0.113.1"),
        (["127.0.0.1"], "127.0.0.1", "203.0.113.9", "203.0.113.9"),
        (["127.0.0.1"], "127.0.0.1", "6.6.6.6, 203.0.113.9", "203.0.113.9"),
        (["127.0.0.1", "10.0.0.0/8"], "127.0.0.1", "203.0.113.9, 10.1.2.3", "203.0.113.9"),
        (["10.0.0.0/8"], "127.0.0.1", "203.0.113.9", "127.0.0.1"),
        (["127.0.0.1"], "127.0.0.1", "203.0.113.9:4711", "203.0.113.9"),
        (["127.0.0.1"], "127.0.0.1", "[2001:db8::1]:4711", "2001:db8::1"),
        (["127.0.0.1"], "127.0.0.1", "2001:DB8:0::1", "2001:db8::1"),
        (["127.0.0.1"], "::ffff:127.0.0.1", "::ffff:203.0.113.9", "203.0.113.9"),
        (["::1"], "::1", "203.0.113.9", "203.0.113.9"),
        (["127.0.0.1"], "127.0.0.1", "anything at all", "127.0.0.1"),
        (["127.0.0.1"], "127.0.0.1", "203.0.113.9, unknown", "127.0.0.1"),
        (["127.0.0.1"], "127.0.0.1", "", "127.0.0.1"),
        (["127.0.0.1"], "127.0.0.1", "127.0.0.1", "127.0.0.1"),
    ],
)
@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_the_client_is_the_last_address_that_is_no_proxy(
    trusted: list[str], peer: str, forwarded: str, client: str, kind: str
) -> None:
    found = await seen(trusted, (peer, 4711), ("X-Forwarded-For", forwarded), kind=kind)
    assert found["client"][0] == client


async def test_fields_that_come_in_several_lines_are_one_list() -> None:
    lines = [("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-For", "203.0.113.9")]
    assert (await seen(["127.0.0.1"], ("127.0.0.1", 4711), *lines))["client"][0] == "203.0.113.9"


async def test_what_another_server_made_of_the_header_is_not_believed() -> None:
    """uvicorn, started by hand, believes the header of loopback, and writes port 0."""
    assert (await seen([], ("6.6.6.6", 0)))["client"][0] == "127.0.0.1"


@pytest.mark.parametrize(
    ("kind", "said", "scheme"), [("http", "https", "https"), ("websocket", "HTTPS", "wss"), ("http", "gopher", "http")]
)
async def test_the_scheme_is_that_of_the_proxy(kind: str, said: str, scheme: str) -> None:
    found = await seen(["127.0.0.1"], ("127.0.0.1", 4711), ("X-Forwarded-Proto", said), kind=kind)
    assert found["scheme"] == scheme


async def test_a_connection_without_an_address_has_none() -> None:
    assert (await seen(["127.0.0.1"], None, ("X-Forwarded-For", "203.0.113.9")))["client"] is None


@given(st.text(st.characters(max_codepoint=255), max_size=60))
async def test_nothing_but_an_address_comes_of_the_header(text: str) -> None:
    from ipaddress import ip_address

    found = await seen(["127.0.0.1"], ("127.0.0.1", 4711), ("X-Forwarded-For", text))
    ip_address(found["client"][0])


async def test_a_client_can_not_choose_whom_the_throttle_counts(tmp_path: Any) -> None:
    async with running(settings_for(tmp_path)) as server:
        statuses = [
            (
                await server.as_caller(**{"X-Forwarded-For": f"203.0.113.{number}"}).post("/api/v1/login", json=LOGIN)
            ).status_code
            for number in range(12)
        ]
    assert statuses.count(429) > 0


async def test_behind_a_proxy_each_client_is_counted_by_itself(tmp_path: Any) -> None:
    async with running(settings_for(tmp_path, proxies="127.0.0.1")) as server:

        async def login(address: str) -> httpx.Response:
            return await server.as_caller(**{"X-Forwarded-For": address}).post("/api/v1/login", json=LOGIN)

        assert 429 in [(await login("203.0.113.1")).status_code for _ in range(12)]
        assert (await login("203.0.113.2")).status_code == 401
