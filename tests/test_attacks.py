"""What scanners of GraphQL servers try, each with the defence that holds: docs/security.md lists them."""

import time
from typing import Any

import httpx
import pytest

from edge.origins import Origin
from schema.extensions import MAX_ERRORS
from settings import Settings
from tests.running import Running, running
from tests.users import ask, codes

SOON = 0.1
"""Seconds within which a refusal is to be there."""
TRIES = 5


async def quickest(client: httpx.AsyncClient, query: str) -> tuple[dict[str, Any], float]:
    """An answer, and the least processor time that it took, client included: a busy machine has no part in it."""
    took = []
    for _ in range(TRIES):
        started = time.thread_time()
        body = await ask(client, query)
        took.append(time.thread_time() - started)
    return body, min(took)


def circular(levels: int) -> str:
    return "{ __schema { types { " + "fields { type { " * levels + "name" + " } }" * levels + " } } }"


def nested(levels: int) -> str:
    """Selections this deep, which are wrong at the innermost."""
    return "{ emailInboxes { nodes { " + "createdBy { " * levels + "id" + " }" * levels + " } } }"


REFUSED = {
    "aliases": "{" + " ".join(f"a{number}: __typename" for number in range(101)) + "}",
    "field duplication": "{" + " __typename" * 500 + "}",
    "directive overloading": "{ __typename" + " @aa" * 50 + " }",
    "directive overloading, spread out": "{"
    + " ".join(f"a{n}: __typename @skip(if: false) @x @x @x" for n in range(30))
    + "}",
    "circular fragments": "{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }",
    "circular introspection": circular(20),
    "depth": nested(20),
    "tokens": "{" + " __typename" * 2_500 + "}",
    "list nesting": "{ emailInbox(id: " + "[" * 1_000 + "]" * 1_000 + ") { id } }",
    "object nesting": "{ emailInboxes(filter: " + "{ search: " * 600 + '"x"' + " }" * 600 + ") { totalCount } }",
    "variables": "query(" + " ".join(f"$v{number}: Int" for number in range(600)) + ") { __typename }",
    "operations": " ".join(f"query Q{number} {{ __typename }}" for number in range(400)),
    "long number": "{ emailInboxes(first: " + "9" * 5_000 + ") { totalCount } }",
    "root mutations": "mutation {" + " ".join(f"a{number}: logout {{ success }}" for number in range(10)) + "}",
}


@pytest.mark.parametrize("name", REFUSED)
async def test_it_is_refused_and_soon(server: Running, name: str) -> None:
    body, took = await quickest(server.client, REFUSED[name])
    assert codes(body)
    assert "INTERNAL_SERVER_ERROR" not in codes(body)
    assert len(body["errors"]) <= MAX_ERRORS + 1
    assert took < SOON


@pytest.mark.parametrize(
    ("under", "over"),
    [
        (nested(7), nested(8)),
        (
            " ".join(f"query Q{n} {{ __typename }}" for n in range(100)),
            " ".join(f"query Q{n} {{ __typename }}" for n in range(101)),
        ),
    ],
)
async def test_limits(server: Running, under: str, over: str) -> None:
    """Those of `promises.md` that tests/test_graphql.py does not hold."""
    found = [(await ask(server.client, query))["errors"][0]["message"] for query in (under, over)]
    assert ["Allowed" in message or "deeper" in message for message in found] == [False, True]


@pytest.mark.parametrize("body", [[{"query": "{ __typename }"}] * 10, []])
async def test_batches_are_refused(server: Running, body: Any) -> None:
    answer = await server.client.post("/graphql", json=body)
    assert answer.status_code == 400
    assert codes(answer.json()) == ["BAD_USER_INPUT"]


async def test_mutations_by_get_are_refused(server: Running) -> None:
    answer = await server.client.get("/graphql", params={"query": "mutation { logout { success } }"})
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert (await server.client.get("/api/v1/me")).status_code == 200


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain", ""])
async def test_what_a_form_of_another_site_can_send_is_refused(server: Running, kind: str) -> None:
    content = b"query=mutation%20%7B%20logout%20%7B%20success%20%7D%20%7D"
    answer = await server.client.post("/graphql", content=content, headers={"Content-Type": kind})
    assert answer.status_code == 415
    assert (await server.client.get("/api/v1/me")).status_code == 200


async def test_no_trace_and_no_version_is_told(server: Running) -> None:
    answer = await server.client.post("/graphql", json={"query": "{ viewer { id } }"})
    assert set(answer.json()) == {"data"}
    assert not {"server", "x-powered-by"} & set(answer.headers)
    assert "set-cookie" not in answer.headers


async def test_introspection_and_suggestions_can_be_switched_off(settings: Settings) -> None:
    async with running(settings.model_copy(update={"introspection": False})) as server:
        for query in ("{ __schema { queryType { name } } }", '{ __type(name: "Query") { name } }'):
            assert set(codes(await ask(server.client, query))) == {"GRAPHQL_VALIDATION_FAILED"}
        body = await ask(server.client, "{ viewr { id } }")
    assert "viewer" not in str(body)


ORIGIN = "https://app.example.org"
PREFLIGHT = {
    "Origin": ORIGIN,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "content-type,x-user-id,x-auth-token",
}


async def test_pages_of_other_sites_are_let_in_by_setting_alone(settings: Settings, server: Running) -> None:
    closed = await server.client.options("/graphql", headers=PREFLIGHT)
    assert "access-control-allow-origin" not in closed.headers
    assert (
        "access-control-allow-origin" not in (await server.client.get("/api/v1/me", headers={"Origin": ORIGIN})).headers
    )


async def test_pages_of_the_origins_that_are_set_are_let_in(settings: Settings) -> None:
    async with running(settings.model_copy(update={"cors_origins": [Origin.parse(ORIGIN)]})) as server:
        for path in ("/graphql", "/api/v1/email-inbox"):
            preflight = await server.as_caller().options(path, headers=PREFLIGHT)
            assert preflight.status_code == 200
            assert preflight.headers["access-control-allow-origin"] == ORIGIN
            assert "access-control-allow-credentials" not in preflight.headers
        answer = await server.client.get("/api/v1/me", headers={"Origin": ORIGIN})
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert "RateLimit-Remaining" in answer.headers["access-control-expose-headers"]
        other = await server.as_caller().options("/graphql", headers={**PREFLIGHT, "Origin": "https://evil.example"})
        assert other.status_code == 400
        assert "access-control-allow-origin" not in other.headers
        refused = await server.as_caller(Origin=ORIGIN).get("/api/v1/me")
        assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, ORIGIN)
