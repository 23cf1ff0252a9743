"""What a narrowed token must not give, the end of tokens with their users, and how many of them there may be."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlmodel import Session, select

from cli.context import shell
from models import token as tokens
from models.database.columns import now
from models.token import AccessToken, new_token
from models.user import Permission, User
from resolvers import rocketchat
from resolvers.mongoexport import ExportReader
from resolvers.rocketchat import ImportResult
from tests.inboxes import inbox_values
from tests.running import ADMIN_ID, Running
from tests.test_user import DELETE_USER, UPDATE_USER
from tests.test_user import new_token as token_of
from tests.users import CREATE_USER, PASSWORD, ask, caller, codes, make_user

MANAGE, USERS, READ, SEND = Permission
LOGIN = 'mutation { login(username: "ada", password: "correct horse 1") { token user { %s } userErrors { code } } }'
CODE = "FORBIDDEN"


# ------------------------------------------------------------------------------------------------------------ narrowed


async def narrow(
    server: Running, *permissions: Permission, client: httpx.AsyncClient | None = None
) -> httpx.AsyncClient:
    """A client with a token that may do no more than this."""
    made = await token_of(client or server.client, permissions=[permission.name for permission in permissions])
    return server.as_caller(Authorization=f"Bearer {made['token']}")


async def create(client: httpx.AsyncClient, **values: Any) -> list[tuple[str, list[str]]]:
    body = await ask(client, CREATE_USER, input={"username": "eve", "permissions": [], "password": PASSWORD, **values})
    return [(error["code"], error["field"]) for error in body["data"]["createUser"]["userErrors"]]


async def test_a_narrowed_token_makes_nobody_who_may_do_more(server: Running) -> None:
    client = await narrow(server, USERS)
    for permission in (MANAGE, READ, SEND):
        refused = await create(client, permissions=[permission.name, "MANAGE_USERS"])
        assert refused == [("INVALID", ["input", "permissions"])]
    assert await create(client, permissions=["MANAGE_USERS"]) == []


async def test_nor_anybody_who_sees_more(server: Running) -> None:
    lead = await caller(server, "lead", USERS, READ, departments=["Sales"])
    client = await narrow(server, USERS, READ, client=lead)
    refused = await create(client, permissions=["READ_EMAIL"], departments=["Sales", "Legal"])
    assert refused == [("INVALID", ["input", "departments"])]
    assert await create(client, permissions=["READ_EMAIL"], departments=["Sales"]) == []
    assert await create(client, username="bob", departments=["Legal"]) == []  # shows nothing


@pytest.mark.parametrize(
    "changes",
    [{"password": "another 1"}, {"active": False}, {"username": "x"}, {"email": "x@example.org"}, {"permissions": []}],
)
@pytest.mark.parametrize("whom", ["stronger", "oneself"])
async def test_nor_changes_who_may_do_more(server: Running, changes: dict[str, Any], whom: str) -> None:
    stronger = ADMIN_ID if whom == "oneself" else await make_user(server, "stronger", MANAGE)
    client = await narrow(server, USERS, READ)
    assert codes(await ask(client, UPDATE_USER, input={"id": stronger, **changes})) == [CODE]
    assert codes(await ask(client, DELETE_USER, id=stronger)) == [CODE]
    weaker = await make_user(server, "weaker", READ)
    assert (await ask(client, UPDATE_USER, input={"id": weaker, **changes}))["data"]["updateUser"]["success"]
    more = (await ask(client, UPDATE_USER, input={"id": weaker, "permissions": ["SEND_EMAIL"]}))["data"]["updateUser"]
    assert more["userErrors"] == [{"code": "INVALID", "field": ["input", "permissions"]}]
    assert (await ask(client, DELETE_USER, id=weaker))["data"]["deleteUser"]["success"]


async def test_whoever_manages_users_with_an_own_token_gives_any_permission(server: Running) -> None:
    client = await caller(server, "lead", USERS)
    assert await create(client, permissions=["MANAGE_EMAIL_INBOX"], departments=["Legal"]) == []


# ------------------------------------------------------------------------------------------------------ ended for good


@pytest.mark.parametrize("disabled_before", [False, True])
async def test_no_token_comes_back_to_life_with_its_user(server: Running, disabled_before: bool) -> None:
    """Also where the user was disabled by a version that left the tokens."""
    client = await caller(server, "ada")
    user_id = (await ask(client, "{ viewer { id } }"))["data"]["viewer"]["id"]
    if disabled_before:
        await server.context.database.write(lambda session: _disable(session, user_id))
    else:
        await ask(server.client, UPDATE_USER, input={"id": user_id, "active": False})
    assert codes(await ask(client, "{ viewer { id } }")) == ["UNAUTHENTICATED"]
    assert (await ask(server.client, UPDATE_USER, input={"id": user_id, "active": True}))["data"]["updateUser"][
        "success"
    ]
    assert codes(await ask(client, "{ viewer { id } }")) == ["UNAUTHENTICATED"]


def _disable(session: Session, user_id: str) -> None:
    session.get_one(User, user_id).active = False
    session.flush()


async def test_nor_by_an_import(server: Running) -> None:
    client = await caller(server, "ada")
    user_id = (await ask(client, "{ viewer { id } }"))["data"]["viewer"]["id"]
    for active in (False, True):
        document = {"_id": user_id, "username": "ada", "active": active}
        if not active:
            document["services"] = {"resume": {"loginTokens": [{"hashedToken": "A" * 43 + "="}]}}
        exported = [ExportReader(1, document)]
        await rocketchat.import_documents(
            server.context.acting_as(shell), exported, ImportResult(), lambda left: pytest.fail(str(left))
        )
    assert codes(await ask(client, "{ viewer { id } }")) == ["UNAUTHENTICATED"]
    assert not await server.context.database.read(tokens.of_user(user_id))


# --------------------------------------------------------------------------------------------------------- how many


async def fill(server: Running, user_id: str, count: int, **more: Any) -> None:
    def unit(session: Session) -> None:
        for _ in range(count):
            tokens.add(session, user_id, tokens.digest(new_token()), "script", **more)

    await server.context.database.write(unit)


async def test_a_user_has_so_many_access_tokens_and_no_more(server: Running) -> None:
    client = await caller(server, "ada")
    user_id = (await ask(client, "{ viewer { id } }"))["data"]["viewer"]["id"]
    await fill(server, user_id, 20, expires_at=now() - timedelta(seconds=1))  # those that have ended do not count
    await fill(server, user_id, tokens.MAX_ACCESS_TOKENS - 1)
    answers = await asyncio.gather(*(token_of(client) for _ in range(5)))
    assert sorted(answer["success"] for answer in answers) == [False] * 4 + [True]
    [error] = next(answer for answer in answers if not answer["success"])["userErrors"]
    assert (error["code"], error["field"]) == ("CONFLICT", None)
    assert error["message"].startswith("You have 100 access tokens")
    listed = (await ask(client, "{ accessTokens { id name } }"))["data"]["accessTokens"]
    assert len(listed) == tokens.MAX_ACCESS_TOKENS + 1  # and that of the login
    revoked = next(token["id"] for token in listed if token["name"] == "script")
    await ask(client, "mutation ($id: ID!) { revokeAccessToken(id: $id) { success } }", id=revoked)
    assert (await token_of(client))["success"]
    assert (await token_of(server.client))["success"]


async def test_the_list_has_an_end_whatever_is_stored(server: Running) -> None:
    client = await caller(server, "ada")
    user_id = (await ask(client, "{ viewer { id } }"))["data"]["viewer"]["id"]
    await fill(server, user_id, 500)
    listed = (await ask(client, "{ accessTokens { id } }"))["data"]["accessTokens"]
    assert len(listed) == tokens.MAX_ACCESS_TOKENS + tokens.MAX_LOGINS


async def test_the_oldest_login_makes_room_for_a_new_one(server: Running) -> None:
    user_id = await make_user(server, "ada", password=PASSWORD)
    await fill(server, user_id, 5)

    def logins(session: Session) -> list[str]:
        for _ in range(tokens.MAX_LOGINS + 5):
            tokens.add_login(session, user_id, tokens.digest(new_token()), now() + tokens.LOGIN_LIFETIME)
        newest = select(AccessToken).where(AccessToken.user_id == user_id, AccessToken.name == tokens.LOGIN_NAME)
        return [token.id for token in session.exec(newest)]

    before = await server.context.database.write(logins)
    assert len(before) == tokens.MAX_LOGINS
    assert (await server.graphql(LOGIN % "id", headers={}))["data"]["login"]["token"]
    alive = await server.context.database.read(tokens.of_user(user_id))
    assert len(alive) == tokens.MAX_LOGINS + 5
    assert len({token.id for token in alive} & set(before)) == tokens.MAX_LOGINS - 1


@pytest.mark.parametrize("name", [tokens.LOGIN_NAME, tokens.TAKEN_OVER])
async def test_no_other_token_is_called_like_that_of_a_login(server: Running, name: str) -> None:
    refused = await token_of(server.client, name=name)
    assert [(error["code"], error["field"]) for error in refused["userErrors"]] == [("INVALID", ["input", "name"])]


async def test_lists_of_an_input_have_an_end(server: Running) -> None:
    many = ["READ_EMAIL"] * 101
    assert await create(server.client, permissions=many) == [("TOO_LONG", ["input", "permissions"])]
    refused = await token_of(server.client, permissions=many)
    assert [error["code"] for error in refused["userErrors"]] == ["TOO_LONG"]


# ------------------------------------------------------------------------------------------------------------- oneself


@pytest.mark.parametrize("fields", ["id username", "id permissions email departments active"])
async def test_who_logs_in_sees_all_of_oneself(server: Running, fields: str) -> None:
    user_id = await make_user(server, "ada", READ, email="a@b.cd", departments=["Sales"], password=PASSWORD)
    other = await caller(server, "other")
    expected = {
        "id": user_id,
        "username": "ada",
        "permissions": ["READ_EMAIL"],
        "email": "a@b.cd",
        "departments": ["Sales"],
        "active": True,
    }
    for client in (server.as_caller(), other, server.as_caller(), server.client):  # by a plan, too
        body = await ask(client, LOGIN % fields)
        assert "errors" not in body
        assert body["data"]["login"]["user"] == {name: expected[name] for name in fields.split()}


async def test_a_login_shows_nobody_else(server: Running) -> None:
    await make_user(server, "ada", READ, password=PASSWORD)
    reader = await caller(server, "reader", READ)
    query = LOGIN.removesuffix("}") % "permissions" + " again: login(username: %s, password: %s) { user { email } } }"
    query = query.replace("%s", '"ada"', 1).replace("%s", '"wrong"', 1)
    assert (await ask(reader, query))["data"]["again"] == {"user": None}
    await server.graphql(
        "mutation ($input: SetEmailInboxInput!) { setEmailInbox(input: $input) { success } }",
        input=inbox_values(id="a"),
    )
    document = LOGIN % "permissions"
    assert not codes(await ask(reader, document))
    asked = await ask(reader, '{ emailInbox(id: "a") { createdBy { email } } }')
    assert codes(asked) == [CODE]


# --------------------------------------------------------------------------------------------------------------- names


TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
HIDDEN = "\u200b\u2060\u2064\ufeff\ufff9"
UNSEEN = (
    TURNING + HIDDEN + "\u200c\u200d\u200e\u200f\u061c\u00ad\u034f\u3164\u115f\uffa0\ufe0f\u2800\U000e0041\U000e0100"
)
CONTROL = "\x00\x1b\x7f\x9b\u2028"
SHOWN = ["ada", "Ünal", "שלום", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\u200fשלם", "🏳️\u200d🌈 Team"]


async def test_a_username_holds_nothing_that_is_not_seen(server: Running) -> None:
    for sign in UNSEEN + CONTROL:
        refused = await create(server.client, username=f"a{sign}da")
        assert refused == [("INVALID", ["input", "username"])], ascii(sign)


async def test_names_may_be_of_any_script(server: Running) -> None:
    for number, name in enumerate(SHOWN):
        assert await create(server.client, username=f"n{number}", name=name, departments=[name]) == []
        values = {**inbox_values(id="a"), "name": name, "senderInfo": name, "department": name, "description": name}
        assert await _set(server, values) == []


async def test_names_that_are_shown_hold_nothing_that_turns_what_is_around_them(server: Running) -> None:
    for sign in TURNING + HIDDEN:
        refused = await create(server.client, name=f"a{sign}b", departments=[f"a{sign}b"])
        assert refused == [("INVALID", ["input", "name"]), ("INVALID", ["input", "departments", "0"])]
        for name in ("name", "senderInfo", "department"):
            assert await _set(server, {**inbox_values(id="a"), name: f"a{sign}b"}) == [name], ascii(sign)
        token = await token_of(server.client, name=f"a{sign}b")
        assert [error["field"] for error in token["userErrors"]] == [["input", "name"]]
    for sign in TURNING:
        assert await _set(server, {**inbox_values(id="a"), "description": f"a\n{sign}b"}) == ["description"]


async def test_a_name_of_which_nothing_is_seen_is_blank(server: Running) -> None:
    for blank in ("\u200d", "\u3164", "\u2800", " \ufe0f "):
        refused = await token_of(server.client, name=blank)
        assert [error["code"] for error in refused["userErrors"]] == ["REQUIRED"]


async def _set(server: Running, values: dict[str, Any]) -> list[str]:
    query = "mutation ($input: SetEmailInboxInput!) { setEmailInbox(input: $input) { userErrors { field } } }"
    graphql = (await server.graphql(query, input=values))["data"]["setEmailInbox"]["userErrors"]
    body = {("_id" if name == "id" else name): value for name, value in values.items()}
    rest = (await server.client.post("/api/v1/email-inbox", json=body)).json()
    fields = [error["field"][1] for error in graphql]
    assert fields == [detail["field"] for detail in rest.get("details", [])]
    return fields
