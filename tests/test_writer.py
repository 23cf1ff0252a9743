"""Units that wait at the same time are committed together, and each stands or falls alone."""

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlmodel import Session

from models.database import Database, opened
from models.writer import TOGETHER

Unit = Callable[[Session], Any]


class Base(DeclarativeBase):
    """Apart from the tables of the product."""


class Row(Base):
    __tablename__ = "t"

    n: Mapped[int] = mapped_column(primary_key=True)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with opened(f"sqlite:///{tmp_path / 'file.sqlite3'}") as found:
        await found.write(
            lambda session: session.connection().exec_driver_sql("CREATE TABLE t (n INTEGER PRIMARY KEY)")
        )
        yield found


def insert(number: int) -> Unit:
    return lambda session: session.connection().exec_driver_sql(f"INSERT INTO t VALUES ({number})")


async def together(database: Database, *units: Unit) -> list[Any]:
    """What becomes of units that wait while another one is written."""
    release, begun = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def hold(_session: Session) -> None:
        loop.call_soon_threadsafe(begun.set)
        release.wait()

    holding = asyncio.create_task(database.write(hold))
    await begun.wait()
    writes: list[Awaitable[Any]] = [asyncio.create_task(database.write(unit)) for unit in units]
    for _ in range(5):
        await asyncio.sleep(0)
    release.set()
    found = await asyncio.gather(*writes, return_exceptions=True)
    await holding
    return list(found)


async def stored(database: Database) -> list[int]:
    return await database.write(lambda session: list(session.connection().scalars(text("SELECT n FROM t ORDER BY n"))))


@contextmanager
def commits() -> Iterator[list[None]]:
    made: list[None] = []

    def note(_connection: Any) -> None:
        made.append(None)

    event.listen(Engine, "commit", note)
    yield made
    event.remove(Engine, "commit", note)


async def test_what_waits_is_committed_together(database: Database) -> None:
    with commits() as made:
        found = await together(database, *map(insert, range(TOGETHER)))
    assert not [each for each in found if isinstance(each, BaseException)]
    assert len(made) == 2, "one for what was held, one for the rest"
    assert await stored(database) == list(range(TOGETHER))


async def test_what_is_asked_in_one_turn_of_the_event_loop_is_committed_together(database: Database) -> None:
    async def ask(number: int) -> None:
        threading.Event().wait(0.01)  # as a look-up does, it lets other threads go on
        await database.write(insert(number))

    with commits() as made:
        await asyncio.gather(*map(ask, range(5)))
    assert len(made) == 1
    assert await stored(database) == list(range(5))


async def test_no_more_than_so_many_wait_for_each_other(database: Database) -> None:
    with commits() as made:
        await together(database, *map(insert, range(TOGETHER + 1)))
    assert len(made) == 3


async def test_a_unit_that_fails_takes_nothing_of_the_others_with_it(database: Database) -> None:
    def half(session: Session) -> None:
        insert(2)(session)
        raise ValueError("half done")

    def add(session: Session) -> None:
        session.add_all([Row(n=5), Row(n=1)])  # what a session writes by itself, at the end of the unit

    found = await together(database, insert(1), half, insert(3), insert(1), add, insert(4))
    failed = [type(each) for each in found if isinstance(each, Exception)]
    assert failed == [ValueError, IntegrityError, IntegrityError]
    assert await stored(database) == [1, 3, 4]


async def test_where_the_whole_transaction_is_given_up_nobody_is_told_of_success(database: Database) -> None:
    """As SQLite does where the disk is full."""

    def give_up(session: Session) -> None:
        session.connection().exec_driver_sql("ROLLBACK")
        raise ValueError("given up")

    found = await together(database, insert(1), give_up, insert(2))
    assert all(isinstance(each, BaseException) for each in found), found
    assert await stored(database) == []


async def test_what_can_not_be_committed_was_not_written(database: Database) -> None:
    commits_made = itertools.count()

    def fail(_connection: Any) -> None:
        if next(commits_made):
            raise DBAPIError("COMMIT", None, Exception())

    event.listen(Engine, "commit", fail)
    try:
        found = await together(database, insert(1), insert(2))
    finally:
        event.remove(Engine, "commit", fail)
    assert [type(each) for each in found] == [DBAPIError, DBAPIError]
    assert await stored(database) == []
