"""The PostgreSQL backend: one writer, a reader with separate connections, a pool, and notifications.

The writer commits waiting units in batches, over one connection. Each transaction holds an advisory lock from begin to
end, so that the writers of several processes commit one after another and never wait for each other's rows. Prepared
statements go straight to the driver, past SQLAlchemy and its pool; a unit may still use its session.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from contextvars import Context
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.util import await_only, greenlet_spawn

from models.database import backend
from models.database.backend import READER_CONNECTIONS, Backend, Rows
from models.database.faults import is_outage
from models.database.prepared import Prepared
from models.database.tracing import traced
from models.database.transaction import Transaction
from models.database.unit import BATCH_SIZE, Job, UnitTimer
from models.observer import Observer

WRITER_CONNECTIONS = 2
"""One for the writer, and one for the schema."""
LOOKUP_CONNECTIONS = 4
"""How many look-ups run at once."""
LISTENER_CONNECTIONS = 1
LOOKUP_WAIT_SECONDS = 1.0
"""How long a look-up waits for a connection before it falls back to the pool."""
HANG_SECONDS = 30
"""Timeout of a statement, and of a transaction that is idle."""
CONNECT_SECONDS = 3.0
_WRITERS_LOCK = 0x656D61696C
_BEGIN = f"BEGIN; SELECT pg_advisory_xact_lock({_WRITERS_LOCK})"

_Row = TypeVar("_Row")


def open_postgresql(url: str, observer: Observer) -> Backend:
    """Opens the database of the URL. Connects on first use."""
    parsed = make_url(url).set(drivername="postgresql+asyncpg")
    if "sslmode" in parsed.query:  # libpq's name for it
        parsed = parsed.difference_update_query(["sslmode"]).update_query_dict({"ssl": parsed.query["sslmode"]})
    readers = READER_CONNECTIONS + LOOKUP_CONNECTIONS + LISTENER_CONNECTIONS
    engine = _engine(parsed, WRITER_CONNECTIONS, HANG_SECONDS)
    pool = _engine(parsed, readers, HANG_SECONDS, default_transaction_read_only="on")
    pool = pool.execution_options(isolation_level="AUTOCOMMIT")
    return Backend(
        PostgresqlWriter(engine, observer), PostgresqlReader(pool), engine, pool, partial(_migrating, parsed)
    )


class PostgresqlReader:
    """Keeps a few connections outside the pool: checking one out takes longer than a look-up."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._free: list[tuple[AsyncConnection, Any]] = []
        self._slots = asyncio.Semaphore(LOOKUP_CONNECTIONS)

    async def rows(self, text: str, arguments: tuple[Any, ...]) -> Rows:
        if self._slots.locked():
            async with asyncio.timeout(LOOKUP_WAIT_SECONDS):
                await self._slots.acquire()
        else:
            await self._slots.acquire()
        try:
            connection, driver = self._free.pop() if self._free else await connect_driver(self._engine)
            return await self._fetch(connection, driver, text, arguments)
        finally:
            self._slots.release()

    async def _fetch(self, connection: AsyncConnection, driver: Any, text: str, arguments: tuple[Any, ...]) -> Rows:
        try:
            found: Rows = await driver.fetch(text, *arguments)
        except BaseException:
            await asyncio.shield(discard(connection))
            raise
        self._free.append((connection, driver))
        return found

    async def close(self) -> None:
        while self._free:
            await discard(self._free.pop()[0])


async def connect_driver(engine: AsyncEngine) -> tuple[AsyncConnection, Any]:
    """Returns a connection, and the driver's own connection beneath it."""
    connection = await engine.connect()
    return connection, (await connection.get_raw_connection()).driver_connection


async def discard(connection: AsyncConnection) -> None:
    """Closes a connection in an unknown state, so that it is not reused."""
    with suppress(Exception):
        await connection.invalidate()
    with suppress(Exception):
        await connection.close()


