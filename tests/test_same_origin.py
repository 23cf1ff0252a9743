"""What a page of another site can make a browser send changes nothing and reads nothing (CSRF, DNS rebinding)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import websockets

from server import prepare
from settings import Settings
from tests.api import JSON_TYPE, post_json
from tests.inboxes import inbox_values
from tests.running import PUBLIC_URL, Running, running, settings_for
from tests.sockets import connected, listening

FOREIGN = "https://evil.example"
APP = "https://app.example.org"
QUERY = {"query": "{ __typename }"}
LOGIN = {"user": "nobody", "password": "wrong"}
PATHS = ["/graphql", "/api/v1/me", "/api/v1/openapi.json", "/metrics", "/", "/nothing", "/docs/rest.md"]


@pytest.fixture
async def live(settings: Settings) -> AsyncIterator[tuple[Running, str]]:
    async with listening(settings) as found:
        yield found


@asynccontextmanager
async def made(settings: Settings) -> AsyncIterator[Running]:
    """A server with an administrator."""
    await prepare(settings)
    async with running(settings) as server:
        yield server


# ------------------------------------------------------------------------------------------------------------- Host


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:3000", "127.0.0.1.evil.example", "10.0.0.1", "[::2]", "a b", ""]
)
async def test_a_foreign_host_is_told_that_it_is_wrong_here(shared_server: Running, path: str, host: str) -> None:
    answer = await shared_server.client.get(path, headers={"Host": host})
    assert answer.status_code == 421
    assert "EMAIL_INBOX_PUBLIC_URL" in answer.text
    found = answer.json()
    if path == "/graphql":
        assert found["errors"][0]["extensions"] == {
            "code": "BAD_USER_INPUT",
            "requestId": answer.headers["X-Request-Id"],
        }
    else:
        assert found["success"] is False


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:3000", "127.0.0.1:3000", "[::1]:3000", "inbox.example", "Inbox.Example.:8080"]
)
async def test_the_server_goes_by_the_names_of_loopback_and_of_its_public_url(
    shared_server: Running, host: str
) -> None:
    assert (await shared_server.client.get("/api/v1/me", headers={"Host": host})).status_code == 200
    assert (await shared_server.client.post("/graphql", json=QUERY, headers={"Host": host})).status_code == 200


async def test_health_is_told_whatever_the_host(server: Running) -> None:
    assert (await server.client.get("/health/ready", headers={"Host": "10.1.2.3"})).status_code == 200


@pytest.mark.parametrize("hosts", [[], [("Host", "localhost"), ("Host", "evil.example")]])
async def test_a_request_has_one_host(server: Running, hosts: list[tuple[str, str]]) -> None:
    request = server.client.build_request("GET", "/api/v1/me")
    request.headers = httpx.Headers([*((n, v) for n, v in request.headers.items() if n != "host"), *hosts])
    answer = await server.client.send(request)
    assert answer.status_code == 400
    assert "Host" in answer.json()["error"]


@pytest.mark.parametrize(
    ("settings", "taken"),
    [
        ({"public_url": None}, set()),
        ({"public_url": None, "host": "0.0.0.0"}, {"mail.internal", "inbox.example"}),
        ({"host": "0.0.0.0"}, {"inbox.example"}),
        (
            {"public_url": None, "host": "inbox.internal", "hosts": ["mail.internal"]},
            {"mail.internal", "inbox.internal"},
        ),
        ({"hosts": ["mail.internal"]}, {"mail.internal", "inbox.example"}),
        ({"hosts": ["*"]}, {"mail.internal", "inbox.example", "inbox.internal"}),
    ],
)
async def test_which_hosts_are_taken(tmp_path: Any, settings: dict[str, Any], taken: set[str]) -> None:
    async with made(settings_for(tmp_path, **settings)) as server:
        for host in ("mail.internal", "inbox.example", "inbox.internal"):
            answer = await server.client.get("/api/v1/me", headers={"Host": host})
            known = host in taken or (settings.get("host") == "0.0.0.0" and not settings.get("public_url", True))
            assert answer.status_code == (200 if known else 421), host


async def test_the_address_that_was_connected_to_is_a_host_of_the_server(live: tuple[Running, str]) -> None:
    """As a health check or a scrape by address sends it, where the server listens on more than loopback."""
    server, _ = live
    for address, status in (("127.0.0.9", 200), ("127.0.0.8", 421)):
        scope: dict[str, Any] = {"server": ("127.0.0.9", 3000)}

        async def app(inner: Any, receive: Any, send: Any, more: dict[str, Any] = scope) -> None:
            await server.app({**inner, **more}, receive, send)

        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{address}:3000") as client:
            answer = await client.get("/metrics")
        assert answer.status_code == status


# ----------------------------------------------------------------------------------------------------------- Origin


@pytest.mark.parametrize(
    "origin", [FOREIGN, "null", "http://inbox.example:81", "http://inbox.example.evil.example", APP]
)
async def test_a_change_from_a_foreign_page_is_refused(shared_server: Running, origin: str) -> None:
    headers = {"Origin": origin}
    for method, path in (("POST", "login"), ("POST", "logout"), ("POST", "email-inbox"), ("DELETE", "email-inbox/x")):
        answer = await shared_server.client.request(method, f"/api/v1/{path}", json=inbox_values(), headers=headers)
        assert answer.status_code == 403
        assert answer.json() == {"success": False, "error": "unauthorized"}
    answer = await shared_server.client.post("/graphql", json=QUERY, headers=headers)
    assert answer.status_code == 403
    error = answer.json()["errors"][0]
    assert error["extensions"]["code"] == "FORBIDDEN"
    assert "EMAIL_INBOX_CORS_ORIGINS" in error["message"]
    assert (await shared_server.client.get("/api/v1/me")).status_code == 200, "the token still lives"


async def test_a_foreign_page_locks_nobody_out(server: Running) -> None:
    """31 wrong logins would have used up what an address may fail in a minute."""
    for _ in range(31):
        await server.as_caller(Origin=FOREIGN).post("/api/v1/login", json=LOGIN)
        await server.as_caller().post("/api/v1/login", content=str(LOGIN), headers={"Content-Type": "text/plain"})
    assert (await server.as_caller().post("/api/v1/login", json=LOGIN)).status_code == 401


@pytest.mark.parametrize("origin", [PUBLIC_URL, PUBLIC_URL.upper(), APP])
async def test_pages_of_the_server_and_of_allowed_origins_may_change_something(tmp_path: Any, origin: str) -> None:
    async with made(settings_for(tmp_path, cors_origins=[APP])) as server:
        headers = {"Origin": origin}
        assert (await server.client.post("/graphql", json=QUERY, headers=headers)).status_code == 200
        saved = await server.client.post("/api/v1/email-inbox", json=inbox_values(), headers=headers)
        assert saved.status_code == 200


async def test_the_page_of_a_server_behind_a_proxy_that_names_another_host_may_change_something(tmp_path: Any) -> None:
    async with made(settings_for(tmp_path, public_url="https://inbox.example.org/")) as server:
        headers = {"Host": "127.0.0.1:3000", "Origin": "https://inbox.example.org"}
        assert (await server.client.post("/graphql", json=QUERY, headers=headers)).status_code == 200


async def test_sockets_of_foreign_pages_and_hosts_are_refused(live: tuple[Running, str]) -> None:
    _, url = live
    port = httpx.URL(url).port
    foreign: list[tuple[dict[str, Any], int]] = [({"origin": FOREIGN}, 403), ({"origin": "null"}, 403)]
    for options, status in [*foreign, ({"uri": f"ws://evil.example:{port}/graphql"}, 421)]:
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with connected(options.pop("uri", url), host="127.0.0.1", port=port, **options):
                pass
        assert refused.value.response.status_code == status
    async with connected(url, origin=url.replace("ws:", "http:").removesuffix("/graphql")):
        pass


# ----------------------------------------------------------------------------------------------------- content types


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        None,
        "text/plain;application/json",
        "application/json; charset=utf-16",
    ],
)
@pytest.mark.parametrize(
    "path", ["/graphql", "/api/v1/login", "/api/v1/email-inbox", "/api/v1/email-inbox.send-test/x"]
)
async def test_a_body_must_be_said_to_be_json(shared_server: Running, path: str, kind: str | None) -> None:
    headers = {"Content-Type": kind} if kind else {}
    for client in (shared_server.client, shared_server.as_caller()):
        answer = await client.post(path, content=b'{"user": "a", "password": "b"}', headers=headers)
        assert answer.status_code == 415, "before the caller is looked at"
        assert "application/json" in answer.text


@pytest.mark.parametrize(
    "kind", ["application/json", "Application/JSON; charset=UTF-8", 'application/json;charset="utf-8"']
)
async def test_json_is_taken_however_it_is_spelled(server: Running, kind: str) -> None:
    answer = await server.client.post("/api/v1/login", content=b"{}", headers={"Content-Type": kind})
    assert answer.status_code == 400


async def test_a_post_without_a_body_needs_no_content_type(server: Running) -> None:
    assert (await server.client.post("/api/v1/email-inbox.send-test/x")).status_code == 400
    assert (await server.client.post("/api/v1/logout")).status_code == 200


async def test_a_body_of_unknown_length_is_a_body(server: Running) -> None:
    async def pieces() -> Any:
        yield b"{}"

    assert (await server.client.post("/api/v1/login", content=pieces())).status_code == 415


# ------------------------------------------------------------------------------------------------------ credentials


@pytest.mark.parametrize(
    ("headers", "named"),
    [
        ({}, ["X-User-Id", "X-Auth-Token", "Bearer"]),
        ({"X-User-Id": "d26x6zSkaPSe5gCyy"}, ["X-Auth-Token is missing", "X-User-Id"]),
        ({"X-Auth-Token": "secret-token"}, ["X-User-Id is missing", "X-Auth-Token"]),
        ({"Authorization": "Basic YTpi"}, ["Authorization: Bearer <token>"]),
        ({"Authorization": "Bearer "}, ["Authorization: Bearer <token>"]),
        ({"Authorization": "Bearer wrong"}, ["token is not valid", "X-User-Id"]),
    ],
)
async def test_what_is_wrong_with_the_credentials_is_named(
    server: Running, headers: dict[str, str], named: list[str]
) -> None:
    error = (await server.graphql("{ viewer { id } }", headers=headers))["errors"][0]
    assert error["extensions"]["code"] == "UNAUTHENTICATED"
    assert [text for text in named if text not in error["message"]] == []
    assert "secret-token" not in error["message"]
    answer = await server.as_caller(**headers).get("/api/v1/me")
    assert (answer.status_code, answer.json()["message"]) == (401, "You must be logged in to do this.")


async def test_half_of_the_credentials_keep_nobody_from_what_is_public(server: Running) -> None:
    client = server.as_caller(**{"X-User-Id": "d26x6zSkaPSe5gCyy"})
    assert (await post_json(client, "/api/v1/login", LOGIN)).json()["error"] == "unauthorized"
    assert (await client.get("/api/v1/openapi.json")).status_code == 200
    assert (await client.post("/api/v1/login", content=b"{}", headers=JSON_TYPE)).status_code == 400


# -------------------------------------------------------------------------------------------------------- the page


async def test_the_first_page_leads_on(server: Running) -> None:
    page = await server.as_caller(Accept="text/html").get("/")
    assert page.status_code == 200
    assert page.headers["Content-Type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    document = (await server.as_caller().get("/")).json()
    assert set(document["links"]) >= {"graphql", "openapi", "health", "docs/graphql.md", "docs/rest.md"}
    for path in document["links"].values():
        assert f'href="{path}"' in page.text
        accept = {"Accept": "text/html, */*"}
        assert (await server.as_caller(**accept).get(path)).status_code == 200, path


async def test_the_pages_of_the_documentation_are_text(server: Running) -> None:
    answer = await server.as_caller().get("/docs/rest.md")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert (await server.as_caller().get("/docs/../settings.py")).status_code == 404
    assert (await server.as_caller().get("/docs/%2e%2e/settings.py")).status_code == 404
