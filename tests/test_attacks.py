"""What scanners of GraphQL servers try, each with the defence that holds: docs/security.md lists them."""

import json
import time
from typing import Any

import httpx
import pytest
import structlog
from graphql import get_introspection_query

from edge.origins import Origin
from schema.http.extensions import MAX_ERRORS
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
    "introspection under aliases": "{"
    + " ".join(f"a{n}: __schema {{ types {{ fields {{ name args {{ name }} }} }} }}" for n in range(30))
    + "}",
    "aliases within introspection": "{ __schema {"
    + " ".join(f"a{n}: types {{ fields {{ name args {{ name }} }} }}" for n in range(30))
    + "} }",
    "types again and again": "{" + " ".join(f'a{n}: __type(name: "User") {{ name }}' for n in range(2)) + "}",
    "selections that meet": "{ emailInboxes { nodes {" + ("smtp {" + "oauth2 { tokenUrl } " * 28 + "} ") * 15 + "} } }",
    "selections that meet through fragments": "{ emailInboxes { nodes {"
    + " ".join(f"... on EmailInbox {{ {'smtp { ...S } ' * 20} }}" for _ in range(10))
    + "} } } fragment S on SmtpConfig {"
    + "oauth2 { tokenUrl } " * 20
    + "}",
    "fragments that spread each other": "{ emailInboxes { nodes { ...F0 } } }"
    + "".join(
        f"fragment F{n} on EmailInbox {{ id {' '.join(f'...F{m}' for m in range(n + 1, 45))} }} " for n in range(45)
    ),
    "a star of fragments": "{ emailInboxes { nodes {"
    + " ".join(f"...F{n}" for n in range(96))
    + "} } }"
    + "".join(f"fragment F{n} on EmailInbox {{ id name email }} " for n in range(96)),
    "objects that are printed": "mutation { setEmailInbox(input: {"
    + " ".join(f"a{n}: {{ {' '.join(f'a{m}: 1' for m in range(20))} }}" for n in range(24))
    + "}) { success } }",
    "wide object": "{ emailInboxes(filter: {" + " ".join(f"a{n}: 1" for n in range(101)) + "}) { totalCount } }",
    "long string": '{ emailInbox(id: "' + "a" * 1_000_000 + '") { id } }',
    "blanks": "{" + " ," * 500_000 + "__typename }",
    "long name": "{ " + "a" * 49_000 + " }",
    "long alias": "{ " + "a" * 201 + ": __typename }",
    "long type": "query ($a: " + "a" * 49_000 + ") { __typename }",
    "block string": '{ emailInboxes(first: """' + "\n " * 24_000 + '""") { totalCount } }',
    "escapes": '{ emailInboxes(first: "' + "\\u0041" * 8_000 + '") { totalCount } }',
    "root mutations": "mutation {" + " ".join(f"a{number}: logout {{ success }}" for number in range(10)) + "}",
}


@pytest.mark.parametrize("name", REFUSED)
async def test_it_is_refused_and_soon(shared_server: Running, name: str) -> None:
    body, took = await quickest(shared_server.client, REFUSED[name])
    assert codes(body)
    assert "INTERNAL_SERVER_ERROR" not in codes(body)
    assert len(body["errors"]) <= MAX_ERRORS + 1
    assert len(str(body)) < 20_000, "what was sent is not sent back"
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


async def test_the_introspection_of_tools_is_answered(server: Running) -> None:
    query = get_introspection_query(descriptions=True, specified_by_url=True, input_value_deprecation=True)
    body, took = await quickest(server.client, query)
    assert not body.get("errors")
    assert took < SOON


@pytest.mark.parametrize("name", ["operationName", "documentId"])
async def test_names_are_judged_by_their_length_first(server: Running, name: str) -> None:
    long = "a" * 500_000
    answer = await server.client.post("/graphql", json={"query": "{ __typename }" * (name != "documentId"), name: long})
    assert answer.status_code == 400
    assert len(answer.text) < 1_000


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "latin-1"])
async def test_json_in_another_encoding_is_refused(server: Running, encoding: str) -> None:
    body = json.dumps({"query": "{ __typename }", "variables": {"é": "é"}}, ensure_ascii=False).encode(encoding)
    answer = await server.client.post("/graphql", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert "UTF-8" in answer.json()["errors"][0]["message"]
    login = json.dumps({"user": "é", "password": "é"}, ensure_ascii=False).encode(encoding)
    answer = await server.client.post("/api/v1/login", content=login, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400


async def test_a_mark_before_json_is_taken(server: Running) -> None:
    body = b"\xef\xbb\xbf" + json.dumps({"query": "{ __typename }"}).encode()
    answer = await server.client.post("/graphql", content=body, headers={"Content-Type": "application/json"})
    assert answer.json() == {"data": {"__typename": "Query"}}


MANY: dict[str, Any] = {
    "unknown fields": {"input": {f"a{number}": 1 for number in range(60_000)}},
    "unknown fields of a field": {"input": {"smtp": {"oauth2": {f"a{number}": 1 for number in range(60_000)}}}},
    "a list": {"input": [{"a": 1}] * 60_000},
    "variables that are not asked for": {f"a{number}": 1 for number in range(60_000)},
}


@pytest.mark.parametrize("name", MANY)
async def test_variables_cost_a_stranger_little(server: Running, name: str) -> None:
    """They are coerced, and printed where they are wrong, before anybody asks who sent them."""
    query = "mutation ($input: SetEmailInboxInput!) { setEmailInbox(input: $input) { success } }"
    answer = await server.as_caller().post("/graphql", json={"query": query, "variables": MANY[name]})
    assert answer.status_code == 400
    assert "variables" in answer.json()["errors"][0]["message"]


async def test_variables_may_be_as_many_as_the_largest_input_takes(server: Running) -> None:
    values = {"username": "a", "permissions": ["READ_EMAIL"] * 100, "departments": [f"d{n}" for n in range(100)]}
    query = "mutation ($input: CreateUserInput!) { createUser(input: $input) { userErrors { code } } }"
    assert (await server.graphql(query, input=values))["data"]["createUser"]["userErrors"] == []


async def test_a_long_path_is_not_logged_to_its_end(server: Running) -> None:
    with structlog.testing.capture_logs() as lines:
        await server.as_caller().get("/api/v1/" + "a" * 50_000)
    [path] = [line["path"] for line in lines if line["event"] == "request"]
    assert len(path) < 300