class WriterConnection:
    """A connection of the driver that raises SQLAlchemy's errors."""

    def __init__(self, connection: AsyncConnection, driver: Any) -> None:
        self.connection = connection
        self._driver = driver

    async def begin(self) -> None:
        """Begins a transaction once no other process has one open."""
        await self.execute(_BEGIN)

    async def commit(self, channels: Iterable[str]) -> None:
        """Commits, and notifies the listeners of the channels. Raises RuntimeError if PostgreSQL rolled back."""
        notifies = "".join(f"NOTIFY {channel}; " for channel in channels)
        # COMMIT of an aborted transaction is no error: PostgreSQL rolls it back silently.
        if await self.execute(f"{notifies}COMMIT") != "COMMIT":
            raise RuntimeError("A unit went on after a statement of its own had failed.")

    async def execute(self, text: str) -> str:
        """Sends statements without values, and returns the tag of the last one. Raises DBAPIError and OSError."""
        try:
            status: str = await self._driver.execute(text)
        except Exception as error:
            raise self._wrap(error, text) from error
        return status

    async def fetch(self, text: str, arguments: tuple[Any, ...]) -> list[Any]:
        """Sends a prepared statement, and returns its rows. Raises DBAPIError and OSError."""
        try:
            rows: list[Any] = await self._driver.fetch(text, *arguments)
        except Exception as error:
            raise self._wrap(error, text) from error
        return rows

    def _wrap(self, error: Exception, text: str) -> Exception:
        if isinstance(error, OSError):
            return error
        broken = (getattr(error, "sqlstate", None) or "").startswith("23")
        kind = IntegrityError if broken else DBAPIError
        return kind(text, None, error, hide_parameters=True, connection_invalidated=self._driver.is_closed())


class PostgresqlTransaction(Transaction):
    """One unit's part of a transaction that others share."""

    def __init__(self, link: WriterConnection, observer: Observer, channels: set[str]) -> None:
        connection = link.connection.sync_connection
        assert connection is not None
        super().__init__(connection, expire_on_commit=False)
        self._dialect = connection.dialect
        self._link = link
        self._observer = observer
        self._channels = channels
        self.is_untouched = True
        """Whether only prepared SELECTs were sent, and all succeeded."""

    def run(self, prepared: Prepared[_Row], /, **values: Any) -> list[_Row]:
        compiled = prepared.compiled(self._dialect)
        arguments = compiled.arguments(values)
        was_untouched, self.is_untouched = self.is_untouched, False
        if self._observer.follows_statements:
            with traced(self._observer, self._dialect.name, compiled.text):
                found = await_only(self._link.fetch(compiled.text, arguments))
        else:
            found = await_only(self._link.fetch(compiled.text, arguments))
        self.is_untouched = was_untouched and prepared.statement.is_select
        return compiled.rows(found)

    def notify(self, channel: str) -> None:
        self._channels.add(channel)


@event.listens_for(PostgresqlTransaction, "after_begin")
def _mark_touched(transaction: PostgresqlTransaction, *_: Any) -> None:
    transaction.is_untouched = False


