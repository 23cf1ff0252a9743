"""Lists of inboxes: keyset pages both ways, filters, orders; the legacy list by offset."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlmodel import select

from models import user as users
from models.errors import BadRequest
from models.inbox import EmailInbox, InboxOrder
from models.paging import MAX_SIZE, Order, Window, window_of
from models.user import UserConfig
from models.validation import validated
from resolvers.inbox import set_in
from tests.api import GraphQLApi
from tests.inboxes import inbox_values
from tests.running import Running
from tests.users import codes

LIST = """
    query (
        $first: Int, $after: String, $last: Int, $before: String
        $filter: EmailInboxFilter, $orderBy: EmailInboxOrder!
    ) {
        emailInboxes(first: $first, after: $after, last: $last, before: $before, filter: $filter, orderBy: $orderBy) {
            totalCount edges { cursor node { id } } nodes { id }
            pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
        }
    }
"""
BY_NAME = {"field": "NAME", "direction": "ASC"}
NAMES = ["alpha", "Beta", "beta", "Émile", "gamma", "Zeta", "éclair"]


async def fill(server: Running) -> None:
    for number, name in enumerate(NAMES):
        values = inbox_values(
            id=f"id{number}",
            name=name,
            email=f"{number}@example.org",
            active=number % 2 == 0,
            department="Sales" if number < 3 else None,
            description="100% of the Straße" if number == 4 else None,
        )
        assert (await GraphQLApi(server.client).set_inbox(values)).inbox_id


async def page(server: Running, **variables: Any) -> dict[str, Any]:
    body = await server.graphql(LIST, **{"orderBy": BY_NAME, **variables})
    found: dict[str, Any] = body["data"]["emailInboxes"]
    return found


def ids(found: dict[str, Any]) -> list[str]:
    return [node["id"] for node in found["nodes"]]


@pytest.mark.parametrize("field", ["NAME", "EMAIL", "CREATED_AT", "UPDATED_AT"])
@pytest.mark.parametrize("direction", ["ASC", "DESC"])
async def test_pages_in_both_directions_make_the_whole_list(server: Running, field: str, direction: str) -> None:
    await fill(server)
    order = {"field": field, "direction": direction}
    whole = ids(await page(server, first=100, orderBy=order))
    assert len(whole) == len(NAMES)
    forward: list[str] = []
    found = await page(server, first=2, orderBy=order)
    while True:
        forward += ids(found)
        if not found["pageInfo"]["hasNextPage"]:
            break
        found = await page(server, first=2, after=found["pageInfo"]["endCursor"], orderBy=order)
        assert found["pageInfo"]["hasPreviousPage"]
    assert forward == whole
    backward: list[str] = []
    found = await page(server, last=3, orderBy=order)
    while True:
        backward = ids(found) + backward
        if not found["pageInfo"]["hasPreviousPage"]:
            break
        found = await page(server, last=3, before=found["pageInfo"]["startCursor"], orderBy=order)
    assert backward == whole


async def test_names_are_ordered_without_regard_to_case(server: Running) -> None:
    await fill(server)
    assert ids(await page(server)) == ["id0", "id1", "id2", "id4", "id5", "id6", "id3"]


async def test_a_cursor_stays_where_it_is_while_rows_come_and_go(server: Running) -> None:
    await fill(server)
    api = GraphQLApi(server.client)
    first = await page(server, first=3)
    await api.delete_inbox(ids(first)[-1])
    await api.set_inbox(inbox_values(id="new", name="aaa", email="new@example.org"))
    following = await page(server, first=2, after=first["pageInfo"]["endCursor"])
    assert ids(following) == ["id4", "id5"]
    between = await page(server, first=10, after=first["edges"][0]["cursor"], before=following["edges"][0]["cursor"])
    assert ids(between) == ["id1"]


async def test_an_empty_page_has_no_cursors(server: Running) -> None:
    found = await page(server)
    assert found["pageInfo"] == {
        "hasNextPage": False,
        "hasPreviousPage": False,
        "startCursor": None,
        "endCursor": None,
    }


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"active": True}, {"id0", "id2", "id4", "id6"}),
        ({"department": "Sales"}, {"id0", "id1", "id2"}),
        ({"department": "All"}, {"id3", "id4", "id5", "id6"}),
        ({"search": "BETA"}, {"id1", "id2"}),
        ({"search": "ÉC"}, {"id6"}),
        ({"search": "3@EXAMPLE"}, {"id3"}),
        ({"search": "100% of the STRASSE"}, {"id4"}),
        ({"search": "100_"}, set()),
        ({"search": ""}, {f"id{number}" for number in range(7)}),
        ({"active": False, "department": "Sales", "search": "b"}, {"id1"}),
    ],
)
async def test_filters(server: Running, wanted: dict[str, Any], expected: set[str]) -> None:
    await fill(server)
    found = await page(server, filter=wanted)
    assert set(ids(found)) == expected
    assert found["totalCount"] == len(expected)


@pytest.mark.parametrize(
    "wrong",
    [
        {"first": 0},
        {"first": 101},
        {"last": -1},
        {"first": 1, "last": 1},
        {"after": "?"},
        {"after": ""},
        {"before": "WyJOQU1FIiwxXQ"},
        {"after": "WyJFTUFJTCIsImEiLCJiIl0"},
        {"after": "WyJOQU1FIiwiYVx1MDAwMCIsImIiXQ"},
        {"filter": {"search": "x" * 201}},
        {"filter": {"search": "\0"}},
        {"filter": {"department": "\0"}},
    ],
)
async def test_what_makes_no_sense_is_bad_input(shared_server: Running, wrong: dict[str, Any]) -> None:
    assert codes(await shared_server.graphql(LIST, **{"orderBy": BY_NAME, **wrong})) == ["BAD_USER_INPUT"]


@given(cursor=st.text(max_size=60), field=st.sampled_from(InboxOrder))
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_no_cursor_is_taken_that_was_not_made_here(cursor: str, field: InboxOrder) -> None:
    with pytest.raises(BadRequest):
        window_of(select(EmailInbox), EmailInbox, Window(first=1, after=cursor), field, Order.ASC)


# ------------------------------------------------------------------------------------------------ the legacy list


async def listing(server: Running, **query: Any) -> dict[str, Any]:
    found: dict[str, Any] = (await server.client.get("/api/v1/email-inbox.list", params=query)).json()
    return found


async def test_the_legacy_list_has_counts_and_a_total(server: Running) -> None:
    await fill(server)
    found = await listing(server, count=3, offset=5)
    assert [document["_id"] for document in found["emailInboxes"]] == ["id6", "id3"]
    assert (found["count"], found["offset"], found["total"], found["success"]) == (2, 5, 7, True)
    for same in ({}, {"count": 0}, {"count": ""}, {"query": "{}", "fields": "{}"}):
        assert (await listing(server, **same))["count"] == 7
    beyond = await listing(server, offset=100)
    assert (beyond["count"], beyond["total"]) == (0, 7)


@pytest.mark.parametrize(
    ("sort", "first"),
    [
        ({"name": -1}, "id3"),
        ({"email": -1}, "id6"),
        ({"active": 1}, "id1"),
        ({"active": -1, "name": -1}, "id6"),
        ({"_createdAt": -1}, "id6"),
        ({"_updatedAt": 1}, "id0"),
        ({}, "id0"),
    ],
)
async def test_the_legacy_list_is_sorted(server: Running, sort: dict[str, int], first: str) -> None:
    await fill(server)
    assert (await listing(server, sort=json.dumps(sort)))["emailInboxes"][0]["_id"] == first


@pytest.mark.parametrize("sort", ["name", "[1]", '{"name": 2}', '{"name": true}', '{"smtp": 1}', "{", '"name"', "NaN"])
async def test_a_bad_sort_is_refused(shared_server: Running, sort: str) -> None:
    answer = await shared_server.client.get("/api/v1/email-inbox.list", params={"sort": sort})
    assert answer.status_code == 400
    message = f'Invalid sort parameter provided: "{sort}" [error-invalid-sort]'
    assert answer.json() == {"success": False, "errorType": "error-invalid-sort", "error": message}


@pytest.mark.parametrize(("name", "value"), [("count", "101"), ("count", "-1"), ("count", "x"), ("offset", "1.5")])
async def test_a_bad_count_is_refused(shared_server: Running, name: str, value: str) -> None:
    answer = await shared_server.client.get("/api/v1/email-inbox.list", params={name: value})
    assert answer.status_code == 400
    assert answer.json()["details"][0]["field"] == name


async def test_the_length_of_a_list_is_that_of_all_its_pages(server: Running) -> None:
    """Also of one that is longer than a page may be, of a part of it, and of what a search finds."""
    count = MAX_SIZE + 7

    def unit(transaction: Any) -> None:
        for number in range(count):
            values = inbox_values(
                id=f"n{number}", name=f"Needle {number}", email=f"{number}@example.org", active=number < MAX_SIZE + 2
            )
            set_in(transaction, values, server.context.keyring, None)
            config = validated(UserConfig, {"username": f"needle{number}", "permissions": []})
            users.store(transaction, config, None, None)

    await server.context.database.write(unit)
    for wanted, expected in (({}, count), ({"active": True}, MAX_SIZE + 2), ({"search": "needle"}, count)):
        found = await page(server, first=3, filter=wanted)
        assert found["totalCount"] == expected, wanted
        assert len(found["nodes"]) == 3
    query = "query ($search: String) { users(first: 3, search: $search) { totalCount } }"
    assert (await server.graphql(query))["data"]["users"]["totalCount"] == count + 1
    assert (await server.graphql(query, search="needle"))["data"]["users"]["totalCount"] == count
    listed = (await server.client.get("/api/v1/email-inbox.list?count=3")).json()
    assert (listed["total"], listed["count"]) == (count, 3)


@pytest.mark.parametrize("cursor", ["A" * 1_000_000, "W" * 100_001])
async def test_a_cursor_longer_than_any_is_refused(server: Running, cursor: str) -> None:
    assert codes(await server.graphql(LIST, orderBy=BY_NAME, after=cursor)) == ["BAD_USER_INPUT"]


async def test_the_cursor_of_the_longest_key_is_taken(server: Running) -> None:
    for number in range(2):
        values = inbox_values(id=f"{number}" * 64, name="\U00010400" * 199 + str(number), email=f"{number}@example.org")
        assert (await GraphQLApi(server.client).set_inbox(values)).inbox_id
    first = await page(server, first=1)
    assert len((await page(server, first=1, after=first["pageInfo"]["endCursor"]))["nodes"]) == 1
