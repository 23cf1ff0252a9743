"""The interface to SQLite and PostgreSQL: `find(prepared)`, `read(statement)` and `write(unit)`. Knows no table.

No other code begins, commits or retries a transaction. A unit is a function that runs its statements in one
transaction; `write` returns its result only after the commit is durable. One writer commits waiting units in batches.
Readers have separate connections, so that reads continue while the writer waits for a lock.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple, overload

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlmodel.ext.asyncio.session import AsyncSession
from sqlmodel.sql.expression import Select, SelectOfScalar

from models.database import postgresql, tracing
from models.database.faults import is_missing_reference, lost_a_race, translated, was_interrupted
from models.database.prepared import Prepared
from models.database.sqlite import open_sqlite
from models.database.transaction import Transaction
from models.errors import StartError, Unauthenticated, Unavailable
from models.observer import Observer

_Result = TypeVar("_Result")
_Columns = TypeVarTuple("_Columns")
Unit = Callable[[Transaction], _Result]

MAX_ATTEMPTS = 5
"""How often a unit is run before a conflict with another writer is raised."""
MAX_WAITING_UNITS = 64
"""The most units that may wait or run: fewer than the concurrent requests, to leave room for reads."""
QUEUE_WAIT_SECONDS = 1.0
"""How long a unit waits for a place in the queue."""
CLOSE_SECONDS = 1.0


class Database:
    """One database. `path` is its file if it is SQLite, else None."""

    def __init__(self, url: str, observer: Observer | None = None) -> None:
        """Raises StartError if the URL is not of a supported database."""
        self.path = sqlite_path(url)
        self._observer = observer or Observer()
        if self.path:
            self._backend = open_sqlite(self.path, self._observer)
        else:
            self._backend = postgresql.open_postgresql(url, self._observer)
        if self._observer.follows_statements:
            for engine in self._backend.engines:
                tracing.follow(engine, self._observer)

    async def find(self, prepared: Prepared[_Result], **values: Any) -> list[_Result]:
        """Returns the rows of a statement that looks up a key or reads a page of an index. Raises Unavailable."""
        compiled = prepared.compiled(self._backend.pool.dialect)
        arguments = compiled.arguments(values)
        try:
            found = await self._find_directly(compiled.text, arguments)
        except Exception as error:  # the pool waits for a lock or connection, or raises the real error
            if was_interrupted(error):
                self._observer.slow_read()
            found = await self._find_through_pool(compiled.text, arguments)
        return compiled.rows(found)

    async def _find_directly(self, text: str, arguments: tuple[Any, ...]) -> Sequence[tuple[Any, ...]]:
        if not self._observer.follows_statements:
            return await self._backend.reader.rows(text, arguments)
        with tracing.traced(self._observer, self._backend.pool.dialect.name, text):
            return await self._backend.reader.rows(text, arguments)

    async def _find_through_pool(self, text: str, arguments: tuple[Any, ...]) -> Sequence[tuple[Any, ...]]:
        with translated(self._observer):
            async with self._backend.pool.connect() as connection:
                return [tuple(row) for row in await connection.exec_driver_sql(text, arguments)]

    @overload
    async def read(self, statement: SelectOfScalar[_Result]) -> Sequence[_Result]: ...
    @overload
    async def read(self, statement: Select[*_Columns]) -> Sequence[tuple[*_Columns]]: ...
    async def read(self, statement: Any) -> Sequence[Any]:
        """Returns the rows of any other statement. Raises Unavailable."""
        with translated(self._observer):
            async with AsyncSession(self._backend.pool) as session:
                return await session.run_sync(lambda sync: sync.exec(statement).all())  # type: ignore[attr-defined]

    async def write(self, unit: Unit[_Result]) -> _Result:
        """Runs the unit in one transaction, retries it after a conflict, and returns its result once that is durable.

        Cancelling the caller does not cancel the unit. Raises Unavailable if nothing could be written, and
        Unauthenticated if the unit refers to a user who was deleted meanwhile: rows refer to nothing else.
        """
        if self._is_full():
            await asyncio.sleep(QUEUE_WAIT_SECONDS)  # a client refused at once would retry at once
            if self._is_full():
                raise Unavailable("Too many changes are waiting to be written. Try again.")
        return await self._write(unit)

    def _is_full(self) -> bool:
        return self._backend.writer.waiting >= MAX_WAITING_UNITS

    async def _write(self, unit: Unit[_Result]) -> _Result:
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                with translated(self._observer):
                    result: _Result = await self._backend.writer.write(unit)
                    return result
            except (DBAPIError, sqlite3.IntegrityError) as error:
                if is_missing_reference(error):
                    raise Unauthenticated from None
                if attempt == MAX_ATTEMPTS or not lost_a_race(error):
                    raise
                self._observer.retried()
        raise AssertionError("unreachable")

    async def listen(self, channel: str, wake: Callable[[], None]) -> None:
        """Calls `wake` at each PostgreSQL notification on the channel, until the connection is lost."""
        await postgresql.listen(self._backend.pool, channel, wake)

    @property
    def notifies(self) -> bool:
        """Whether `listen` is notified of writes by other processes."""
        return self.path is None

    @property
    def engine(self) -> AsyncEngine:
        """The engine that writes the schema."""
        return self._backend.engine

    def migrating(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """Begins a transaction without a statement timeout: an index of a large table takes minutes."""
        return self._backend.migrating()

    async def close(self) -> None:
        """Waits up to CLOSE_SECONDS for queued units, then closes every connection."""
        await self._backend.writer.stop(CLOSE_SECONDS)
        await self._backend.reader.close()
        for engine in (self._backend.engine, self._backend.pool):
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await engine.dispose()


@asynccontextmanager
async def open_database(url: str, observer: Observer | None = None) -> AsyncIterator[Database]:
    """Opens the database, and closes it at the end of the block. Raises StartError if the URL is not supported."""
    database = Database(url, observer)
    try:
        yield database
    finally:
        await database.close()


def sqlite_path(url: str) -> Path | None:
    """Returns the file of an SQLite URL, None for PostgreSQL. Raises StartError for anything else."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise StartError("EMAIL_INBOX_DATABASE_URL must be a URL, such as postgresql://user@host/name.") from None
    kind = parsed.drivername.partition("+")[0]
    if kind == "sqlite" and parsed.database not in (None, "", ":memory:"):
        return Path(str(parsed.database))
    if kind == "postgresql":
        return None
    raise StartError("EMAIL_INBOX_DATABASE_URL must start with postgresql:// or sqlite:///path.")


def describe_missing(url: str) -> str:
    """Describes where the database is missing, without the secrets of the URL."""
    if path := sqlite_path(url):
        return f"{path.absolute()} is {'empty' if path.exists() else 'missing'}"
    parsed = make_url(url)
    hosts = parsed.host or ", ".join(parsed.normalized_query.get("host", ("this machine",)))
    return f"the PostgreSQL database {parsed.database or parsed.username} on {hosts} has no tables"
