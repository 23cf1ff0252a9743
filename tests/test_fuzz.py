"""No bad input gives a 500: random JSON and random bytes at every door, by hypothesis."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server import prepare
from tests.api import SET
from tests.inboxes import inbox_values
from tests.running import Running, running, settings_for

LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)
PATHS = [
    *("id", "name", "email", "active", "description", "senderInfo", "department", "ifVersion", "smtp", "imap"),
    *(f"{protocol}__{name}" for protocol in ("smtp", "imap") for name in ("server", "port", "username", "password")),
    *("smtp__secure", "imap__maxRetries", "imap__unknown", "unknown"),
]
CHANGES = st.dictionaries(st.sampled_from([path for path in PATHS if path not in ("smtp", "imap")]), VALUES, max_size=4)

EXAMPLES = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Door:
    """A server whose requests are sent from tests that are not async themselves, as hypothesis wants them."""

    def __init__(self, folder: Path) -> None:
        self.loop = asyncio.new_event_loop()
        self.loop.run_until_complete(prepare(settings_for(folder)))
        self._world = running(settings_for(folder))
        self.server: Running = self.loop.run_until_complete(self._world.__aenter__())

    def send(self, method: str, path: str, **options: Any) -> int:
        answer = self.loop.run_until_complete(self.server.client.request(method, path, **options))
        json.loads(answer.content)
        return answer.status_code

    def close(self) -> None:
        self.loop.run_until_complete(self._world.__aexit__(None, None, None))
        self.loop.close()


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
    assert door.send("POST", "/api/v1/email-inbox", content=rest) in (200, 400)
    graphql = json.dumps({"query": SET, "variables": {"input": values}})
    headers = {"Content-Type": "application/json"}
    assert door.send("POST", "/graphql", content=graphql, headers=headers) in (200, 400)


@given(body=VALUES.map(json.dumps).map(str.encode) | st.binary(max_size=200))
@EXAMPLES
def test_no_body_is_too_strange(door: Door, body: bytes) -> None:
    for path in ("email-inbox", "login"):
        assert door.send("POST", f"/api/v1/{path}", content=body) in (200, 400)
    headers = {"Content-Type": "application/json"}
    assert door.send("POST", "/graphql", content=body, headers=headers) in (200, 400)


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


@given(headers=st.dictionaries(st.sampled_from(["X-User-Id", "X-Auth-Token", "Authorization"]), st.binary(max_size=30)))
@EXAMPLES
def test_no_credentials_are_too_strange(door: Door, headers: dict[str, bytes]) -> None:
    given = [(name.encode(), value) for name, value in headers.items()]
    assert door.send("GET", "/api/v1/me", headers=given) in (200, 401, 429)
