"""The SQLite backend: a writer in its own thread, a reader on the event loop, and a pool.

The writer commits waiting units in batches (BEGIN IMMEDIATE, WAL, synchronous=FULL), and returns their results after
the COMMIT is on disk: the batch shares the wait for the disk, the largest cost of a commit. A unit that fails does not
affect the others. Inside the thread, statements need no thread switch.
"""

import asyncio
import queue
import random
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, StaticPool, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.util import await_only

from models.database import backend
from models.database.backend import READER_CONNECTIONS, Backend, Rows
from models.database.faults import SQLITE_BUSY, sqlite_code
from models.database.prepared import Prepared
from models.database.tracing import traced
from models.database.transaction import Transaction
from models.database.unit import BATCH_SIZE, Job, UnitTimer
from models.observer import Observer

MAX_BLOCKING_SECONDS = 0.005
"""How long the reader may block the event loop."""
PROGRESS_STEPS = 8_000
"""SQLite VM steps between two checks of the clock: twice what a page of 100 rows of an index takes, so that such a page
is never interrupted, however long this process waits for a CPU meanwhile."""
CACHE_KIBIBYTES = 32_768
"""Page cache of a reader. A search reads many pages; SQLite's default is 2 MiB."""
LOCK_RETRY_SECONDS = 0.01
_DURABLE = ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "PRAGMA foreign_keys=ON")
_READ_ONLY = ("PRAGMA query_only=ON", f"PRAGMA cache_size=-{CACHE_KIBIBYTES}")
_NO_WAITING = "PRAGMA busy_timeout=0"

_Row = TypeVar("_Row")


def open_sqlite(path: Path, observer: Observer) -> Backend:
    """Opens the database in the file. Connects on first use."""
    engine, pool, unit_engine = _schema_engine(path), _pool(path), _unit_engine(path)
    return Backend(SqliteWriter(unit_engine, observer), SqliteReader(path), engine, pool, engine.begin, [unit_engine])


class SqliteReader:
    """One connection, on the event loop. It does not wait for locks, which are rare in WAL mode."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._ends_at = 0.0
        self._checks = 0

    async def rows(self, text: str, arguments: tuple[Any, ...]) -> Rows:
        connection = self._connection or self._open()
        self._ends_at, self._checks = time.perf_counter() + MAX_BLOCKING_SECONDS, 0
        return connection.execute(text, arguments).fetchall()

    def _is_late(self) -> bool:
        """The progress handler. Ignores its first call: SQLite keeps counting from the last run of the statement."""
        self._checks += 1
        return self._checks > 1 and time.perf_counter() > self._ends_at

    def _open(self) -> sqlite3.Connection:
        address = f"{self._path.absolute().as_uri()}?mode=rw"  # never a new file
        connection = sqlite3.connect(address, uri=True, isolation_level=None, timeout=0)
        try:
            for pragma in (*_READ_ONLY, _NO_WAITING):
                connection.execute(pragma)
        except sqlite3.Error:
            connection.close()
            raise
        connection.set_progress_handler(self._is_late, PROGRESS_STEPS)
        self._connection = connection
        return connection

    async def close(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None


class SqliteTransaction(Transaction):
    """One unit's part of the writer's transaction. Bypasses SQLAlchemy, which would take ten times as long."""

    def __init__(self, connection: Connection, driver: sqlite3.Connection, observer: Observer) -> None:
        super().__init__(connection, expire_on_commit=False, join_transaction_mode="create_savepoint")
        self._dialect = connection.dialect
        self._driver = driver
        self._observer = observer

    def run(self, prepared: Prepared[_Row], /, **values: Any) -> list[_Row]:
        compiled = prepared.compiled(self._dialect)
        arguments = compiled.arguments(values)
        if not self._observer.follows_statements:
            return compiled.rows(self._driver.execute(compiled.text, arguments))
        with traced(self._observer, self._dialect.name, compiled.text):
            return compiled.rows(self._driver.execute(compiled.text, arguments))


class _PartlyWritten(Exception):
    """A unit failed after it wrote something."""


class SqliteWriter:
    """Commits units over the one connection of the engine, in the order in which they arrive."""

    def __init__(self, engine: Engine, observer: Observer) -> None:
        self._engine = engine
        self._observer = observer
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._submitted: list[Job] = []
        self.waiting = 0

    async def write(self, unit: Callable[[Transaction], Any]) -> Any:
        """Implements `Writer.write`. Raises what the unit raises, DBAPIError and sqlite3.Error."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, daemon=True, name="writer")
            self._thread.start()
        loop = asyncio.get_running_loop()
        job = Job(unit, UnitTimer(self._observer), loop.create_future())
        self.waiting += 1
        if not self._submitted:
            loop.call_soon(self._hand_over)
        self._submitted.append(job)
        return await job.done

    def _hand_over(self) -> None:
        """Passes the units of one event loop iteration to the thread together, so that it commits them together."""
        submitted, self._submitted = self._submitted, []
        for job in submitted:
            self._jobs.put(job)

    async def stop(self, seconds: float) -> None:
        """Finishes the queued units. After `seconds`, leaves the thread behind: a daemon does not block the exit."""
        self._hand_over()
        self._jobs.put(None)
        if self._thread:
            await asyncio.to_thread(self._thread.join, seconds)

    def _run(self) -> None:
        while batch := self._batch():
            self._commit(batch)
            with suppress(RuntimeError):  # the loop may be closed
                batch[0].done.get_loop().call_soon_threadsafe(self._hand_back, batch)
        self._engine.dispose()

    def _batch(self) -> list[Job]:
        """Returns the waiting units, or else the next one. An empty list ends the thread."""
        batch: list[Job] = []
        while len(batch) < BATCH_SIZE and not (batch and self._jobs.empty()):
            job = self._jobs.get()
            if job is None:
                if batch:
                    self._jobs.put(None)
                break
            batch.append(job)
        return batch

    def _commit(self, batch: list[Job]) -> None:
        """Commits the batch. If a unit fails after it wrote, which is rare, runs all again in savepoints.

        Savepoints double the cost: the search index flushes its changes at each.
        """
        try:
            try:
                self._run_all(batch, self._work)
            except _PartlyWritten:
                self._run_all(batch, self._work_in_savepoint)
        except BaseException as error:  # raised where the result is awaited
            for job in batch:
                job.error = job.error or error

    def _run_all(self, batch: list[Job], work: Callable[[Connection, sqlite3.Connection, Job], None]) -> None:
        with self._engine.begin() as connection:
            driver = connection.connection.driver_connection
            assert isinstance(driver, sqlite3.Connection)
            for job in batch:
                job.timer.begin()
                job.error = None
                job.context.run(work, connection, driver, job)

    def _work(self, connection: Connection, driver: sqlite3.Connection, job: Job) -> None:
        """Runs one unit. Raises _PartlyWritten, and any error on which SQLite rolled back, such as a full disk."""
        before = driver.total_changes
        try:
            job.result = _run_unit(job.unit, SqliteTransaction(connection, driver, self._observer))
        except BaseException as error:  # as above
            job.error = error
            if not driver.in_transaction:
                raise
            if driver.total_changes != before:
                raise _PartlyWritten from error

    def _work_in_savepoint(self, connection: Connection, driver: sqlite3.Connection, job: Job) -> None:
        driver.execute("SAVEPOINT unit")
        try:
            self._work(connection, driver, job)
        except _PartlyWritten:
            driver.execute("ROLLBACK TO unit")
        driver.execute("RELEASE unit")

    def _hand_back(self, batch: list[Job]) -> None:
        for job in batch:
            self.waiting -= 1
            job.hand_back()


