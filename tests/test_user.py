"""Making, changing, deleting and listing users; access tokens. GraphQL only: the legacy path has none of it."""

import asyncio
from datetime import timedelta
from typing import Any

from cli.context import shell
from edge.answers import to_iso
from models.database.columns import now
from models.errors import Refused
from models.user import Permission
from resolvers.user import update_user
from tests.api import GraphQLApi
from tests.inboxes import inbox_values
from tests.running import ADMIN_ID, Running
from tests.users import CREATE_TOKEN, CREATE_USER, PASSWORD, REVOKE, ask, caller, codes, make_user

UPDATE_USER = """
    mutation ($input: UpdateUserInput!) {
        updateUser(input: $input) {
            success userErrors { code field } user { username name email permissions departments active }
        }
    }
"""
DELETE_USER = "mutation ($id: ID!) { deleteUser(id: $id) { success deletedId userErrors { code field } } }"
ALL = [permission.name for permission in Permission]


async def test_a_user_is_made_and_shown(server: Running) -> None:
    values = {
        "username": "Ada",
        "name": "Ada Lovelace",
        "email": "ada@example.org",
        "password": PASSWORD,
        "permissions": ["READ_EMAIL", "READ_EMAIL"],
        "departments": ["Sales", "Sales"],
    }
    payload = (await server.graphql(CREATE_USER, input=values))["data"]["createUser"]
    user = payload["user"]
    assert len(user.pop("id")) == 17
    del values["password"]
    assert user == {**values, "permissions": ["READ_EMAIL"], "departments": ["Sales"], "active": True}


async def test_every_problem_of_a_user_is_told_at_once(server: Running) -> None:
    await make_user(server, "Ada", email="ada@example.org")
    values = {
        "username": "a b",
        "email": "no",
        "name": "x" * 201,
        "permissions": [],
        "password": "",
        "departments": ["\0"],
    }
    payload = (await server.graphql(CREATE_USER, input=values))["data"]["createUser"]
    assert {(".".join(error["field"]), error["code"]) for error in payload["userErrors"]} == {
        ("input.username", "INVALID"),
        ("input.email", "INVALID"),
        ("input.name", "TOO_LONG"),
        ("input.password", "INVALID"),
        ("input.departments.0", "INVALID"),
    }
    taken = {"username": "ADA", "email": "ADA@example.org", "permissions": []}
    payload = (await server.graphql(CREATE_USER, input=taken))["data"]["createUser"]
    assert [error["code"] for error in payload["userErrors"]] == ["TAKEN", "TAKEN"]


