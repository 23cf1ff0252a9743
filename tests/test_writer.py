"""Units that wait at the same time are committed together, and each stands or falls alone."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from sqlalchemy import event, insert, select, text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.util import await_only

import models.database.backend
import models.database.postgresql
from models.database import Database, open_database
from models.database.postgresql import WriterConnection
from models.database.prepared import Prepared
from models.database.transaction import Transaction
from models.database.unit import BATCH_SIZE
from models.errors import Unavailable
from tests import postgresql

Unit = Callable[[Transaction], Any]

on_postgresql = pytest.mark.parametrize("url", ["postgresql"], indirect=True)


class Base(DeclarativeBase):
    """Apart from the tables of the product."""


class Row(Base):
    __tablename__ = "t"

    n: Mapped[int] = mapped_column(primary_key=True)


_INSERT: Prepared[Any] = Prepared(insert(Row), tuple, columns=("n",))
_NUMBERS: Prepared[int] = Prepared(select(Row.n).order_by(Row.n), lambda row: int(row[0]))


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'file.sqlite3'}"
        return
    cluster: postgresql.Cluster = request.getfixturevalue("cluster")
    name = f"writer_{os.getpid()}"
    yield cluster.create(name)
    cluster.drop(name)


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    async with open_database(url) as found:
        await found.write(sql("CREATE TABLE t (n INTEGER PRIMARY KEY)"))
        yield found


def sql(statement: str) -> Unit:
    return lambda transaction: transaction.connection().exec_driver_sql(statement)


def add(number: int) -> Unit:
    return lambda transaction: transaction.run(_INSERT, n=number)


async def stored(database: Database) -> list[int]:
    return await database.write(lambda transaction: transaction.run(_NUMBERS))


@asynccontextmanager
async def held(database: Database) -> AsyncIterator[None]:
    """The writer is in the middle of a unit until the end of the block."""
    release, begun, loop = asyncio.Event(), threading.Event(), asyncio.get_running_loop()

    def hold(_transaction: Transaction) -> None:
        begun.set()
        if database.path:  # a thread of its own
            asyncio.run_coroutine_threadsafe(release.wait(), loop).result()
        else:
            await_only(release.wait())

    holding = asyncio.create_task(database.write(hold))
    async with asyncio.timeout(10):
        while not begun.is_set():  # noqa: ASYNC110 - a thread sets it
            await asyncio.sleep(0.001)
    try:
        yield
    finally:
        release.set()
        await asyncio.gather(holding, return_exceptions=True)


async def together(database: Database, *units: Unit) -> list[Any]:
    """What becomes of units that wait while another one is written."""
    async with held(database):
        writes = [asyncio.create_task(database.write(unit)) for unit in units]
        for _ in range(5):
            await asyncio.sleep(0)
    return list(await asyncio.gather(*writes, return_exceptions=True))


@contextmanager
def commits() -> Iterator[list[None]]:
    made: list[None] = []
    commit = WriterConnection.commit

    def note(_connection: Any) -> None:
        made.append(None)

    async def noted(link: WriterConnection, channels: set[str]) -> None:
        note(link)
        await commit(link, channels)

    event.listen(Engine, "commit", note)
    with patch.object(WriterConnection, "commit", noted):
        yield made
    event.remove(Engine, "commit", note)


async def test_what_waits_is_committed_together(database: Database) -> None:
    with commits() as made:
        found = await together(database, *map(add, range(BATCH_SIZE)))
    assert not [each for each in found if isinstance(each, BaseException)]
    assert len(made) == 2, "one for what was held, one for the rest"
    assert await stored(database) == list(range(BATCH_SIZE))


async def test_what_is_asked_in_one_turn_of_the_event_loop_is_committed_together(database: Database) -> None:
    async def ask(number: int) -> None:
        threading.Event().wait(0.01)  # as a look-up does, it lets other threads go on
        await database.write(add(number))

    with commits() as made:
        await asyncio.gather(*map(ask, range(5)))
    assert len(made) == 1
    assert await stored(database) == list(range(5))


async def test_no_more_than_so_many_wait_for_each_other(database: Database) -> None:
    with commits() as made:
        await together(database, *map(add, range(BATCH_SIZE + 1)))
    assert len(made) == 3


def half(transaction: Transaction) -> None:
    add(2)(transaction)
    raise ValueError("half done")


async def test_a_unit_that_fails_takes_nothing_of_the_others_with_it(database: Database) -> None:
    def add_two(transaction: Transaction) -> None:
        transaction.add_all([Row(n=5), Row(n=1)])  # what a session writes by itself, at the end of the unit

    found = await together(database, add(1), half, add(3), sql("INSERT INTO t VALUES (1)"), add_two, add(1), add(4))
    failed = [each for each in found if isinstance(each, Exception)]
    assert [type(each) for each in failed[:3]] == [ValueError, IntegrityError, IntegrityError]
    assert type(failed[3]).__name__ == "IntegrityError", "it is the driver's on SQLite"
    assert len(failed) == 4
    assert await stored(database) == [1, 3, 4]


async def test_what_is_run_again_is_told_of_its_last_run(database: Database) -> None:
    failures = iter([ValueError("once")])

    def fails_once(transaction: Transaction) -> str:
        add(1)(transaction)
        for failure in failures:
            raise failure
        return "written"

    assert await together(database, fails_once, add(2)) == ["written", []]
    assert await stored(database) == [1, 2]


@pytest.mark.parametrize("fails", [half, sql("SELECT elsewhere")])
async def test_a_unit_that_fails_alone_leaves_nothing(database: Database, fails: Unit) -> None:
    with pytest.raises((ValueError, DBAPIError)):
        await database.write(fails)
    assert await stored(database) == []
    await database.write(add(1))
    assert await stored(database) == [1]


async def test_a_unit_that_fails_before_it_writes_lets_the_others_go_on(database: Database) -> None:
    def refuse(transaction: Transaction) -> None:
        assert transaction.run(_NUMBERS) == [1]
        raise ValueError("refused")

    runs = 0

    def count(transaction: Transaction) -> None:
        nonlocal runs
        runs += 1
        add(1)(transaction)

    found = await together(database, count, refuse, add(2))
    assert [type(each) for each in found] == [type(None), ValueError, list]
    assert runs == 1
    assert await stored(database) == [1, 2]


@pytest.mark.parametrize(
    ("url", "give_up"),
    [("sqlite", "ROLLBACK"), ("postgresql", "SELECT pg_terminate_backend(pg_backend_pid())")],
    indirect=["url"],
)
async def test_where_the_whole_transaction_is_given_up_nobody_is_told_of_success(
    database: Database, give_up: str
) -> None:
    """As SQLite does where the disk is full, and PostgreSQL where it is stopped."""

    def gives_up(transaction: Transaction) -> None:
        sql(give_up)(transaction)
        raise ValueError("given up")

    found = await together(database, add(1), gives_up, add(2))
    assert all(isinstance(each, BaseException) for each in found), found
    assert await stored(database) == []


async def test_what_can_not_be_committed_was_not_written(database: Database) -> None:
    def fail(_connection: Any) -> None:
        raise DBAPIError("COMMIT", None, Exception())

    async def fails(link: WriterConnection, _channels: set[str]) -> None:
        fail(link)

    async with held(database):
        writes = [asyncio.create_task(database.write(add(number))) for number in (1, 2)]
        await asyncio.sleep(0)
        event.listen(Engine, "commit", fail)
        broken = patch.object(WriterConnection, "commit", fails)
        broken.start()
    found = await asyncio.gather(*writes, return_exceptions=True)
    broken.stop()
    event.remove(Engine, "commit", fail)
    assert [type(each) for each in found] == [DBAPIError, DBAPIError]
    assert await stored(database) == []


async def test_a_unit_is_finished_for_a_caller_that_went_away(database: Database) -> None:
    async with held(database):
        writes = [asyncio.create_task(database.write(add(number))) for number in (1, 2)]
        await asyncio.sleep(0)
        writes[0].cancel()
    found = await asyncio.gather(*writes, return_exceptions=True)
    assert [type(each) for each in found] == [asyncio.CancelledError, list]
    assert await stored(database) == [1, 2]


async def test_a_unit_runs_in_the_context_of_whoever_asked(database: Database) -> None:
    who = ContextVar("who", default="nobody")

    async def write(name: str) -> str:
        who.set(name)
        return await database.write(lambda transaction: f"{who.get()} {transaction.run(_NUMBERS)}")

    assert await asyncio.gather(*map(write, "abc")) == ["a []", "b []", "c []"]


# --------------------------------------------------------------------------------------------------------- PostgreSQL


@on_postgresql
async def test_a_kept_connection_that_was_lost_is_replaced_before_anything_is_sent(database: Database) -> None:
    async with database.engine.connect() as connection:
        await database.write(add(1))
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        await connection.exec_driver_sql(cut)
    await database.write(add(2))
    assert await stored(database) == [1, 2]


@on_postgresql
async def test_a_unit_that_goes_on_after_a_failed_statement_is_not_told_of_success(database: Database) -> None:
    def swallow(transaction: Transaction) -> None:
        add(1)(transaction)
        with pytest.raises(IntegrityError):
            add(1)(transaction)

    with pytest.raises(RuntimeError):
        await database.write(swallow)
    assert await stored(database) == []


@on_postgresql
async def test_a_lock_in_the_way_of_one_unit_keeps_the_others_no_longer_than_once(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models.database.backend, "LOCK_SECONDS", 0.5)
    async with open_database(url) as database, open_database(url) as other, asyncio.timeout(5):
        await other.write(sql("CREATE TABLE t (n INTEGER PRIMARY KEY)"))
        async with other.engine.begin() as connection:
            await connection.execute(text("LOCK TABLE t"))
            found = await together(database, *map(add, range(BATCH_SIZE)))
        assert {type(each) for each in found} == {Unavailable}
        assert await stored(database) == []


@on_postgresql
async def test_writers_of_two_processes_take_turns(database: Database, url: str) -> None:
    async with open_database(url) as other:
        await other.write(add(0))
        async with held(database):
            waits = asyncio.create_task(other.write(add(1)))
            async with asyncio.timeout(5):
                while not await waiting_for_a_turn(other):
                    assert not waits.done()
        await waits
    assert await stored(database) == [0, 1]


async def waiting_for_a_turn(database: Database) -> bool:
    async with database.engine.connect() as connection:
        locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        return bool(await connection.scalar(text(locks)))


@on_postgresql
async def test_a_process_that_stands_still_keeps_the_others_for_a_while_only(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_database(url) as other:
        await other.write(sql("CREATE TABLE t (n INTEGER PRIMARY KEY)"))
        monkeypatch.setattr(models.database.postgresql, "HANG_SECONDS", 0.2)
        async with open_database(url) as still, held(still):
            await other.write(add(1))
        assert await stored(other) == [1]


@on_postgresql
async def test_what_takes_too_long_is_given_up_at_the_end(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models.database, "CLOSE_SECONDS", 0.1)
    async with held(database):
        waits = asyncio.create_task(database.write(add(1)))
        await asyncio.sleep(0)
        await database.close()
        with pytest.raises(asyncio.CancelledError):
            await waits


@on_postgresql
async def test_who_listens_is_woken_by_a_commit(database: Database, url: str) -> None:
    woken = asyncio.Event()
    async with open_database(url) as other, asyncio.timeout(10), asyncio.TaskGroup() as group:
        listening = group.create_task(other.listen("a_channel", woken.set))
        while not woken.is_set():  # until it listens
            await database.write(lambda transaction: transaction.notify("a_channel"))
        listening.cancel()
