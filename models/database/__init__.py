"""The seam to SQLite and PostgreSQL: `find(prepared)`, `read(statement)` and `write(unit)`. Knows no table.

Nobody else begins, commits or retries. A unit is a function that runs its statements in one transaction; its result is
handed back only after the commit is on disk. There is one writer, which commits together what waits at the same time
(SQLite: BEGIN IMMEDIATE, WAL, synchronous=FULL), and several readers. Readers have connections of their own, so that
reading goes on while writers wait for a lock.
"""

import asyncio
import random
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple, overload

from sqlalchemy import Connection, Engine, StaticPool, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.util import await_only
from sqlmodel.ext.asyncio.session import AsyncSession
from sqlmodel.sql.expression import Select, SelectOfScalar

from models.database import tracing
from models.database.faults import SQLITE_BUSY, is_reference, lost_a_race, sqlite_code, translated
from models.database.postgresql import PostgresqlWriter
from models.database.prepared import Prepared
from models.database.reader import CONNECTIONS, PostgresqlReader, Reader, SqliteReader, took_too_long
from models.database.transaction import Transaction
from models.database.writer import Writer
from models.errors import StartError, Unauthenticated, Unavailable
from models.observer import Observer

Result = TypeVar("Result")
Columns = TypeVarTuple("Columns")
Unit = Callable[[Transaction], Result]

ATTEMPTS = 5
READERS = 4
WRITERS = 2
"""Connections of PostgreSQL that may write: that of the writer, and one for the schema."""
UNITS = 64
"""How many units may wait or write: fewer than the requests that are worked on, to leave room for reading."""
PATIENCE_SECONDS = 1.0
READER_KIBIBYTES = 32_768
"""What a reader of SQLite may keep of the file in memory. A search looks into many pages; 2 MiB is the usual."""
HANG_SECONDS = 30
LOCK_SECONDS = 5.0
LOOK_SECONDS = 0.01
CONNECT_SECONDS = 3.0
CLOSE_SECONDS = 1.0
SQLITE = ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "PRAGMA foreign_keys=ON")
READING = ("PRAGMA query_only=ON", f"PRAGMA cache_size=-{READER_KIBIBYTES}")


class Database:
    """One database. `path` is its file where it is SQLite."""

    def __init__(self, url: str, observer: Observer | None = None) -> None:
        """Raises StartError where the URL names no database that this server runs on."""
        self.path = sqlite_path(url)
        self._observer = observer or Observer()
        self._writer, self._reader = _sqlite_engines(self.path) if self.path else _postgresql_engines(url)
        engines = [self._writer.sync_engine, self._reader.sync_engine]
        self._units: Writer | PostgresqlWriter
        self._direct: Reader
        if self.path:
            engines.append(_sqlite_unit_engine(self.path))
            self._units = Writer(engines[-1], self._observer)
            self._direct = SqliteReader(self.path, *READING)
        else:
            self._units = PostgresqlWriter(self._writer, self._observer)
            self._direct = PostgresqlReader(self._reader)
        if self._observer.follows_statements:
            for engine in engines:
                tracing.follow(engine, self._observer)

    async def find(self, prepared: Prepared[Result], **values: Any) -> list[Result]:
        """The rows of a statement that looks something up by a key, or reads a page in an index. Raises Unavailable."""
        compiled = prepared.compiled(self._reader.dialect)
        arguments = compiled.arguments(values)
        try:
            found = await self._directly(compiled.text, arguments)
        except Exception as error:  # the pool waits for what is in the way, or says what it is
            if took_too_long(error):
                self._observer.read_aside()
            found = await self._through_the_pool(compiled.text, arguments)
        return compiled.rows(found)

    async def _directly(self, text: str, arguments: tuple[Any, ...]) -> Sequence[tuple[Any, ...]]:
        if not self._observer.follows_statements:
            return await self._direct.rows(text, arguments)
        with tracing.told(self._observer, self._reader.dialect.name, text):
            return await self._direct.rows(text, arguments)

    async def _through_the_pool(self, text: str, arguments: tuple[Any, ...]) -> Sequence[tuple[Any, ...]]:
        with translated(self._observer):
            async with self._reader.connect() as connection:
                return [tuple(row) for row in await connection.exec_driver_sql(text, arguments)]

    @overload
    async def read(self, statement: SelectOfScalar[Result]) -> Sequence[Result]: ...
    @overload
    async def read(self, statement: Select[*Columns]) -> Sequence[tuple[*Columns]]: ...
    async def read(self, statement: Any) -> Sequence[Any]:
        """The rows of any other statement. Raises Unavailable."""
        with translated(self._observer):
            async with AsyncSession(self._reader) as session:
                return await session.run_sync(lambda sync: sync.exec(statement).all())  # type: ignore[attr-defined]

    async def write(self, unit: Unit[Result]) -> Result:
        """Runs the unit in one transaction, again where it lost a race, and returns its result once that is durable.

        A caller that goes away does not cut the unit short. Raises Unavailable where nothing could be written, and
        Unauthenticated where whoever it is written for was deleted meanwhile: rows refer to nobody else.
        """
        if self._is_full():
            await asyncio.sleep(PATIENCE_SECONDS)  # who is refused at once comes back at once
            if self._is_full():
                raise Unavailable("Too many changes are waiting to be written. Try again.")
        return await self._write(unit)

    def _is_full(self) -> bool:
        return self._units.waiting >= UNITS

    async def _write(self, unit: Unit[Result]) -> Result:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with translated(self._observer):
                    result: Result = await self._units.write(unit)
                    return result
            except (DBAPIError, sqlite3.IntegrityError) as error:
                if is_reference(error):
                    raise Unauthenticated from None
                if attempt == ATTEMPTS or not lost_a_race(error):
                    raise
                self._observer.retried()
        raise AssertionError("unreachable")

    async def listen(self, channel: str, wake: Callable[[], None]) -> None:
        """Calls `wake` at each PostgreSQL notification on the channel, until the connection is lost."""
        lost = asyncio.Event()
        async with self._reader.connect() as connection:
            driver = (await connection.get_raw_connection()).driver_connection
            assert driver is not None
            heard = lambda *_: wake()  # noqa: E731
            driver.add_termination_listener(lambda *_: lost.set())
            await driver.add_listener(channel, heard)
            try:
                await lost.wait()
            finally:
                with suppress(Exception):
                    await driver.remove_listener(channel, heard)

    @property
    def notifies(self) -> bool:
        """Whether `listen` can hear of writes by other processes."""
        return self.path is None

    @property
    def engine(self) -> AsyncEngine:
        """An engine that writes, for the schema."""
        return self._writer

    @asynccontextmanager
    async def migrating(self) -> AsyncIterator[AsyncConnection]:
        """A transaction whose statements take the time that they need: an index of a large table takes minutes."""
        if self.path:
            async with self._writer.begin() as connection:
                yield connection
            return
        patient = _postgresql_engine(self._writer.url, 1, None)
        try:
            async with patient.begin() as connection:
                yield connection
        finally:
            await patient.dispose()

    async def close(self) -> None:
        """Waits a moment for what is being written, then closes every connection."""
        await self._units.stop(CLOSE_SECONDS)
        await self._direct.close()
        for engine in (self._writer, self._reader):
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await engine.dispose()


