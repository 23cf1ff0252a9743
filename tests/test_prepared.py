"""Statements past the ORM: they write and read what the ORM does, and ask the pool where the short way is barred."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import insert, text
from sqlmodel import col, select

from models.database import open_database
from models.database.prepared import Prepared
from models.database.transaction import Transaction
from models.errors import Unavailable
from models.fields import is_line
from models.inbox import BY_ID, EmailInbox
from models.stored import PROTOCOLS, StoredInbox
from settings import Settings
from tests.running import Running
from tests.test_search import inbox

_COLUMNS = EmailInbox.__table__.columns.keys()  # type: ignore[attr-defined]
_INSERT: Prepared[Any] = Prepared(insert(EmailInbox), tuple, columns=_COLUMNS)

TEXTS = st.text(max_size=40).filter(is_line)
MOMENTS = st.integers(0, 7 * 10**15).map(
    lambda microseconds: datetime.fromtimestamp(0, UTC) + timedelta(0, 0, microseconds)
)
MOMENTS |= MOMENTS.map(lambda moment: moment.astimezone(timezone(timedelta(hours=5.5))))
CONSENTS = st.none() | st.dictionaries(TEXTS, st.none() | TEXTS | st.integers(-(2**53), 2**53) | st.booleans())


def rows() -> st.SearchStrategy[dict[str, Any]]:
    """Every column that the ORM would spell otherwise for a driver, and some that it would not."""
    columns: dict[str, st.SearchStrategy[Any]] = {
        "active": st.booleans(),
        "description": st.none() | TEXTS,
        "version": st.integers(0, 2**31 - 1),
        "created_at": MOMENTS,
        "updated_at": MOMENTS,
    }
    for protocol in PROTOCOLS:
        columns[f"{protocol}_oauth2"] = CONSENTS
        columns[f"{protocol}_password"] = st.binary(max_size=40)
        columns[f"{protocol}_refresh_token"] = st.none() | st.binary(max_size=40)
    return st.fixed_dictionaries(columns)


def test_an_inbox_is_read_with_every_column_but_the_one_that_is_only_searched() -> None:
    assert {*StoredInbox._fields} == {*_COLUMNS} - {"search_key"}


def test_what_is_written_and_read_is_what_the_orm_writes_and_reads(settings: Settings) -> None:
    """Both ways: written past it and read through it, and the other way round."""

    async def keeps(changes: dict[str, Any]) -> None:
        values = inbox("x", "y").model_dump() | changes

        def unit(transaction: Transaction) -> None:
            transaction.run(_INSERT, **values | {"id": "past", "email_key": "past"})
            transaction.add(EmailInbox(**values | {"id": "through", "email_key": "through"}))

        await database.write(unit)
        through = {row.id: row for row in await database.read(select(EmailInbox))}
        for inbox_id in ("past", "through"):
            [past] = await database.find(BY_ID, id=inbox_id)
            for name in past._fields:
                assert getattr(past, name) == getattr(through[inbox_id], name), name
            for name, value in changes.items():
                assert getattr(past, name) == value, name
        await database.write(lambda transaction: transaction.connection().execute(text("DELETE FROM email_inbox")))

    with asyncio.Runner() as runner:
        context = open_database(settings.url)
        database = runner.run(context.__aenter__())

        @given(changes=rows())
        @hypothesis_settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        def check(changes: dict[str, Any]) -> None:
            runner.run(keeps(changes))

        try:
            check()
        finally:
            runner.run(context.__aexit__(None, None, None))


async def test_a_value_that_is_not_given_is_missed(server: Running) -> None:
    with pytest.raises(KeyError):
        await server.context.database.find(BY_ID)


async def test_a_look_up_takes_the_long_way_where_the_short_one_is_barred(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the connection was lost, or somebody holds a lock."""
    await server.context.database.write(lambda transaction: transaction.add(inbox("1", "y")))
    asked = 0

    async def barred(_text: str, _arguments: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        nonlocal asked
        asked += 1
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(server.context.database._backend.reader, "rows", barred)
    assert [found.id for found in await server.context.database.find(BY_ID, id="id1")] == ["id1"]
    assert asked == 1


@pytest.mark.parametrize("settings", ["postgresql"], indirect=True)
async def test_a_connection_that_was_cut_is_not_asked_again(settings: Settings) -> None:
    async with open_database(settings.url) as database:
        await database.write(lambda transaction: transaction.add(inbox("1", "y")))
        found: Callable[[], Awaitable[list[StoredInbox]]] = lambda: database.find(BY_ID, id="id1")  # noqa: E731
        assert len(await found()) == 1
        cut = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        await database.write(lambda transaction: transaction.connection().execute(cut))
        assert [len(each) for each in await asyncio.gather(*(found() for _ in range(20)))] == [1] * 20


async def test_many_look_ups_at_once_take_their_turns(server: Running) -> None:
    database = server.context.database
    await database.write(lambda transaction: transaction.add(inbox("1", "y")))
    found = await asyncio.gather(*(database.find(BY_ID, id="id1") for _ in range(100)))
    assert [len(each) for each in found] == [1] * 100


async def test_a_look_up_that_is_given_up_leaves_no_half_read_connection(server: Running) -> None:
    database = server.context.database
    await database.write(lambda transaction: transaction.add(inbox("1", "y")))
    for _ in range(10):
        task = asyncio.create_task(database.find(BY_ID, id="id1"))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert len(await database.find(BY_ID, id="id1")) == 1


@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
async def test_where_no_way_is_open_the_database_is_unavailable(settings: Settings) -> None:
    async with open_database(settings.url) as database:
        (settings.data_dir / "email-inbox.sqlite3").write_bytes(b"not a database, and long enough to be told so" * 99)
        with pytest.raises(Unavailable):
            await database.find(BY_ID, id="id1")


async def test_a_statement_is_the_same_whatever_the_values_are(server: Running) -> None:
    """Where its text would depend on them, it must not be prepared."""
    listed: Prepared[Any] = Prepared(select(EmailInbox.id).where(col(EmailInbox.id).in_(["a", "b"])), tuple)
    with pytest.raises(AssertionError):
        await server.context.database.find(listed)
