"""Sends what is looked up by a key, or read as a page: past any pool, and without a thread. Knows no table.

SQLite answers in less time than it takes to ask a thread to ask it; a statement that turns out to take longer is broken
off. What is in the way, such as that, a lock, or a connection that was lost, is raised as the driver says it: who asked
then asks through a pool, which waits and says what it was.
"""

import asyncio
import sqlite3
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

CONNECTIONS = 4
"""How many look-ups PostgreSQL answers at once."""
TURN_SECONDS = 1.0
DEADLINE_SECONDS = 0.005
"""How long SQLite may hold up the event loop."""
LOOK_EVERY = 8_000
"""Steps of SQLite's machine between two looks at the clock: twice what a page of 100 takes that is read in an index, so
that such a page is never broken off, however long this process waits for a processor meanwhile."""

Rows = Sequence[tuple[Any, ...]]
"""A row is a tuple, or what is read like one."""


class Reader(Protocol):
    """Where statements are sent that change nothing."""

    async def rows(self, text: str, arguments: tuple[Any, ...]) -> Rows:
        """The rows as the driver gives them. Raises what the driver raises."""
        ...

    async def close(self) -> None: ...


class SqliteReader:
    """One connection, on the event loop. It waits for no lock: in WAL mode there is hardly one."""

    def __init__(self, path: Path, *pragmas: str) -> None:
        self._path = path
        self._pragmas = (*pragmas, "PRAGMA busy_timeout=0")
        self._connection: sqlite3.Connection | None = None
        self._ends_at = 0.0
        self._looks = 0

    async def rows(self, text: str, arguments: tuple[Any, ...]) -> Rows:
        connection = self._connection or self._open()
        self._ends_at, self._looks = time.perf_counter() + DEADLINE_SECONDS, 0
        return connection.execute(text, arguments).fetchall()

    def _is_late(self) -> bool:
        """Asked at every look. The first is no measure: SQLite counts on from the last run of the statement."""
        self._looks += 1
        return self._looks > 1 and time.perf_counter() > self._ends_at

    def _open(self) -> sqlite3.Connection:
        address = f"{self._path.absolute().as_uri()}?mode=rw"  # never a new file
        connection = sqlite3.connect(address, uri=True, isolation_level=None, timeout=0)
        try:
            for pragma in self._pragmas:
                connection.execute(pragma)
        except sqlite3.Error:
            connection.close()
            raise
        connection.set_progress_handler(self._is_late, LOOK_EVERY)
        self._connection = connection
        return connection

    async def close(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None


def took_too_long(error: Exception) -> bool:
    """Whether the statement was broken off at the deadline."""
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT


class PostgresqlReader:
    """A few connections, kept by themselves: to check one out of the pool takes longer than a look-up."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._free: list[tuple[AsyncConnection, Any]] = []
        self._turns = asyncio.Semaphore(CONNECTIONS)

    async def rows(self, text: str, arguments: tuple[Any, ...]) -> Rows:
        if self._turns.locked():
            async with asyncio.timeout(TURN_SECONDS):
                await self._turns.acquire()
        else:
            await self._turns.acquire()
        try:
            connection, driver = self._free.pop() if self._free else await connected(self._engine)
            return await self._ask(connection, driver, text, arguments)
        finally:
            self._turns.release()

    async def _ask(self, connection: AsyncConnection, driver: Any, text: str, arguments: tuple[Any, ...]) -> Rows:
        try:
            found: Rows = await driver.fetch(text, *arguments)
        except BaseException:
            await asyncio.shield(given_up(connection))
            raise
        self._free.append((connection, driver))
        return found

    async def close(self) -> None:
        while self._free:
            await given_up(self._free.pop()[0])


async def connected(engine: AsyncEngine) -> tuple[AsyncConnection, Any]:
    """A connection, and what its driver calls one."""
    connection = await engine.connect()
    return connection, (await connection.get_raw_connection()).driver_connection


async def given_up(connection: AsyncConnection) -> None:
    """What became of it is not known: nobody is to get it next."""
    with suppress(Exception):
        await connection.invalidate()
    with suppress(Exception):
        await connection.close()
