"""Sends what is looked up by a key, or read as a page: past any pool, and without a thread. Knows no table.

SQLite answers in less time than it takes to ask a thread to ask it. What is in the way, such as a lock or a connection
that was lost, is raised as the driver says it: who asked then asks through a pool, which waits and says what it was.
"""

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

CONNECTIONS = 4
"""How many look-ups PostgreSQL answers at once."""
TURN_SECONDS = 1.0

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

    async def rows(self, text: str, arguments: tuple[Any, ...]) -> Rows:
        connection = self._connection or self._open()
        return connection.execute(text, arguments).fetchall()

    def _open(self) -> sqlite3.Connection:
        address = f"{self._path.absolute().as_uri()}?mode=rw"  # never a new file
        connection = sqlite3.connect(address, uri=True, isolation_level=None, timeout=0)
        try:
            for pragma in self._pragmas:
                connection.execute(pragma)
        except sqlite3.Error:
            connection.close()
            raise
        self._connection = connection
        return connection

    async def close(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None


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