@asynccontextmanager
async def opened(url: str, observer: Observer | None = None) -> AsyncIterator[Database]:
    database = Database(url, observer)
    try:
        yield database
    finally:
        await database.close()


def sqlite_path(url: str) -> Path | None:
    """The file of an SQLite URL; None for PostgreSQL. Raises StartError for anything else."""
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


def place(url: str) -> str:
    """Where the database was looked for, and that there was none, in words that hold no secret."""
    if path := sqlite_path(url):
        return f"{path.absolute()} is {'empty' if path.exists() else 'missing'}"
    parsed = make_url(url)
    hosts = parsed.host or ", ".join(parsed.normalized_query.get("host", ("this machine",)))
    return f"the PostgreSQL database {parsed.database or parsed.username} on {hosts} has no tables"


def _sqlite_unit_engine(path: Path) -> Engine:
    """One connection without a pool's care, for the thread that writes units."""
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        connect_args={"isolation_level": None, "check_same_thread": False},
        hide_parameters=True,
        poolclass=StaticPool,
    )
    _on_connect(engine, *SQLITE, "PRAGMA busy_timeout=0")
    event.listen(engine, "begin", partial(_begin, sleep=time.sleep))
    return engine


def _sqlite_engines(path: Path) -> tuple[AsyncEngine, AsyncEngine]:
    def engine(size: int) -> AsyncEngine:
        return create_async_engine(
            URL.create("sqlite+aiosqlite", database=str(path)),
            connect_args={"timeout": LOCK_SECONDS, "isolation_level": None},
            hide_parameters=True,
            pool_size=size,
            max_overflow=0,
            pool_timeout=LOCK_SECONDS,
        )

    writer, reader = engine(1), engine(READERS)
    _on_connect(writer.sync_engine, *SQLITE, "PRAGMA busy_timeout=0")
    _on_connect(reader.sync_engine, *SQLITE, *READING)
    event.listen(writer.sync_engine, "begin", partial(_begin, sleep=lambda seconds: await_only(asyncio.sleep(seconds))))
    return writer, reader


def _begin(connection: Connection, sleep: Callable[[float], object]) -> None:
    """Begins a transaction once no other process is in one.

    SQLite itself would wait up to a tenth of a second between two looks, in a thread that can't be stopped.
    """
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            return
        except DBAPIError as error:
            if sqlite_code(error) != SQLITE_BUSY or time.monotonic() > deadline:
                raise
        sleep(random.uniform(0, LOOK_SECONDS))  # noqa: S311


def _on_connect(engine: Engine, *pragmas: str) -> None:
    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(pragma)
        cursor.close()


def _postgresql_engines(url: str) -> tuple[AsyncEngine, AsyncEngine]:
    parsed = make_url(url).set(drivername="postgresql+asyncpg")
    if "sslmode" in parsed.query:  # libpq's name for it
        parsed = parsed.difference_update_query(["sslmode"]).update_query_dict({"ssl": parsed.query["sslmode"]})

    # Some are kept by a reader of its own, and one listens.
    reader = _postgresql_engine(parsed, READERS + CONNECTIONS + 1, HANG_SECONDS, default_transaction_read_only="on")
    return _postgresql_engine(parsed, WRITERS, HANG_SECONDS), reader.execution_options(isolation_level="AUTOCOMMIT")


def _postgresql_engine(url: URL, size: int, hang_seconds: float | None, **settings: str) -> AsyncEngine:
    settings |= {"application_name": "email-inbox", "lock_timeout": f"{LOCK_SECONDS}s"}
    if hang_seconds:  # a process that stands still while it writes keeps the others waiting no longer than this
        settings["idle_in_transaction_session_timeout"] = f"{hang_seconds}s"
    return create_async_engine(
        url,
        # A server that hangs answers neither yes nor no.
        connect_args={"timeout": CONNECT_SECONDS, "command_timeout": hang_seconds, "server_settings": settings},
        hide_parameters=True,
        pool_pre_ping=True,
        pool_size=size,
        max_overflow=0,
        pool_timeout=LOCK_SECONDS,
    )
