"""The one writer of PostgreSQL: commits together what waits at the same time. Knows no table.

Like the writer of SQLite, over one connection. Writers of several processes take turns by a lock, which each has from
the beginning of its transaction to the end: so they commit one after the other, and none waits for a row of another.
Statements go to the driver, past SQLAlchemy and its pool; its session is there for the units that use it.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from contextvars import Context
from typing import Any

from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.util import await_only, greenlet_spawn

from models.database.faults import in_the_way
from models.database.prepared import Prepared
from models.database.reader import connected, given_up
from models.database.tracing import told
from models.database.transaction import Row, Transaction
from models.database.unit import Turn
from models.database.writer import TOGETHER, Job
from models.observer import Observer

_TURN = 0x656D61696C
_BEGIN = f"BEGIN; SELECT pg_advisory_xact_lock({_TURN})"


class Link:
    """A connection and its driver, whose errors are told as SQLAlchemy tells them."""

    def __init__(self, connection: AsyncConnection, driver: Any) -> None:
        self.connection = connection
        self._driver = driver

    async def begin(self) -> None:
        """Begins a transaction once no other process is in one."""
        await self.execute(_BEGIN)

    async def commit(self, channels: Iterable[str]) -> None:
        """Ends it, and wakes whoever listens to one of the channels."""
        notifies = "".join(f"NOTIFY {channel}; " for channel in channels)
        # To commit what was aborted is no error: it is rolled back without a word.
        if await self.execute(f"{notifies}COMMIT") != "COMMIT":
            raise RuntimeError("A unit went on after a statement of its own had failed.")

    async def execute(self, text: str) -> str:
        """Sends statements without values, and returns the tag of the last one. Raises DBAPIError and OSError."""
        try:
            status: str = await self._driver.execute(text)
        except Exception as error:
            raise self._told(error, text) from error
        return status

    async def fetch(self, text: str, arguments: tuple[Any, ...]) -> list[Any]:
        """Sends a prepared statement, and returns its rows. Raises DBAPIError and OSError."""
        try:
            rows: list[Any] = await self._driver.fetch(text, *arguments)
        except Exception as error:
            raise self._told(error, text) from error
        return rows

    def _told(self, error: Exception, text: str) -> Exception:
        if isinstance(error, OSError):
            return error
        broken = (getattr(error, "sqlstate", None) or "").startswith("23")
        kind = IntegrityError if broken else DBAPIError
        return kind(text, None, error, hide_parameters=True, connection_invalidated=self._driver.is_closed())


class PostgresqlTransaction(Transaction):
    """One unit's part of a transaction that others share."""

    def __init__(self, link: Link, observer: Observer, channels: set[str]) -> None:
        connection = link.connection.sync_connection
        assert connection is not None
        super().__init__(connection, expire_on_commit=False)
        self._dialect = connection.dialect
        self._link = link
        self._observer = observer
        self._channels = channels
        self.is_untouched = True
        """Whether nothing was sent but prepared SELECTs, which PostgreSQL answered."""

    def run(self, prepared: Prepared[Row], /, **values: Any) -> list[Row]:
        compiled = prepared.compiled(self._dialect)
        arguments = compiled.arguments(values)
        was_untouched, self.is_untouched = self.is_untouched, False
        if self._observer.follows_statements:
            with told(self._observer, self._dialect.name, compiled.text):
                found = await_only(self._link.fetch(compiled.text, arguments))
        else:
            found = await_only(self._link.fetch(compiled.text, arguments))
        self.is_untouched = was_untouched and prepared.statement.is_select
        return compiled.rows(found)

    def notify(self, channel: str) -> None:
        self._channels.add(channel)


@event.listens_for(PostgresqlTransaction, "after_begin")
def _touched(transaction: PostgresqlTransaction, *_: Any) -> None:
    transaction.is_untouched = False


