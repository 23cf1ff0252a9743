"""Who may do what: every operation against every kind of caller, over GraphQL and REST."""

import asyncio
import itertools
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import httpx
import pytest

from edge.answers import to_iso
from models.database.columns import now
from models.errors import Unavailable
from models.user import Permission, User
from rest import ROUTES
from schema import build_schema
from tests.api import JSON_TYPE, Api, GraphQLApi
from tests.inboxes import inbox_values
from tests.rules import rules
from tests.running import ADMIN_ID, ADMIN_TOKEN, Running
from tests.users import CREATE_TOKEN, REVOKE, ask, caller, codes

MANAGE, USERS, READ, SEND = Permission
ANYBODY: set[str] = {"nobody", "powerless", *(permission.name for permission in Permission)}
ANY_USER = ANYBODY - {"nobody"}
INBOX_SEERS = {MANAGE.name, READ.name, SEND.name}
MANAGERS, USER_MANAGERS = {MANAGE.name}, {USERS.name}

GRAPHQL: dict[str, tuple[str, set[str]]] = {
    "viewer": ("{ viewer { id } }", ANY_USER),
    "emailInbox": ('{ emailInbox(id: "a") { id } }', INBOX_SEERS),
    "emailInboxes": ("{ emailInboxes { totalCount } }", INBOX_SEERS),
    "mailServerSettings": ('{ mailServerSettings(email: "a@gmail.com") { provider } }', MANAGERS),
    "users": ("{ users { totalCount } }", USER_MANAGERS),
    "accessTokens": ("{ accessTokens { id } }", ANY_USER),
    "setEmailInbox": ("mutation ($inbox: SetEmailInboxInput!) { setEmailInbox(input: $inbox) { success } }", MANAGERS),
    "updateEmailInbox": ('mutation { updateEmailInbox(input: { id: "x" }) { success } }', MANAGERS),
    "deleteEmailInbox": ('mutation { deleteEmailInbox(id: "x") { success } }', MANAGERS),
    "checkEmailInbox": ("mutation { checkEmailInbox(input: {}) { success } }", MANAGERS),
    "sendTestEmail": ('mutation { sendTestEmail(id: "x") { success } }', MANAGERS),
    "login": ('mutation { login(username: "WHO", password: "y") { success } }', ANYBODY),
    "logout": ("mutation { logout { success } }", ANY_USER),
    "createUser": ('mutation { createUser(input: { username: "", permissions: [] }) { success } }', USER_MANAGERS),
    "updateUser": ('mutation { updateUser(input: { id: "x" }) { success } }', USER_MANAGERS),
    "deleteUser": ('mutation { deleteUser(id: "x") { success } }', USER_MANAGERS),
    "createAccessToken": ('mutation { createAccessToken(input: { name: "" }) { success } }', ANY_USER),
    "revokeAccessToken": ('mutation { revokeAccessToken(id: "x") { success } }', ANY_USER),
    "changesCursor": ("{ changesCursor }", INBOX_SEERS),
    "emailInboxChanged": ("subscription { emailInboxChanged { id } }", INBOX_SEERS),
}
REST: dict[tuple[str, str], set[str]] = {
    ("POST", "/email-inbox"): MANAGERS,
    ("GET", "/email-inbox.list"): MANAGERS,
    ("GET", "/email-inbox.search"): MANAGERS,
    ("GET", "/email-inbox/{id}"): MANAGERS,
    ("DELETE", "/email-inbox/{id}"): MANAGERS,
    ("POST", "/email-inbox.send-test/{id}"): MANAGERS,
    ("POST", "/login"): ANYBODY,
    ("POST", "/logout"): ANY_USER,
    ("GET", "/me"): ANY_USER,
    ("GET", "/openapi.json"): ANYBODY,
}


@pytest.fixture
async def callers(server: Running) -> dict[str, httpx.AsyncClient]:
    """A client for every kind of caller: without credentials, without permissions, and with each one alone."""
    clients = {"nobody": server.as_caller(), "powerless": await caller(server, "powerless")}
    for permission in Permission:
        clients[permission.name] = await caller(server, permission.name.lower(), permission)
    return clients


