"""Length comes first: no text that somebody sends is normalised, hashed or looked up before its length was judged.

To normalise takes time in the square of a run of combining marks: of 16,000 of them, a second of the event loop.
"""

import hashlib
import unicodedata
from collections.abc import Iterator
from typing import Any

import argon2
import idna
import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
)

from edge.websocket import MAX_FIRST_MESSAGE
from models.errors import MAX_QUOTED_LENGTH
from models.fields import MAX_ADDRESS, MAX_PASSWORD
from models.token import MAX_TOKEN_LENGTH
from schema import build_schema
from settings import Settings
from tests.process import environment_of, start
from tests.running import ADMIN_ID, Running
from tests.sockets import connected, listening
from tests.users import ask, codes

HALF = 4_000
EVIL = "a" + "\u0301" * HALF + "\u0316" * HALF
LONGEST = 2_500
"""Of what is looked for: description, name and address of an inbox together."""
BENIGN = {"String": "x", "ID": "x", "Int": 1, "Boolean": True, "DateTime": "2030-01-31T12:00:00Z"}
Path = tuple[str, ...]


@pytest.fixture
def worked_on(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of the texts that were worked on."""
    lengths: list[int] = []

    def recorded(module: Any, name: str, place: int) -> None:
        original = getattr(module, name)

        def recording(*args: Any, **kwargs: Any) -> Any:
            lengths.append(len(args[place]) if len(args) > place else 0)
            return original(*args, **kwargs)

        monkeypatch.setattr(module, name, recording)

    recorded(unicodedata, "normalize", 1)
    recorded(idna, "encode", 0)
    recorded(hashlib, "sha256", 0)
    recorded(argon2.PasswordHasher, "hash", 1)
    recorded(argon2.PasswordHasher, "verify", 2)
    return lengths


# ------------------------------------------------------------------------------------------------------------ GraphQL


def texts(kind: GraphQLInputType, path: Path, deep: int = 0) -> Iterator[Path]:
    """The places of texts in values of the type."""
    if isinstance(kind, GraphQLNonNull | GraphQLList):
        yield from texts(kind.of_type, path, deep)
    elif isinstance(kind, GraphQLInputObjectType) and deep < 4:
        for name, field in kind.fields.items():
            yield from texts(field.type, (*path, name), deep + 1)
    elif getattr(kind, "name", "") in ("String", "ID", "DateTime"):
        yield path


def value(kind: GraphQLInputType, path: Path) -> Any:
    """A value of the type with the long text at this place, and no more than it must have."""
    if isinstance(kind, GraphQLNonNull):
        return value(kind.of_type, path)
    if isinstance(kind, GraphQLList):
        return [value(kind.of_type, path)]
    if isinstance(kind, GraphQLInputObjectType):
        wanted = {name: field for name, field in kind.fields.items() if _is_wanted(name, field, path)}
        return {name: value(field.type, path[1:] if path[:1] == (name,) else ("",)) for name, field in wanted.items()}
    if isinstance(kind, GraphQLEnumType):
        return next(iter(kind.values))
    return EVIL if path == () else BENIGN[kind.name]


def _is_wanted(name: str, field: Any, path: Path) -> bool:
    return path[:1] == (name,) or isinstance(field.type, GraphQLNonNull)


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every root field with a long text at every place in turn."""
    schema = build_schema()._schema
    for root, word in ((schema.query_type, "query"), (schema.mutation_type, "mutation")):
        assert root
        for name, field in root.fields.items():
            below = " { __typename }" if hasattr(_named(field.type), "fields") else ""
            for argument, found in field.args.items():
                for path in texts(found.type, (argument,)):
                    wanted = {key: one for key, one in field.args.items() if _is_wanted(key, one, path)}
                    variables = {
                        key: value(one.type, path[1:] if key == argument else ("",)) for key, one in wanted.items()
                    }
                    head = ", ".join(f"${key}: {one.type}" for key, one in wanted.items())
                    given = ", ".join(f"{key}: ${key}" for key in wanted)
                    yield f"{word} ({head}) {{ {name}({given}){below} }}", variables


def _named(kind: Any) -> Any:
    while hasattr(kind, "of_type"):
        kind = kind.of_type
    return kind


async def test_no_text_of_an_operation_is_worked_on_before_its_length_is_judged(
    server: Running, worked_on: list[int]
) -> None:
    found = list(operations())
    assert len(found) > 50
    assert any("login" in query for query, _ in found)
    for query, variables in found:
        for client in (server.client, server.as_caller()):
            body = await ask(client, query, **variables)
            assert EVIL[:1_000] not in str(body), query
            assert set(codes(body)) <= {"UNAUTHENTICATED", "BAD_USER_INPUT", "RATE_LIMITED"}, (query, body)
    assert max(worked_on) < LONGEST


async def test_nor_is_one_of_the_rest_path(server: Running, worked_on: list[int]) -> None:
    short = EVIL[:2_000]  # a longer head is refused as such
    for client in (server.client, server.as_caller()):
        for name in ("user", "username", "email"):
            assert (await client.post("/api/v1/login", json={name: EVIL, "password": "x"})).status_code == 400
        assert (await client.post("/api/v1/login", json={"user": "x", "password": EVIL})).status_code == 400
        for path in ("email-inbox.search?email=", "email-inbox.list?sort=", "email-inbox.list?count=", "email-inbox/"):
            answer = await client.get(f"/api/v1/{path}{short}")
            assert answer.status_code in (200, 400, 401, 404)
            assert len(answer.content) < 1_000
        names = ("_id", "name", "email", "description", "senderInfo", "department", EVIL)
        body: dict[str, Any] = dict.fromkeys(names, EVIL)
        body |= {
            protocol: dict.fromkeys(("server", "username", "password", EVIL), EVIL) for protocol in ("smtp", "imap")
        }
        answer = await client.post("/api/v1/email-inbox", json=body)
        assert answer.status_code in (400, 401)
        assert len(answer.content) < 10_000
    assert max(worked_on) < LONGEST


async def test_nor_are_credentials(settings: Settings, worked_on: list[int]) -> None:
    async with listening(settings) as (server, url):
        for headers in (
            {"Authorization": f"Bearer {'x' * 30_000}"},
            {"X-User-Id": ADMIN_ID, "X-Auth-Token": "x" * (MAX_TOKEN_LENGTH + 1)},
            {"X-User-Id": "x" * 10_000, "X-Auth-Token": "x"},
        ):
            assert (await server.as_caller(**headers).get("/api/v1/me")).status_code == 401
            async with connected(url, None) as subscriber:
                await subscriber.send({"type": "connection_init", "payload": headers})
                assert (await subscriber.closed())[0] == (4403 if len(str(headers)) < MAX_FIRST_MESSAGE else 1009)
    assert max(worked_on, default=0) <= MAX_TOKEN_LENGTH


@pytest.mark.parametrize(
    ("username", "password", "problems"),
    [
        ("a" * (MAX_ADDRESS + 1), "x", ["username"]),
        ("a", "x" * (MAX_PASSWORD + 1), ["password"]),
        (EVIL, EVIL, ["username", "password"]),
        ("a" * MAX_ADDRESS, "x" * MAX_PASSWORD, []),
    ],
)
async def test_a_login_is_told_what_is_too_long(
    server: Running, worked_on: list[int], username: str, password: str, problems: list[str]
) -> None:
    wrong: dict[str, Any] = {"code": "AUTHENTICATION_FAILED", "field": None}
    query = """
        mutation ($username: String!, $password: String!) {
            login(username: $username, password: $password) { userErrors { code field } }
        }
    """
    payload = (await ask(server.as_caller(), query, username=username, password=password))["data"]["login"]
    expected: list[dict[str, Any]] = [{"code": "TOO_LONG", "field": [name]} for name in problems]
    assert payload["userErrors"] == (expected or [wrong])
    answer = await server.as_caller().post("/api/v1/login", json={"user": username, "password": password})
    assert answer.status_code == (400 if problems else 401)
    if problems:
        assert [detail["field"] for detail in answer.json()["details"]] == problems
        assert {detail["code"] for detail in answer.json()["details"]} == {"TOO_LONG"}
    assert max(worked_on, default=0) <= MAX_PASSWORD


def test_the_shell_judges_it_too(settings: Settings, tmp_path: Any) -> None:
    process = start(["user", "disable", EVIL], environment_of(settings), tmp_path)
    assert process.wait(30) == 1
    assert process.err.startswith("There is no user 'a")
    assert len(process.err) < 1_000


# ------------------------------------------------------------------------------------------------- what is sent back

NAME = "n" * 100_000


@pytest.mark.parametrize(
    "body",
    [
        {"query": f"{{ {NAME} }}"},
        {"query": f"{{ viewer {{ {NAME} }} }}"},
        {"query": f"{{ emailInbox({NAME}: 1) {{ id }} }}"},
        {"query": f"query (${NAME}: String) {{ viewer {{ id }} }}"},
        {"query": f"query ($x: {NAME}) {{ viewer {{ id }} }}"},
        {"query": f"{{ viewer {{ ...{NAME} }} }}"},
        {"query": f"{{ viewer @{NAME} {{ id }} }}"},
        {"query": "query A { viewer { id } } query B { viewer { id } }", "operationName": NAME + "?" * 100_000},
        {"query": f"query (${NAME}: Int!) {{ users(first: ${NAME}) {{ totalCount }} }}", "variables": {NAME: NAME}},
        {
            "query": "mutation ($input: CreateUserInput!) { createUser(input: $input) { success } }",
            "variables": {"input": {NAME: 1}},
        },
        {"query": f"fragment {NAME} on User {{ id }} {{ viewer {{ id }} }}"},
        {"documentId": NAME},
    ],
)
async def test_no_error_repeats_a_long_name(shared_server: Running, body: dict[str, Any]) -> None:
    answer = await shared_server.client.post("/graphql", json=body)
    assert answer.json()["errors"]
    assert "n" * (MAX_QUOTED_LENGTH + 1) not in answer.text
    assert len(answer.content) < 5_000


async def test_nor_over_a_websocket(settings: Settings) -> None:
    async with listening(settings) as (_server, url), connected(url) as subscriber:
        for query in (
            f"{{ {NAME} }}",
            f"subscription {{ {NAME} }}",
            f"subscription {{ emailInboxChanged({NAME}: 1) {{ id }} }}",
        ):
            await subscriber.send({"id": "1", "type": "subscribe", "payload": {"query": query}})
            message = await subscriber.receive()
            assert message["type"] == "error"
            assert len(str(message)) < 5_000
