"""Live changes of inboxes over WebSocket: every one once, in order, to those who may see it, and nobody else."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import websockets

import resolvers.events
import resolvers.inbox
import schema.http.endpoint
from cli.context import shell
from models import change
from models.errors import BadRequest
from models.secrets import Secret
from models.user import Permission
from resolvers.access import Credentials
from resolvers.opening import open_context
from resolvers.session import login
from settings import Settings
from tests.api import GraphQLApi
from tests.inboxes import inbox_values
from tests.running import ADMIN_TOKEN, Running
from tests.sockets import connected, listening
from tests.users import PASSWORD, make_user

CHANGES = """
    subscription ($id: ID, $after: String) {
        emailInboxChanged(id: $id, after: $after) {
            cursor kind id changedAt changedBy { username } emailInbox { name version }
        }
    }
"""


@pytest.fixture
async def live(settings: Settings) -> AsyncIterator[tuple[Running, str]]:
    async with listening(settings) as found:
        yield found


async def kinds(subscriber: Any, count: int) -> list[tuple[str, str]]:
    events = [(await subscriber.next())["emailInboxChanged"] for _ in range(count)]
    return [(event["kind"], event["id"]) for event in events]


async def test_changes_are_told_in_order(live: tuple[Running, str]) -> None:
    server, url = live
    api = GraphQLApi(server.client)
    async with connected(url) as subscriber:
        await subscriber.start(CHANGES)
        await api.set_inbox(inbox_values(id="a"))
        created = (await subscriber.next())["emailInboxChanged"]
        assert (created["kind"], created["id"]) == ("CREATED", "a")
        assert created["emailInbox"] == {"name": "Support", "version": 1}
        assert created["changedBy"] == {"username": "admin"}
        await server.client.post("/api/v1/email-inbox", json={**inbox_values(name="Sales"), "_id": "a"})
        await api.delete_inbox("a")
        updated = (await subscriber.next())["emailInboxChanged"]
        assert (updated["kind"], updated["id"]) == ("UPDATED", "a")
        deleted = (await subscriber.next())["emailInboxChanged"]
        assert (deleted["kind"], deleted["emailInbox"]) == ("DELETED", None)


async def test_one_inbox_is_followed_alone(live: tuple[Running, str]) -> None:
    server, url = live
    async with connected(url) as subscriber:
        await subscriber.start(CHANGES, id="b")
        for inbox_id in ("a", "b"):
            await GraphQLApi(server.client).set_inbox(inbox_values(id=inbox_id, email=f"{inbox_id}@example.org"))
        assert await kinds(subscriber, 1) == [("CREATED", "b")]


async def test_who_comes_back_with_a_cursor_misses_nothing_and_gets_nothing_twice(live: tuple[Running, str]) -> None:
    server, url = live
    api = GraphQLApi(server.client)
    async with connected(url) as subscriber:
        await subscriber.start(CHANGES)
        await api.set_inbox(inbox_values(id="a"))
        cursor = (await subscriber.next())["emailInboxChanged"]["cursor"]
    names = [f"n{number}" for number in range(25)]
    for name in names[:12]:
        await api.set_inbox(inbox_values(id="a", name=name))
    async with connected(url) as subscriber:
        writing = asyncio.create_task(set_all(api, names[12:]))
        await subscriber.start(CHANGES, after=cursor)
        events = [(await subscriber.next())["emailInboxChanged"] for _ in names]
        await writing
    assert [event["kind"] for event in events] == ["UPDATED"] * 25
    assert len({event["cursor"] for event in events}) == 25
    assert events[-1]["emailInbox"] == {"name": "n24", "version": 26}


async def set_all(api: GraphQLApi, names: list[str]) -> None:
    for name in names:
        await api.set_inbox(inbox_values(id="a", name=name))


async def test_between_the_cursor_and_the_subscription_nothing_is_missed(live: tuple[Running, str]) -> None:
    server, url = live
    api = GraphQLApi(server.client)
    for number in range(3):
        cursor = (await server.graphql("{ changesCursor }"))["data"]["changesCursor"]
        await api.set_inbox(inbox_values(id="a", name=f"Name {number}"))
        async with connected(url) as subscriber:
            await subscriber.start(CHANGES, after=cursor)
            assert await kinds(subscriber, 1) == [("UPDATED" if number else "CREATED", "a")]


@pytest.mark.parametrize("after", ["", "x", "Y2hhbmdlOi0x", "Y2hhbmdlOjk5OTk5OQ==", "Y2hhbmdlOuKFpQ=="])
async def test_a_cursor_that_is_none_is_refused(live: tuple[Running, str], after: str) -> None:
    _, url = live
    async with connected(url) as subscriber:
        await subscriber.send(
            {"id": "1", "type": "subscribe", "payload": {"query": CHANGES, "variables": {"after": after}}}
        )
        message = await subscriber.receive()
        errors = message["payload"] if message["type"] == "error" else message["payload"]["errors"]
        assert errors[0]["extensions"]["code"] == "BAD_USER_INPUT"


async def test_a_change_by_another_process_is_told_within_two_seconds(
    live: tuple[Running, str], settings: Settings
) -> None:
    server, url = live
    async with connected(url) as subscriber, open_context(settings) as other:
        await subscriber.start(CHANGES)
        admin = server.app.state.authenticator.cached_caller(Credentials(Secret(ADMIN_TOKEN)), "")
        async with asyncio.timeout(2):
            await resolvers.inbox.set_email_inbox(other.acting_as(admin), inbox_values(id="elsewhere"))
            assert await kinds(subscriber, 1) == [("CREATED", "elsewhere")]


# ------------------------------------------------------------------------------------------------------- who may see


async def member_of(server: Running, *departments: str) -> dict[str, str]:
    await make_user(server, "member", Permission.READ_EMAIL, password=PASSWORD, departments=list(departments))
    found = await login(server.context, "member", PASSWORD)
    return {"X-User-Id": found.user.id, "X-Auth-Token": found.token.reveal()}


async def test_members_are_told_of_what_they_may_see(live: tuple[Running, str]) -> None:
    server, url = live
    api = GraphQLApi(server.client)
    async with connected(url, await member_of(server, "Sales")) as subscriber:
        await subscriber.start(CHANGES)
        await api.set_inbox(inbox_values(id="theirs", email="t@example.org", department="Legal"))
        await api.set_inbox(inbox_values(id="mine", department="Sales"))
        assert await kinds(subscriber, 1) == [("CREATED", "mine")]
        await api.set_inbox(inbox_values(id="mine", department="Legal"))
        assert await kinds(subscriber, 1) == [("DELETED", "mine")]
        await api.set_inbox(inbox_values(id="mine", department="Legal", name="Secret"))
        await api.delete_inbox("theirs")
        await api.set_inbox(inbox_values(id="mine", department=None))
        assert await kinds(subscriber, 1) == [("UPDATED", "mine")]


async def test_who_loses_the_token_loses_the_subscription(
    live: tuple[Running, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolvers.inbox, "RECHECK_SECONDS", 0.05)
    server, url = live
    headers = await member_of(server)
    async with connected(url, headers) as subscriber:
        await subscriber.start(CHANGES)
        await server.as_caller(**headers).post("/api/v1/logout")
        message = await subscriber.receive()
        [error] = message["payload"]["errors"]
        assert error["extensions"]["code"] == "UNAUTHENTICATED"
        assert (await subscriber.receive())["type"] == "complete"


async def test_an_operation_over_websocket_asks_anew_who_the_caller_is(live: tuple[Running, str]) -> None:
    server, url = live
    headers = await member_of(server)
    async with connected(url, headers) as subscriber:
        await subscriber.start("{ viewer { username } }")
        await subscriber.next()
        assert (await subscriber.receive())["type"] == "complete"
        await server.as_caller(**headers).post("/api/v1/logout")
        await subscriber.send({"id": "2", "type": "subscribe", "payload": {"query": "{ viewer { username } }"}})
        message = await subscriber.receive()
        assert message["payload"]["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


async def test_a_change_that_is_told_late_is_told_as_it_was(live: tuple[Running, str]) -> None:
    server, url = live
    api = GraphQLApi(server.client)
    member = await member_of(server, "Sales")
    async with connected(url) as subscriber:
        await subscriber.start(CHANGES)
        await api.set_inbox(inbox_values(id="a", department="Sales"))
        cursor = (await subscriber.next())["emailInboxChanged"]["cursor"]
    await api.set_inbox(inbox_values(id="a", department="Sales", name="Two"))
    await api.set_inbox(inbox_values(id="a", department="Legal"))
    await api.delete_inbox("a")
    await api.set_inbox(inbox_values(id="a", department="Sales"))
    async with connected(url, member) as subscriber:
        await subscriber.start(CHANGES, after=cursor)
        events = [(await subscriber.next())["emailInboxChanged"] for _ in range(3)]
    assert [(event["kind"], event["emailInbox"] is None) for event in events] == [
        ("UPDATED", False),
        ("DELETED", True),
        ("CREATED", False),
    ]


async def test_a_replay_shows_nothing_of_an_inbox_that_has_moved_out_of_sight_since(live: tuple[Running, str]) -> None:
    server, url = live
    api = GraphQLApi(server.client)
    member = await member_of(server, "Sales")
    cursor = (await server.graphql("{ changesCursor }"))["data"]["changesCursor"]

    async def put(inbox_id: str, department: str | None, name: str = "Open") -> None:
        values = inbox_values(id=inbox_id, email=f"{inbox_id}@example.org", department=department, name=name)
        assert (await api.set_inbox(values)).inbox_id

    await put("left", "Sales")
    await put("left", "Sales", "Still open")
    await put("left", "Legal", "Secret")
    await put("left", "Legal", "More secret")
    await put("visited", "Legal", "Secret")
    await put("visited", "Sales")
    await put("visited", "Legal", "Secret")
    await put("foreign", "Legal", "Secret")
    await api.delete_inbox("foreign")
    await put("deleted", "Sales")
    await api.delete_inbox("deleted")
    await put("deleted", "Legal", "Secret")
    await put("back", "Sales")
    await put("back", "Legal", "Secret")
    await put("back", "Sales", "Back")
    await put("end", None)
    expected = [
        ("DELETED", "left", None),
        ("DELETED", "visited", None),
        ("DELETED", "deleted", None),
        ("CREATED", "back", "Back"),
        ("DELETED", "back", None),
        ("UPDATED", "back", "Back"),
        ("CREATED", "end", "Open"),
    ]
    async with connected(url, member) as subscriber:
        await subscriber.start(CHANGES, after=cursor)
        events = [(await subscriber.next())["emailInboxChanged"] for _ in expected]
    told = [(event["kind"], event["id"], (event["emailInbox"] or {}).get("name")) for event in events]
    assert told == expected


async def test_the_log_of_changes_has_an_end(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change, "MAX_CHANGES", 3)
    cursor = (await server.graphql("{ changesCursor }"))["data"]["changesCursor"]
    await set_all(GraphQLApi(server.client), [f"n{number}" for number in range(10)])
    await server.context.database.write(change.prune)
    [first], [last] = [await server.context.database.find(end) for end in (change.FIRST_SEQ, change.LAST_SEQ)]
    assert last - first + 1 == 3
    events = await resolvers.inbox.email_inbox_changed(server.context.acting_as(shell), after=cursor)
    with pytest.raises(BadRequest, match="no longer kept"):
        await anext(aiter(events))


async def test_a_subscriber_that_reads_too_slowly_is_let_go(
    live: tuple[Running, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, _ = live
    monkeypatch.setattr(resolvers.events, "MAX_QUEUED_EVENTS", 3)
    events = server.context.events.subscribe(0)
    following = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    await set_all(GraphQLApi(server.client), ["a"])
    await following
    await set_all(GraphQLApi(server.client), [f"n{number}" for number in range(5)])
    async with asyncio.timeout(5):
        assert [event async for event in events] == []


# --------------------------------------------------------------------------------------------------------- protocol


async def test_credentials_are_asked_for_when_connecting(live: tuple[Running, str]) -> None:
    _, url = live
    async with connected(url, {"Authorization": f"Bearer {ADMIN_TOKEN}"}) as subscriber:
        await subscriber.start("{ viewer { username } }")
        assert await subscriber.next() == {"viewer": {"username": "admin"}}
    for parameters in ({"X-User-Id": "x", "X-Auth-Token": "y"}, {"Authorization": "Bearer no"}):
        async with connected(url, None) as subscriber:
            await subscriber.send({"type": "connection_init", "payload": parameters})
            assert await subscriber.closed() == (4403, "Forbidden")
    async with connected(url, {}) as subscriber:
        await subscriber.start(CHANGES)
        error = (await subscriber.receive())["payload"]
        found = error[0] if isinstance(error, list) else error["errors"][0]
        assert found["extensions"]["code"] == "UNAUTHENTICATED"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("x", 4400),
        ("null", 4400),
        ("[]", 4400),
        ('"x"', 4400),
        ("{}", 4400),
        ({"type": "unknown"}, 4400),
        ({"type": "subscribe", "id": "1"}, 4400),
        ({"type": "subscribe", "id": "1", "payload": []}, 4400),
        ({"type": "subscribe", "id": "1", "payload": {"query": 5}}, 4400),
        ({"type": "subscribe", "id": {}, "payload": {"query": "{__typename}"}}, 4400),
        ({"type": "complete", "id": []}, 4400),
        ({"type": "connection_init"}, 4429),
    ],
)
async def test_what_is_no_message_closes_with_the_codes_of_the_protocol(
    live: tuple[Running, str], message: Any, code: int
) -> None:
    _, url = live
    async with connected(url) as subscriber:
        await subscriber.send(message)
        found, reason = await subscriber.closed()
        assert found == code
        assert reason


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("{", "GRAPHQL_PARSE_FAILED"),
        ("{ unknown }", "GRAPHQL_VALIDATION_FAILED"),
        ("{" + " ".join(f"a{number}: __typename" for number in range(31)) + "}", "GRAPHQL_VALIDATION_FAILED"),
        ("subscription ($id: ID!) { emailInboxChanged(id: $id) { id } }", "BAD_USER_INPUT"),
    ],
)
async def test_an_operation_that_is_refused_is_told_so(live: tuple[Running, str], query: str, code: str) -> None:
    _, url = live
    async with connected(url) as subscriber:
        await subscriber.send({"type": "subscribe", "id": "1", "payload": {"query": query}})
        message = await subscriber.receive()
        assert (message["type"], message["id"]) == ("error", "1")
        assert message["payload"][0]["extensions"]["code"] == code


async def test_a_subscription_before_the_connection_is_acknowledged_is_refused(live: tuple[Running, str]) -> None:
    _, url = live
    async with connected(url, None) as subscriber:
        await subscriber.send({"type": "subscribe", "id": "1", "payload": {"query": "{ __typename }"}})
        assert (await subscriber.closed())[0] == 4401


async def test_who_says_nothing_is_let_go(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema.http.endpoint, "INIT_TIMEOUT", timedelta(milliseconds=50))
    async with listening(settings) as (_, url), connected(url, None) as subscriber:
        assert (await subscriber.closed())[0] == 4408


async def test_a_page_of_another_site_cannot_connect(live: tuple[Running, str]) -> None:
    _, url = live
    with pytest.raises(websockets.InvalidStatus):
        async with connected(url, origin="https://attacker.example"):
            pass
    async with connected(url, origin=url.replace("ws://", "http://").removesuffix("/graphql")):
        pass