def root_fields() -> set[str]:
    schema = build_schema()._schema
    roots = (schema.query_type, schema.mutation_type, schema.subscription_type)
    return {name for root in roots if root for name in root.fields}


def test_every_operation_has_a_rule_and_a_row_in_the_matrix() -> None:
    names = root_fields()
    assert names == set(GRAPHQL)
    assert {snake_case(name) for name in names} <= set(rules())
    routes = {(method, route.path) for route in ROUTES for method in (route.methods or ()) if method != "HEAD"}
    assert routes == set(REST)


def snake_case(name: str) -> str:
    return re.sub("([A-Z])", lambda found: f"_{found[1].lower()}", name)


async def test_graphql_operations_are_refused_to_all_but_those_who_may(callers: dict[str, httpx.AsyncClient]) -> None:
    found = {}
    for name, (query, _) in GRAPHQL.items():
        if name not in ("emailInboxChanged", "logout"):
            allowed = {who for who, client in callers.items() if await is_allowed(client, query, who)}
            found[name] = allowed
    expected = {name: allowed for name, (_, allowed) in GRAPHQL.items() if name in found}
    assert found == expected


async def is_allowed(client: httpx.AsyncClient, query: str, who: str) -> bool:
    body = await ask(client, query.replace("WHO", who), inbox=inbox_values(name=""))
    refusals = codes(body)
    assert refusals in ([], ["UNAUTHENTICATED" if who == "nobody" else "FORBIDDEN"])
    return not refusals


async def test_rest_operations_are_refused_to_all_but_those_who_may(callers: dict[str, httpx.AsyncClient]) -> None:
    found = {}
    for method, path in REST:
        if path != "/logout":
            url = "/api/v1" + path.format(id="nothing")
            answers = {
                who: await client.request(method, url, content=b"{}", headers=JSON_TYPE)
                for who, client in callers.items()
            }
            found[(method, path)] = {who for who, answer in answers.items() if answer.status_code not in (401, 403)}
            statuses = {who: answer.status_code for who, answer in answers.items()}
            assert "nobody" in found[(method, path)] or statuses["nobody"] == 401
            assert "powerless" in found[(method, path)] or statuses["powerless"] == 403
    assert found == {key: allowed for key, allowed in REST.items() if key in found}


async def test_permission_is_asked_before_the_input_is_looked_at(server: Running) -> None:
    powerless = await caller(server, "powerless")
    for client, status, code in ((server.as_caller(), 401, "UNAUTHENTICATED"), (powerless, 403, "FORBIDDEN")):
        answer = await client.post("/api/v1/email-inbox", content=b"no JSON", headers=JSON_TYPE)
        assert answer.status_code == status
        assert codes(await ask(client, GRAPHQL["setEmailInbox"][0], inbox=inbox_values(name=""))) == [code]


async def test_a_stranger_is_not_told_what_is_wrong_with_the_input(server: Running) -> None:
    for query in ("{ emailInboxes(first: 0) { totalCount } }", '{ emailInboxes(after: "x") { totalCount } }'):
        assert codes(await ask(server.as_caller(), query)) == ["UNAUTHENTICATED"]


# ------------------------------------------------------------------------------------------------------ credentials


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-User-Id": ADMIN_ID},
        {"X-Auth-Token": ADMIN_TOKEN},
        {"X-User-Id": "somebody", "X-Auth-Token": ADMIN_TOKEN},
        {"X-User-Id": ADMIN_ID, "X-Auth-Token": ADMIN_TOKEN[:-1]},
        {"X-User-Id": ADMIN_ID, "X-Auth-Token": ADMIN_TOKEN + "\x01"},
        {"Authorization": ADMIN_TOKEN},
        {"Authorization": f"Basic {ADMIN_TOKEN}"},
        {"Authorization": "Bearer "},
    ],
)
async def test_bad_credentials_are_none(server: Running, headers: dict[str, str]) -> None:
    client = server.as_caller(**headers)
    answer = await client.get("/api/v1/me")
    assert answer.status_code == 401
    assert answer.json() == {
        "success": False,
        "error": "unauthorized",
        "status": "error",
        "message": "You must be logged in to do this.",
    }
    assert codes(await ask(client, "{ viewer { id } }")) == ["UNAUTHENTICATED"]