def _run_unit(unit: Callable[[Transaction], Any], transaction: Transaction) -> Any:
    """Runs the unit, and ends its session if the unit began it, which is rare."""
    try:
        result = unit(transaction)
        if transaction.in_transaction():
            transaction.commit()
        return result
    finally:
        if transaction.in_transaction():
            with suppress(DBAPIError):  # after a rollback of everything, the savepoint is gone
                transaction.close()


def _unit_engine(path: Path) -> Engine:
    """Creates the engine of the writer's thread: one connection, without a pool."""
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        connect_args={"isolation_level": None, "check_same_thread": False},
        hide_parameters=True,
        poolclass=StaticPool,
    )
    _on_connect(engine, *_DURABLE, _NO_WAITING)
    event.listen(engine, "begin", partial(_begin, sleep=time.sleep))
    return engine


def _schema_engine(path: Path) -> AsyncEngine:
    engine = _async_engine(path, 1)
    _on_connect(engine.sync_engine, *_DURABLE, _NO_WAITING)
    event.listen(engine.sync_engine, "begin", partial(_begin, sleep=lambda seconds: await_only(asyncio.sleep(seconds))))
    return engine


def _pool(path: Path) -> AsyncEngine:
    engine = _async_engine(path, READER_CONNECTIONS)
    _on_connect(engine.sync_engine, *_DURABLE, *_READ_ONLY)
    return engine


def _async_engine(path: Path, size: int) -> AsyncEngine:
    return create_async_engine(
        URL.create("sqlite+aiosqlite", database=str(path)),
        connect_args={"timeout": backend.LOCK_SECONDS, "isolation_level": None},
        hide_parameters=True,
        pool_size=size,
        max_overflow=0,
        pool_timeout=backend.LOCK_SECONDS,
    )


def _begin(connection: Connection, sleep: Callable[[float], object]) -> None:
    """Begins a transaction once no other process has one open.

    SQLite's own busy handler would wait up to a tenth of a second between attempts, in a thread that can't be stopped.
    """
    deadline = time.monotonic() + backend.LOCK_SECONDS
    while True:
        try:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            return
        except DBAPIError as error:
            if sqlite_code(error) != SQLITE_BUSY or time.monotonic() > deadline:
                raise
        sleep(random.uniform(0, LOCK_RETRY_SECONDS))  # noqa: S311


def _on_connect(engine: Engine, *pragmas: str) -> None:
    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(pragma)
        cursor.close()
