"""How long a read of SQLite may hold up the event loop, where there are many inboxes."""

import asyncio
from pathlib import Path

import pytest

import models.database.sqlite
from models.database.search import _page
from models.inbox import EmailInbox, InboxOrder, conditions
from models.paging import MAX_SIZE, Order, Window, parameters
from settings import Settings
from tests.running import Running, running
from tests.stored import fill, sql
from tests.test_metrics import scrape

MANY = 100_000
LIST = """
    query ($filter: EmailInboxFilter, $order: EmailInboxOrder!) {
        emailInboxes(first: 3, filter: $filter, orderBy: $order) { nodes { id } }
    }
"""
NEWEST = {"field": "CREATED_AT", "direction": "DESC"}
BY_NAME = {"field": "NAME", "direction": "ASC"}

pytestmark = pytest.mark.parametrize("settings", ["sqlite"], indirect=True)


def copy_first(folder: Path, count: int) -> None:
    """Copies the inbox `box-0000`, but not into the search. Every hundredth is not active, every second is of Sales."""
    with sql(folder) as connection:
        connection.execute("DROP TRIGGER email_inbox_search_insert")
        columns = [name for _, name, *_ in connection.execute("PRAGMA table_info(email_inbox)")]
        values = {
            "id": "printf('id-%06d', number)",
            "email_key": "printf('%06d@example.org', number)",
            "name_key": "printf('%06d', number * 7919 % 1000003)",
            "active": "number % 100 <> 0",
            "department": "iif(number % 2, 'Sales', NULL)",
        }
        connection.execute(
            f"WITH RECURSIVE numbers(number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM numbers LIMIT {count}) "
            f"INSERT INTO email_inbox ({', '.join(columns)}) "
            f"SELECT {', '.join(values.get(name, f'first.{name}') for name in columns)} "
            "FROM numbers, email_inbox first WHERE first.id = 'box-0000'"
        )


async def slow_reads(server: Running) -> float:
    return (await scrape(server.client))["database_slow_reads_total",]


async def test_a_slow_read_lets_others_go_on_and_is_counted(settings: Settings) -> None:
    await fill(settings, 1)
    copy_first(settings.data_dir, MANY)
    async with running(settings) as server:
        database, window = server.context.database, Window(first=2)
        field, order = InboxOrder.CREATED_AT, Order.DESC
        statement = _page(EmailInbox, conditions(("Sales", "North")), window.shape, field, order)
        reading = asyncio.create_task(database.find(statement, **parameters(window, field)))
        turns = 0
        while not reading.done():
            await asyncio.sleep(0)
            turns += 1
        assert [inbox.id for inbox in await reading] == ["id-100000", "id-099999", "id-099998"]
        assert turns > 10  # what is read on the event loop itself takes one
        assert await slow_reads(server) == 1

        found = await server.graphql(LIST, filter={"active": False}, order=NEWEST)  # fast or not, it is right
        assert [inbox["id"] for inbox in found["data"]["emailInboxes"]["nodes"]] == [
            "id-100000",
            "id-099900",
            "id-099800",
        ]


async def test_the_usual_filters_are_read_in_an_index(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the clock says that it took: they take few steps."""
    await fill(settings, 1)
    copy_first(settings.data_dir, MANY)
    monkeypatch.setattr(models.database.sqlite, "MAX_BLOCKING_SECONDS", -1.0)
    async with running(settings) as server:
        for wanted in ({}, {"active": False}, {"active": True}, {"department": "Sales"}, {"department": "All"}):
            for _ in range(5):
                found = await server.graphql(LIST, filter=wanted, order=BY_NAME)
                assert len(found["data"]["emailInboxes"]["nodes"]) == 3
        assert await slow_reads(server) == 0


async def test_a_page_by_an_index_is_never_broken_off(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(settings, MAX_SIZE + 10)
    monkeypatch.setattr(models.database.sqlite, "MAX_BLOCKING_SECONDS", -1.0)
    async with running(settings) as server:
        for field in ("NAME", "EMAIL", "CREATED_AT", "UPDATED_AT"):
            query = (
                "query ($order: EmailInboxOrder!) { emailInboxes(first: 100, orderBy: $order) { nodes { id name } } }"
            )
            for _ in range(10):
                found = await server.graphql(query, order={"field": field, "direction": "DESC"})
                assert len(found["data"]["emailInboxes"]["nodes"]) == MAX_SIZE
        assert await slow_reads(server) == 0