async def test_a_bearer_token_is_enough(server: Running) -> None:
    client = server.as_caller(Authorization=f"bearer {ADMIN_TOKEN}")
    assert (await client.get("/api/v1/me")).json()["_id"] == ADMIN_ID
    assert (await ask(client, "{ viewer { id } }"))["data"]["viewer"]["id"] == ADMIN_ID


async def test_what_is_public_needs_no_good_credentials(server: Running) -> None:
    assert (await server.graphql("{ __typename }", {"X-User-Id": "x", "X-Auth-Token": "y"}))["data"]


async def test_a_token_that_is_revoked_under_load_is_refused_from_the_next_request_on(server: Running) -> None:
    token = (await ask(server.client, CREATE_TOKEN, input={"name": "script"}))["data"]["createAccessToken"]
    client = server.as_caller(Authorization=f"Bearer {token['token']}")
    numbers = itertools.count()
    works: dict[str, Callable[[], Awaitable[bool]]] = {
        "read": lambda: _is_taken(client, "{ emailInboxes { nodes { id } } }"),
        "create": lambda: _is_taken(client, GRAPHQL["setEmailInbox"][0], inbox=_numbered(numbers)),
        "REST read": lambda: _is_taken_over_rest(client.get("/api/v1/me")),
        "REST create": lambda: _is_taken_over_rest(client.post("/api/v1/email-inbox", json=_numbered(numbers))),
    }
    taken: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    busy, revoked = asyncio.Event(), asyncio.Event()

    async def load(name: str) -> None:
        while refused[name] < 5:
            await asyncio.sleep(0)  # a look-up in SQLite does not wait for anything
            begun_after = revoked.is_set()
            if not await works[name]():
                refused[name] += 1
                continue
            assert not begun_after, f"{name} was taken after the token was revoked"
            taken[name] += 1
            if min(taken[each] for each in works) >= 5:
                busy.set()

    async with asyncio.TaskGroup() as group:
        for name in list(works) * 4:
            group.create_task(load(name))
        await busy.wait()
        answer = await ask(server.client, REVOKE, id=token["accessToken"]["id"])
        assert answer["data"]["revokeAccessToken"]["success"]
        revoked.set()


def _numbered(numbers: Iterator[int]) -> dict[str, Any]:
    return inbox_values(email=f"n{next(numbers)}@example.org")


async def _is_taken(client: httpx.AsyncClient, query: str, **variables: Any) -> bool:
    body = await ask(client, query, **variables)
    assert set(codes(body)) <= {"UNAUTHENTICATED", "RATE_LIMITED"}, body
    return not codes(body)


async def _is_taken_over_rest(answering: Awaitable[httpx.Response]) -> bool:
    answer = await answering
    assert answer.status_code in (200, 401, 429), answer.text
    return answer.status_code == 200


# ------------------------------------------------------------------------------------------------------- visibility


@pytest.mark.parametrize("permission", [READ, SEND])
async def test_members_see_the_inboxes_of_their_departments_and_those_without_one(
    server: Running, permission: Permission
) -> None:
    admin = GraphQLApi(server.client)
    for name, department in (("mine", "Sales"), ("everyones", None), ("all", "All"), ("theirs", "Legal")):
        values = inbox_values(id=name, name=name, department=department, email=f"{name}@example.org")
        assert (await admin.set_inbox(values)).inbox_id
    member = await caller(server, "member", permission, departments=["Sales"])
    listed = await ask(member, "{ emailInboxes { totalCount nodes { id } pageInfo { hasNextPage } } }")
    assert [node["id"] for node in listed["data"]["emailInboxes"]["nodes"]] == ["all", "everyones", "mine"]
    assert listed["data"]["emailInboxes"]["totalCount"] == 3
    seen = GraphQLApi(member)
    assert await seen.inbox("mine")
    assert await seen.inbox("theirs") is None
    assert await seen.inbox_by_email("theirs@example.org") is None
    filtered = await ask(member, '{ emailInboxes(filter: { department: "Legal" }) { totalCount } }')
    assert filtered["data"]["emailInboxes"]["totalCount"] == 0