async def update(server: Running, user_id: str, **changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = (await server.graphql(UPDATE_USER, input={"id": user_id, **changes}))["data"]["updateUser"]
    return found


async def test_an_update_changes_what_is_given_and_null_clears(server: Running) -> None:
    user_id = await make_user(server, "ada", Permission.READ_EMAIL, name="Ada", email="a@b.c", departments=["Sales"])
    changed = (await update(server, user_id, name=None, permissions=["SEND_EMAIL"]))["user"]
    assert changed == {
        "username": "ada",
        "name": None,
        "email": "a@b.c",
        "permissions": ["SEND_EMAIL"],
        "departments": ["Sales"],
        "active": True,
    }
    refused = await update(server, user_id, username=None)
    assert refused["userErrors"] == [{"code": "REQUIRED", "field": ["input", "username"]}]
    assert (await update(server, "nobody"))["userErrors"][0]["code"] == "NOT_FOUND"


async def test_a_lost_permission_or_a_disabled_user_counts_at_once(server: Running) -> None:
    client = await caller(server, "ada", Permission.READ_EMAIL)
    user_id = (await ask(client, "{ viewer { id } }"))["data"]["viewer"]["id"]
    assert not codes(await ask(client, "{ emailInboxes { totalCount } }"))
    await update(server, user_id, permissions=[])
    assert codes(await ask(client, "{ emailInboxes { totalCount } }")) == ["FORBIDDEN"]
    await update(server, user_id, active=False)
    assert codes(await ask(client, "{ viewer { id } }")) == ["UNAUTHENTICATED"]


async def test_a_new_password_ends_the_tokens(server: Running) -> None:
    client = await caller(server, "ada")
    user_id = (await ask(client, "{ viewer { id } }"))["data"]["viewer"]["id"]
    await update(server, user_id, password="another 2")
    assert codes(await ask(client, "{ viewer { id } }")) == ["UNAUTHENTICATED"]


async def test_a_deleted_user_is_gone_with_the_tokens_and_leaves_the_inboxes(server: Running) -> None:
    client = await caller(server, "ada", Permission.MANAGE_EMAIL_INBOX)
    user_id = (await ask(client, "{ viewer { id } }"))["data"]["viewer"]["id"]
    await GraphQLApi(client).set_inbox(inbox_values(id="hers"))
    payload = (await server.graphql(DELETE_USER, id=user_id))["data"]["deleteUser"]
    assert payload == {"success": True, "deletedId": user_id, "userErrors": []}
    assert codes(await ask(client, "{ viewer { id } }")) == ["UNAUTHENTICATED"]
    shown = await GraphQLApi(server.client).inbox("hers")
    assert shown
    assert shown["createdBy"] is None


async def test_the_last_manager_of_users_stays_one(server: Running) -> None:
    payload = (await server.graphql(DELETE_USER, id=ADMIN_ID))["data"]["deleteUser"]
    assert payload["userErrors"] == [{"code": "CONFLICT", "field": ["id"]}]
    for name, value in (("active", False), ("permissions", [])):
        refused = await update(server, ADMIN_ID, **{name: value})
        assert refused["userErrors"] == [{"code": "CONFLICT", "field": ["input", "id"]}]
    await make_user(server, "second", Permission.MANAGE_USERS)
    assert (await update(server, ADMIN_ID, permissions=["MANAGE_EMAIL_INBOX"]))["success"]


async def test_of_two_managers_who_step_down_at_once_one_stays(server: Running) -> None:
    second = await make_user(server, "second", Permission.MANAGE_USERS)
    context = server.context.acting_as(shell)
    work = [update_user(context, {"id": user_id, "permissions": []}) for user_id in (ADMIN_ID, second)]
    outcomes = await asyncio.gather(*work, return_exceptions=True)
    assert sum(isinstance(outcome, Refused) for outcome in outcomes) == 1


async def test_no_username_is_taken_for_the_address_of_another_user(server: Running) -> None:
    for username in ("a@b.cd", "a\uff20b.cd", "a b", "a　b"):
        values: dict[str, Any] = {"username": username, "permissions": []}
        payload = (await server.graphql(CREATE_USER, input=values))["data"]["createUser"]
        assert [error["code"] for error in payload["userErrors"]] == ["INVALID"], username


async def test_users_are_listed_and_searched(server: Running) -> None:
    for name in ("Bob", "ada", "Cara"):
        await make_user(server, name, email=f"{name}@example.org", name=f"{name} of Straße")
    query = "query ($search: String, $after: String) { users(first: 2, after: $after, search: $search) { %s } }"
    query %= "totalCount nodes { username } pageInfo { hasNextPage endCursor }"
    first = (await server.graphql(query))["data"]["users"]
    assert [node["username"] for node in first["nodes"]] == ["ada", "admin"]
    second = (await server.graphql(query, after=first["pageInfo"]["endCursor"]))["data"]["users"]
    assert [node["username"] for node in second["nodes"]] == ["Bob", "Cara"]
    assert not second["pageInfo"]["hasNextPage"]
    for search, count in (("STRASSE", 3), ("bob@", 1), ("%", 0), ("nobody", 0)):
        assert (await server.graphql(query, search=search))["data"]["users"]["totalCount"] == count


# --------------------------------------------------------------------------------------------------- access tokens


async def new_token(client: Any, **values: Any) -> dict[str, Any]:
    found: dict[str, Any] = (await ask(client, CREATE_TOKEN, input={"name": "script", **values}))["data"][
        "createAccessToken"
    ]
    return found


async def test_a_token_works_is_listed_and_is_revoked(server: Running) -> None:
    made = await new_token(server.client)
    assert len(made["token"]) == 43
    client = server.as_caller(Authorization=f"Bearer {made['token']}")
    listed = (await ask(client, "{ accessTokens { id name permissions lastUsedAt expiresAt } }"))["data"][
        "accessTokens"
    ]
    assert [token["name"] for token in listed] == ["script", "first administrator"]
    assert listed[0]["permissions"] == ALL
    assert made["token"] not in str(listed)
    revoked = (await ask(client, REVOKE, id=listed[0]["id"]))["data"]["revokeAccessToken"]
    assert revoked["revokedId"] == listed[0]["id"]
    assert codes(await ask(client, "{ viewer { id } }")) == ["UNAUTHENTICATED"]


async def test_nobody_revokes_the_token_of_somebody_else(server: Running) -> None:
    client = await caller(server, "ada")
    made = await new_token(server.client)
    for token_id in (made["accessToken"]["id"], "nothing", "a\0"):
        refused = (await ask(client, REVOKE, id=token_id))["data"]["revokeAccessToken"]
        assert refused["userErrors"] == [{"code": "NOT_FOUND", "field": ["id"]}]


async def test_a_token_is_narrowed_and_cannot_make_a_wider_one(server: Running) -> None:
    made = await new_token(server.client, permissions=["READ_EMAIL"])
    narrow = server.as_caller(Authorization=f"Bearer {made['token']}")
    assert not codes(await ask(narrow, "{ emailInboxes { totalCount } }"))
    assert codes(await ask(narrow, "{ users { totalCount } }")) == ["FORBIDDEN"]
    wider = await new_token(narrow, permissions=["MANAGE_USERS"])
    assert [(error["code"], error["field"]) for error in wider["userErrors"]] == [("INVALID", ["input", "permissions"])]
    same = await new_token(narrow)
    assert same["accessToken"]["permissions"] == ["READ_EMAIL"]
    assert codes(await ask(narrow, REVOKE, id=same["accessToken"]["id"])) == ["FORBIDDEN"]
    assert (await ask(narrow, REVOKE, id=made["accessToken"]["id"]))["data"]["revokeAccessToken"]["success"]


async def test_a_token_ends(server: Running) -> None:
    past = await new_token(server.client, expiresAt=to_iso(now() - timedelta(seconds=1)))
    assert [(error["code"], error["field"]) for error in past["userErrors"]] == [("INVALID", ["input", "expiresAt"])]
    made = await new_token(server.client, expiresAt=to_iso(now() + timedelta(milliseconds=300)))
    client = server.as_caller(Authorization=f"Bearer {made['token']}")
    while not codes(await ask(client, "{ viewer { id } }")):
        pass
    assert codes(await ask(client, "{ viewer { id } }")) == ["UNAUTHENTICATED"]
