"""Logging in and out, over both APIs; guessing is slowed."""

import asyncio
import json
from typing import Any

from models.user import Permission
from resolvers.throttle import FAILED_LOGINS_PER_USER, FAILURES_PER_NETWORK
from tests.api import JSON_TYPE
from tests.running import Running, client_of
from tests.users import PASSWORD, ask, codes, make_user

LOGIN = """
    mutation ($username: String!, $password: String!) {
        login(username: $username, password: $password) { success token user { id } userErrors { code field message } }
    }
"""


async def test_one_logs_in_by_name_or_address_and_out_again(server: Running) -> None:
    user_id = await make_user(server, "Ada", Permission.READ_EMAIL, email="Ada@Example.org", password=PASSWORD)
    for name in ("ada", "ADA", "ada@example.org", "ADA@EXAMPLE.ORG"):
        payload = (await ask(server.as_caller(), LOGIN, username=name, password=PASSWORD))["data"]["login"]
        assert payload["success"]
        assert payload["user"]["id"] == user_id
    headers = {"X-User-Id": user_id, "X-Auth-Token": payload["token"]}
    client = server.as_caller(**headers)
    assert (await ask(client, "{ viewer { username } }"))["data"]["viewer"]["username"] == "Ada"
    assert (await ask(client, "mutation { logout { success } }"))["data"]["logout"]["success"]
    assert codes(await ask(client, "{ viewer { username } }")) == ["UNAUTHENTICATED"]


async def test_rest_logs_in_and_out_in_the_form_of_rocket_chat(server: Running) -> None:
    user_id = await make_user(server, "ada", email="ada@example.org", name="Ada", password=PASSWORD)
    client = server.as_caller()
    me = {
        "_id": user_id,
        "username": "ada",
        "name": "Ada",
        "emails": [{"address": "ada@example.org", "verified": True}],
        "roles": [],
    }
    for name in ({"user": "ada"}, {"username": "ada"}, {"email": "ada@example.org"}):
        answer = await client.post("/api/v1/login", json={**name, "password": PASSWORD})
        body = answer.json()
        assert answer.status_code == 200
        assert body["status"] == "success"
        assert body["data"]["userId"] == user_id
        assert body["data"]["me"] == me
    client = server.as_caller(**{"X-User-Id": user_id, "X-Auth-Token": body["data"]["authToken"]})
    assert (await client.get("/api/v1/me")).json() == {**me, "success": True}
    out = (await client.post("/api/v1/logout")).json()
    assert out == {"status": "success", "data": {"message": "You've been logged out!"}}
    assert (await client.get("/api/v1/me")).status_code == 401


async def test_a_wrong_password_and_an_unknown_user_are_told_the_same(server: Running) -> None:
    await make_user(server, "ada", password=PASSWORD)
    await make_user(server, "tokens-only")
    answers = []
    for name in ("ada", "nobody", "tokens-only", "a\0b", "\ud800"):
        rest = await server.as_caller().post(
            "/api/v1/login", json={"user": name.replace("\ud800", "x"), "password": "no"}
        )
        assert rest.status_code == 401
        answers.append((await login(server, name, "no"))["userErrors"])
    assert answers == [[{"code": "AUTHENTICATION_FAILED", "field": None, "message": WRONG}]] * 5


WRONG = "The username or the password is wrong."


async def login(server: Running, username: str, password: str, address: str = "127.0.0.1") -> dict[str, Any]:
    client = client_of(server.app, {"Content-Type": "application/json"}, address)
    body = json.dumps({"query": LOGIN, "variables": {"username": username, "password": password}})
    found: dict[str, Any] = (await client.post("/graphql", content=body)).json()
    return found["data"]["login"] if found.get("data") else {"errors": codes(found)}


async def test_missing_credentials_are_named(server: Running) -> None:
    answer = await server.as_caller().post("/api/v1/login", content=b"null", headers=JSON_TYPE)
    assert answer.status_code == 400
    assert [detail["field"] for detail in answer.json()["details"]] == ["user", "password"]


async def test_guessing_is_slowed_by_user_and_address_and_locks_nobody_else_out(server: Running) -> None:
    await make_user(server, "ada", password=PASSWORD)
    await make_user(server, "bob", password=PASSWORD)
    for _ in range(FAILED_LOGINS_PER_USER.amount):
        assert (await login(server, "ada", "guess"))["userErrors"]
    assert await login(server, "ADA", PASSWORD) == {"errors": ["RATE_LIMITED"]}
    rest = await server.as_caller().post("/api/v1/login", json={"user": "ada", "password": PASSWORD})
    assert rest.status_code == 429
    assert rest.json()["error"] == "error-too-many-requests"
    assert 1 <= int(rest.headers["Retry-After"]) <= 60
    assert rest.headers["X-RateLimit-Limit"] == "5"
    assert (await login(server, "bob", PASSWORD))["success"]
    assert (await login(server, "ada", PASSWORD, address="127.0.0.2"))["success"]


async def test_guesses_that_are_sent_at_once_are_counted_one_by_one(server: Running) -> None:
    await make_user(server, "ada", password=PASSWORD)
    answers = await asyncio.gather(
        *(login(server, "ada", f"guess {number}") for number in range(FAILED_LOGINS_PER_USER.amount + 5))
    )
    # Two are verified at a time, so that one may slip through.
    assert answers.count({"errors": ["RATE_LIMITED"]}) >= 4


async def test_guessing_tokens_is_slowed_but_a_right_token_passes(server: Running) -> None:
    guesser = server.as_caller(Authorization="Bearer guess")
    statuses = [(await guesser.get("/api/v1/me")).status_code for _ in range(FAILURES_PER_NETWORK.amount + 1)]
    assert statuses == [401] * FAILURES_PER_NETWORK.amount + [429]
    assert codes(await ask(guesser, "{ viewer { id } }")) == ["RATE_LIMITED"]
    assert (await server.client.get("/api/v1/me")).status_code == 200