async def test_of_other_users_only_the_name_is_known(server: Running) -> None:
    await GraphQLApi(server.client).set_inbox(inbox_values(id="a"))
    reader = await caller(server, "reader", READ)
    body = await ask(reader, '{ emailInbox(id: "a") { createdBy { id username name } } }')
    assert body["data"]["emailInbox"]["createdBy"] == {"id": ADMIN_ID, "username": "admin", "name": None}
    for field in ("email", "permissions", "departments", "active"):
        asked: dict[str, Any] = await ask(reader, f'{{ emailInbox(id: "a") {{ createdBy {{ {field} }} }} }}')
        assert codes(asked) == ["FORBIDDEN"]
        assert not codes(await ask(reader, f"{{ viewer {{ {field} }} }}"))


async def test_an_inbox_that_is_not_seen_takes_the_work_of_one_that_is_not_there(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time that an answer takes must not tell of the inbox: the database hands none out."""
    await GraphQLApi(server.client).set_inbox(inbox_values(id="theirs", email="theirs@example.org", department="Legal"))
    seen = GraphQLApi(await caller(server, "member", READ, departments=["Sales"]))
    database, rows = server.context.database, []
    directly = database._find_directly

    async def counting(text: str, arguments: Any) -> Any:
        found = await directly(text, arguments)
        if "email_inbox" in text:
            rows.append(len(found))
        return found

    monkeypatch.setattr(database, "_find_directly", counting)
    for inbox_id in ("theirs", "nothing"):
        assert await seen.inbox(inbox_id) is None
        assert await seen.inbox_by_email(f"{inbox_id}@example.org") is None
    assert rows == [0, 0, 0, 0]
    assert await GraphQLApi(server.client).inbox("theirs")


# ---------------------------------------------------------------------------------------------------------- meanwhile


async def test_a_caller_who_is_deleted_meanwhile_is_nobody(
    server: Running, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.client = await caller(server, "ada", MANAGE)
    user_id = (await ask(api.client, "{ viewer { id } }"))["data"]["viewer"]["id"]
    authenticator = server.app.state.authenticator
    find = authenticator.find

    async def found_and_deleted(*arguments: Any) -> Any:
        found = await find(*arguments)
        await server.context.database.write(lambda session: session.delete(session.get_one(User, user_id)))
        return found

    monkeypatch.setattr(authenticator, "find", found_and_deleted)
    assert (await api.set_inbox(inbox_values())).refused == "UNAUTHENTICATED"
    monkeypatch.undo()
    api.client = server.client
    assert await api.inbox_by_email("support@example.org") is None


async def test_what_a_token_was_used_for_is_not_lost_where_it_can_not_be_written(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    authenticator, database = server.app.state.authenticator, server.context.database
    member = await caller(server, "member")
    for client in (member, server.client):
        assert (await client.get("/api/v1/me")).status_code == 200
    before, write = dict(authenticator._uses), database.write

    async def failing(unit: Any) -> None:
        # What is used while it is tried is newer than what is tried, by a millisecond at least.
        while now() <= max(before.values()):  # noqa: ASYNC110 - it is the clock that is waited for
            await asyncio.sleep(0)
        assert (await server.client.get("/api/v1/me")).status_code == 200
        raise Unavailable

    monkeypatch.setattr(database, "write", failing)
    with pytest.raises(Unavailable):
        await authenticator.flush()
    used = sorted(authenticator._uses.values())
    assert used[0] in before.values()
    assert used[1] > max(before.values())
    monkeypatch.setattr(database, "write", write)
    await authenticator.flush()
    for client, moment in ((member, used[0]), (server.client, used[1])):
        [token] = (await ask(client, "{ accessTokens { lastUsedAt } }"))["data"]["accessTokens"]
        assert token["lastUsedAt"] == to_iso(moment)
