"""Searching: exactly the rows that hold the text, whoever wrote them, and through an index where they are few."""

import asyncio
import itertools
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, event, text
from sqlmodel import Session, col

import models.database.search
from models.database import Database, open_database
from models.database.backup import back_up
from models.database.columns import now
from models.database.search import search_page
from models.fields import folded
from models.inbox import EmailInbox, InboxOrder, conditions
from models.paging import Order, Paged, Window
from models.stored import PROTOCOLS
from models.user import Permission, UserOrder
from models.user import User as UserRow
from settings import Settings
from tests import postgresql
from tests.api import GraphQLApi
from tests.inboxes import inbox_values
from tests.running import Running, running, settings_for
from tests.stored import DATABASE, sql
from tests.users import ask, caller, make_user

SEARCH = """
    query ($search: String!, $department: String) {
        emailInboxes(filter: { search: $search, department: $department }) { totalCount nodes { id } }
    }
"""
USERS = "query ($search: String!) { users(search: $search) { totalCount nodes { username } } }"
RARE = ["seldom", "龘龙", "龘", "😀", "q", "?!", "???", "поиск", "a.b.c", "100%"]
"""Of each kind that an index serves in a way of its own."""


@pytest.fixture(params=[(0.005, 3), (1e-9, 3), (1e-9, 0), (2, 3)], ids=["as-it-is", "list", "list-too-short", "index"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which texts are common, and how far the list is read for them."""
    common, margin = request.param
    monkeypatch.setattr(models.database.search, "COMMON_SHARE", common)
    monkeypatch.setattr(models.database.search, "READ_MARGIN", margin)


@pytest.fixture
def through_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models.database.search, "COMMON_SHARE", 2)


async def found(server: Running, search: str, **variables: Any) -> set[str]:
    page = (await server.graphql(SEARCH, search=search, **variables))["data"]["emailInboxes"]
    assert page["totalCount"] == len(page["nodes"])
    return {node["id"] for node in page["nodes"]}


async def store(server: Running, inbox_id: str, **values: Any) -> None:
    inbox = inbox_values(**{"id": inbox_id, "email": f"{inbox_id}@example.org", **values})
    assert (await GraphQLApi(server.client).set_inbox(inbox)).inbox_id


# ------------------------------------------------------------------------------------------ the same as looking at all

# Few characters, so that they meet: those that LIKE, FTS5, regular expressions and arrays know, some that are folded.
CHARACTERS = st.sampled_from("abcABC ß%_\\\"'*^:()+-{}/,.İ龘龙😀é\u0301\n")
TEXTS = st.lists(st.text(CHARACTERS, max_size=8), max_size=12)
SEARCHED = st.one_of(st.text(CHARACTERS, max_size=5), st.text(st.characters(exclude_categories=["C"]), max_size=3))


def test_a_search_finds_what_looking_at_every_inbox_finds(settings: Settings, either_way: None) -> None:
    with asyncio.Runner() as runner:
        database = Database(settings.url)

        @given(texts=TEXTS, searched=SEARCHED, size=st.integers(1, 4), order=st.sampled_from(Order))
        @hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        def finds_the_same(texts: list[str], searched: str, size: int, order: Order) -> None:
            keys = [folded(text) for text in texts]
            expected = [f"id{number:02}" for number, key in enumerate(keys) if folded(searched) in key]
            runner.run(database.write(lambda session: replace_all(session, keys)))
            assert (
                runner.run(every_page(database, searched, size, order)) == expected[:: 1 if order is Order.ASC else -1]
            )

        try:
            finds_the_same()
        finally:
            runner.run(database.close())


async def every_page(database: Database, searched: str, size: int, order: Order) -> list[str]:
    ids: list[str] = []
    window = Window(first=size)
    while True:
        found = await search_page(database, EmailInbox, searched, conditions(None), window, InboxOrder.NAME, order)
        ids += [row.id for row in found.page.rows]
        if not found.page.has_next:
            assert await found.count() == len(ids)
            return ids
        window = Window(first=size, after=found.page.cursor(found.page.rows[-1]))


def replace_all(session: Session, keys: Sequence[str]) -> None:
    """Inboxes with these keys in the place of those that are there: some change, some go, some are new."""
    session.connection().execute(delete(EmailInbox).where(col(EmailInbox.id) >= f"id{len(keys):02}"))
    for number, key in enumerate(keys):
        if stored := session.get(EmailInbox, f"id{number:02}"):
            stored.search_key = key
        else:
            session.add(inbox(f"{number:02}", key))
    session.flush()


def inbox(name: str, search_key: str) -> EmailInbox:
    server = {"server": "mail.example.org", "port": 465, "username": "support", "password": b"", "secure": True}
    columns: dict[str, Any] = {f"{protocol}_{name}": value for protocol in PROTOCOLS for name, value in server.items()}
    columns |= {"id": f"id{name}", "name": name, "email": name, "name_key": name, "email_key": name}
    columns |= {"active": True, "imap_max_retries": 1, "version": 1, "created_at": now(), "updated_at": now()}
    return EmailInbox(**columns, search_key=search_key)


async def test_a_search_keeps_every_order_both_ways(server: Running, either_way: None) -> None:
    for number in (3, 1, 4, 0, 2):
        await store(server, f"id{number}", name=f"common {number}" if number != 4 else "other")
    for field, order in itertools.product(set(InboxOrder) - {InboxOrder.ACTIVE}, Order):
        await keeps_order(server.context.database, field, order)


async def keeps_order(database: Database, field: InboxOrder, order: Order) -> None:
    async def ids(searched: str | None, window: Window) -> list[str]:
        page = (await search_page(database, EmailInbox, searched, (), window, field, order)).page
        return [row.id for row in page.rows]

    whole = [inbox_id for inbox_id in await ids(None, Window()) if inbox_id != "id4"]
    assert await ids("common", Window()) == whole
    first = (await search_page(database, EmailInbox, "common", (), Window(first=2), field, order)).page
    assert ([row.id for row in first.rows], first.has_next) == (whole[:2], True)
    after = first.cursor(first.rows[-1])
    assert await ids("common", Window(first=2, after=after)) == whole[2:]
    assert await ids("common", Window(last=1, before=after)) == whole[:1]
    assert await ids("common", Window(last=2)) == whole[2:]


# ------------------------------------------------------------------------------------------------------ the index


@contextmanager
def statements() -> Iterator[list[tuple[str, Any]]]:
    """What is asked of the database in the block, and with which values."""
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        asked.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        event.remove(Engine, "before_cursor_execute", note)


async def test_a_rare_text_is_found_through_an_index(settings: Settings) -> None:
    async with open_database(settings.url) as database:
        await database.write(lambda session: replace_all(session, [f"box {number}" for number in range(50)]))
        for table, order in ((EmailInbox, InboxOrder.NAME), (UserRow, UserOrder.USERNAME)):
            for searched in RARE:
                await goes_through_index(database, table, searched, order)


async def goes_through_index(database: Database, table: Any, searched: str, order: Paged) -> None:
    with statements() as asked:
        found = await search_page(database, table, searched, (), Window(), order, Order.ASC)
        await found.count()
    name = table.__tablename__
    for statement, values in asked[-2:]:
        plan = await plan_of(database, statement, values)
        assert re.search(rf"ix_{name}_search|{name}_search_\w+ VIRTUAL TABLE", plan), (searched, plan)
        assert not re.search(rf"SCAN {name}\b|Seq Scan on \"?{name}\b", plan), (searched, plan)


async def plan_of(database: Database, statement: str, values: Any) -> str:
    async with database.engine.connect() as connection:
        if database.path is None:  # where there are so few rows, to read them all is right
            await connection.exec_driver_sql("SET enable_seqscan = off")
        explain = "EXPLAIN QUERY PLAN" if database.path else "EXPLAIN"
        rows = await connection.exec_driver_sql(f"{explain} {statement}", values)
        return "\n".join(str(row[-1]) for row in rows)


async def test_a_common_text_is_found_without_the_index(settings: Settings) -> None:
    async with open_database(settings.url) as database:
        await database.write(lambda session: replace_all(session, ["common"] * 600))
        with statements() as asked:
            found = await search_page(database, EmailInbox, "common", (), Window(), InboxOrder.NAME, Order.ASC)
            assert (len(found.page.rows), found.page.has_next) == (50, True)
        assert not [statement for statement, _ in asked if "search_grams" in statement or "LIKE" in statement]


async def test_what_has_a_meaning_in_a_query_language_is_text(server: Running, through_index: None) -> None:
    await store(server, "plain", name="Box")
    for searched in (
        "%",
        "_",
        "b_x",
        '"',
        '""',
        "'",
        "\\",
        "*",
        "AND",
        "box AND b",
        "NEAR(",
        "b* ox",
        "{}",
        "box\\b",
        "box/%",
        "b_x box",
    ):
        await store(server, "odd", name=f"Box {searched} box")
        assert await found(server, searched) == {"odd"}


async def test_a_search_shows_what_the_caller_sees_only(server: Running, either_way: None) -> None:
    for number in range(6):
        await store(server, f"id{number}", name="Support", department=("Sales", "Care", None)[number % 3])
    client = await caller(server, "anna", Permission.READ_EMAIL, departments=["Sales"])
    page = (await ask(client, SEARCH, search="supp"))["data"]["emailInboxes"]
    assert ({node["id"] for node in page["nodes"]}, page["totalCount"]) == ({"id0", "id2", "id3", "id5"}, 4)
    assert (await ask(client, SEARCH, search="up", department="Care"))["data"]["emailInboxes"]["totalCount"] == 0
    assert await found(server, "up", department="Care") == {"id1", "id4"}


async def test_users_are_found_through_the_index_too(server: Running, through_index: None) -> None:
    await make_user(server, "anna", name="Änne 龘龙")
    await make_user(server, "bob", email="bob@Example.org")
    for searched, expected in (("ÄNN", ["anna"]), ("龙", ["anna"]), ("B@ex", ["bob"]), ("nn", ["anna"]), ("zz", [])):
        page = (await server.graphql(USERS, search=searched))["data"]["users"]
        assert ([node["username"] for node in page["nodes"]], page["totalCount"]) == (expected, len(expected))


# ----------------------------------------------------------------------------------------------------- never stale


async def test_whoever_writes_the_index_knows(server: Running, through_index: None) -> None:
    await store(server, "a", name="First 龘龙")
    await store(server, "a", name="Second")
    assert (await found(server, "first"), await found(server, "龘"), await found(server, "second")) == (
        set(),
        set(),
        {"a"},
    )
    async with server.context.database.engine.begin() as connection:
        await connection.execute(text("UPDATE email_inbox SET search_key = 'third 龙', id = 'b'"))
    assert (await found(server, "second"), await found(server, "third"), await found(server, "龙")) == (
        set(),
        {"b"},
        {"b"},
    )
    async with server.context.database.engine.begin() as connection:
        await connection.execute(text("DELETE FROM email_inbox"))
    assert (await found(server, "third"), await found(server, "龙")) == (set(), set())


async def test_a_write_that_is_undone_is_undone_in_the_index(server: Running, through_index: None) -> None:
    await store(server, "a", name="First")
    async with server.context.database.engine.connect() as connection:
        await connection.execute(text("UPDATE email_inbox SET search_key = 'second'"))
        await connection.rollback()
    assert (await found(server, "first"), await found(server, "second")) == ({"a"}, set())


async def test_a_restored_backup_can_be_searched(
    settings: Settings, tmp_path: Path, through_index: None, request: pytest.FixtureRequest
) -> None:
    async with running(settings) as server:
        for name in ("a", "b", "c"):
            await store(server, name, name=f"Box {name}龘龙")
        await GraphQLApi(server.client).delete_inbox("a")
        if server.context.database.path:  # which gives other rowids to rows after a gap
            with sql(settings.data_dir) as connection:
                connection.execute("VACUUM")
    copy = tmp_path / "copy"
    back_up(settings.url, copy)
    async with running(restored(settings, copy, request)) as server:
        assert (await found(server, "box"), await found(server, "c龘"), await found(server, "龘龙")) == (
            {"b", "c"},
            {"c"},
            {"b", "c"},
        )
        await store(server, "c", name="Other")
        assert (await found(server, "龘龙"), await found(server, "other")) == ({"b"}, {"c"})


def restored(settings: Settings, copy: Path, request: pytest.FixtureRequest) -> Settings:
    if settings.database_url is None:
        copy.replace(settings.data_dir / DATABASE)
        for ending in ("-wal", "-shm"):
            (settings.data_dir / f"{DATABASE}{ending}").unlink(missing_ok=True)
        return settings
    cluster: postgresql.Cluster = request.getfixturevalue("cluster")
    url = cluster.create("restored")
    request.addfinalizer(lambda: cluster.drop("restored"))
    cluster.run("pg_restore", "--exit-on-error", "--dbname=restored", str(copy))
    return settings_for(settings.data_dir, url)