class PostgresqlWriter:
    """Commits units over one connection, in the order in which they arrive."""

    def __init__(self, engine: AsyncEngine, observer: Observer) -> None:
        # This class sends BEGIN and COMMIT itself; AUTOCOMMIT suppresses those of SQLAlchemy's session.
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._observer = observer
        self._jobs: deque[Job] = deque()
        self._task: asyncio.Task[None] | None = None
        self._idle: WriterConnection | None = None
        self.waiting = 0

    async def write(self, unit: Callable[[Transaction], Any]) -> Any:
        """Implements `Writer.write`. Raises what the unit raises, DBAPIError, OSError and PoolTimeout."""
        job = Job(unit, UnitTimer(self._observer), asyncio.get_running_loop().create_future())
        self.waiting += 1
        self._jobs.append(job)
        if self._task is None:
            self._task = asyncio.create_task(self._run(), context=Context())
        return await job.done

    async def stop(self, seconds: float) -> None:
        """Finishes the queued units, and gives up what takes longer than `seconds`."""
        if self._task:
            await asyncio.wait({self._task}, timeout=seconds)
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for job in self._jobs:
            job.done.cancel()
        if self._idle:
            await discard(self._idle.connection)

    async def _run(self) -> None:
        try:
            while self._jobs:
                batch = [self._jobs.popleft() for _ in range(min(BATCH_SIZE, len(self._jobs)))]
                try:
                    await self._commit(batch)
                finally:
                    self._hand_back(batch)
        finally:
            self._task = None

    async def _commit(self, batch: list[Job]) -> None:
        """Commits the batch. If one of several units fails after it wrote, which is rare, reruns all in savepoints."""
        try:
            if not await self._transaction(batch, self._work) and len(batch) > 1:
                await self._transaction(batch, self._work_in_savepoint)
        except BaseException as error:  # raised where the result is awaited
            for job in batch:
                job.error = job.error or error
            if not isinstance(error, Exception):
                raise

    async def _transaction(self, batch: list[Job], work: Callable[[WriterConnection, Job, set[str]], bool]) -> bool:
        """Runs the units. Commits and returns True; rolls back and returns False if one failed after it wrote."""
        link = await self._begin_transaction()
        try:
            channels: set[str] = set()
            is_complete = await greenlet_spawn(self._run_all, link, batch, work, channels)
            if is_complete:
                await link.commit(channels)
            else:
                await link.execute("ROLLBACK")
        except BaseException:
            await asyncio.shield(discard(link.connection))
            raise
        self._idle = link
        return is_complete

    async def _begin_transaction(self) -> WriterConnection:
        """Begins a transaction on the idle connection, or on a new one if that is dead."""
        idle, self._idle = self._idle, None
        if idle:
            try:
                return await self._begin(idle)
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
        return await self._begin(WriterConnection(*await connect_driver(self._engine)))

    async def _begin(self, link: WriterConnection) -> WriterConnection:
        try:
            await link.begin()
        except BaseException:
            await asyncio.shield(discard(link.connection))
            raise
        return link

    def _run_all(
        self,
        link: WriterConnection,
        batch: list[Job],
        work: Callable[[WriterConnection, Job, set[str]], bool],
        channels: set[str],
    ) -> bool:
        for job in batch:
            job.timer.begin()
            job.error = None
            if not job.context.run(work, link, job, channels):
                return False
        return True

    def _work(self, link: WriterConnection, job: Job, channels: set[str]) -> bool:
        """Runs one unit. Returns False if it failed after it wrote. Raises outages, which concern the whole batch."""
        transaction = PostgresqlTransaction(link, self._observer, channels)
        try:
            job.result = job.unit(transaction)
            if transaction.in_transaction():
                transaction.commit()
        except Exception as error:
            job.error = error
            if is_outage(error):
                raise
            return transaction.is_untouched
        finally:
            if transaction.in_transaction():
                with suppress(DBAPIError):
                    transaction.close()
        return True

    def _work_in_savepoint(self, link: WriterConnection, job: Job, channels: set[str]) -> bool:
        await_only(link.execute("SAVEPOINT unit"))
        if not self._work(link, job, channels):
            await_only(link.execute("ROLLBACK TO unit"))
        await_only(link.execute("RELEASE unit"))
        return True

    def _hand_back(self, batch: list[Job]) -> None:
        for job in batch:
            self.waiting -= 1
            job.hand_back()


@asynccontextmanager
async def _migrating(url: URL) -> AsyncIterator[AsyncConnection]:
    engine = _engine(url, 1, None)
    try:
        async with engine.begin() as connection:
            yield connection
    finally:
        await engine.dispose()


async def listen(pool: AsyncEngine, channel: str, wake: Callable[[], None]) -> None:
    """Calls `wake` on each notification of the channel, until the connection is lost."""
    lost = asyncio.Event()
    async with pool.connect() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        on_notification = lambda *_: wake()  # noqa: E731
        driver.add_termination_listener(lambda *_: lost.set())
        await driver.add_listener(channel, on_notification)
        try:
            await lost.wait()
        finally:
            with suppress(Exception):
                await driver.remove_listener(channel, on_notification)


def _engine(url: URL, size: int, hang_seconds: float | None, **settings: str) -> AsyncEngine:
    settings |= {"application_name": "email-inbox", "lock_timeout": f"{backend.LOCK_SECONDS}s"}
    if hang_seconds:  # a process that hangs in a transaction blocks the others no longer
        settings["idle_in_transaction_session_timeout"] = f"{hang_seconds}s"
    return create_async_engine(
        url,
        # A hung server refuses nothing: only a timeout ends the wait.
        connect_args={"timeout": CONNECT_SECONDS, "command_timeout": hang_seconds, "server_settings": settings},
        hide_parameters=True,
        pool_pre_ping=True,
        pool_size=size,
        max_overflow=0,
        pool_timeout=backend.LOCK_SECONDS,
    )