class PostgresqlWriter:
    """Commits units over one connection, in the order in which they come."""

    def __init__(self, engine: AsyncEngine, observer: Observer) -> None:
        # BEGIN and COMMIT are sent here: of SQLAlchemy's, which a session calls for, nothing is to be left.
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._observer = observer
        self._jobs: deque[Job] = deque()
        self._task: asyncio.Task[None] | None = None
        self._kept: Link | None = None
        self.waiting = 0
        """Units that are not handed back yet."""

    async def write(self, unit: Callable[[Transaction], Any]) -> Any:
        """The unit's result, once it is durable. Raises what the unit raises, DBAPIError, OSError and PoolTimeout.

        A caller that goes away does not cut the unit short.
        """
        job = Job(unit, Turn(self._observer), asyncio.get_running_loop().create_future())
        self.waiting += 1
        self._jobs.append(job)
        if self._task is None:
            self._task = asyncio.create_task(self._run(), context=Context())
        return await job.done

    async def stop(self, seconds: float) -> None:
        """Ends after what waits; what takes longer is given up."""
        if self._task:
            await asyncio.wait({self._task}, timeout=seconds)
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for job in self._jobs:
            job.done.cancel()
        if self._kept:
            await given_up(self._kept.connection)

    async def _run(self) -> None:
        try:
            while self._jobs:
                batch = [self._jobs.popleft() for _ in range(min(TOGETHER, len(self._jobs)))]
                try:
                    await self._commit(batch)
                finally:
                    self._hand_back(batch)
        finally:
            self._task = None

    async def _commit(self, batch: list[Job]) -> None:
        """A unit that fails has seldom written anything. Where one has, and is not alone, all are run again, each in a
        savepoint.
        """
        try:
            if not await self._transaction(batch, self._work) and len(batch) > 1:
                await self._transaction(batch, self._work_in_savepoint)
        except BaseException as error:  # it is raised where the result is awaited
            for job in batch:
                job.error = job.error or error
            if not isinstance(error, Exception):
                raise

    async def _transaction(self, batch: list[Job], work: Callable[[Link, Job, set[str]], bool]) -> bool:
        """Whether the units were committed; False where one failed that had written something."""
        link = await self._begun()
        try:
            channels: set[str] = set()
            is_whole = await greenlet_spawn(self._run_all, link, batch, work, channels)
            if is_whole:
                await link.commit(channels)
            else:
                await link.execute("ROLLBACK")
        except BaseException:
            await asyncio.shield(given_up(link.connection))
            raise
        self._kept = link
        return is_whole

    async def _begun(self) -> Link:
        """A connection whose turn it is. The one that was kept may be dead: nothing is lost yet, a new one is made."""
        kept, self._kept = self._kept, None
        if kept:
            try:
                return await self._begin(kept)
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
        return await self._begin(Link(*await connected(self._engine)))

    async def _begin(self, link: Link) -> Link:
        try:
            await link.begin()
        except BaseException:
            await asyncio.shield(given_up(link.connection))
            raise
        return link

    def _run_all(
        self, link: Link, batch: list[Job], work: Callable[[Link, Job, set[str]], bool], channels: set[str]
    ) -> bool:
        for job in batch:
            job.turn.begin()
            job.error = None
            if not job.context.run(work, link, job, channels):
                return False
        return True

    def _work(self, link: Link, job: Job, channels: set[str]) -> bool:
        """Runs one unit: False where it failed after it had written something. Raises what is in the way of all."""
        transaction = PostgresqlTransaction(link, self._observer, channels)
        try:
            job.result = job.unit(transaction)
            if transaction.in_transaction():
                transaction.commit()
        except Exception as error:
            job.error = error
            if in_the_way(error):
                raise
            return transaction.is_untouched
        finally:
            if transaction.in_transaction():
                with suppress(DBAPIError):
                    transaction.close()
        return True

    def _work_in_savepoint(self, link: Link, job: Job, channels: set[str]) -> bool:
        await_only(link.execute("SAVEPOINT unit"))
        if not self._work(link, job, channels):
            await_only(link.execute("ROLLBACK TO unit"))
        await_only(link.execute("RELEASE unit"))
        return True

    def _hand_back(self, batch: list[Job]) -> None:
        for job in batch:
            self.waiting -= 1
            job.hand_back()
