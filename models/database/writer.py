"""The one writer of SQLite: a thread that commits together what waits at the same time. Knows no table and no lock.

A unit that fails takes nothing of the others with it. Results are handed back after the one COMMIT is on disk: what
costs most about a commit is the waiting for the disk, and it is shared. In the thread a statement costs no hop to
another one.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from models.database.transaction import SqliteTransaction, Transaction
from models.database.unit import Turn
from models.observer import Observer

TOGETHER = 32
"""How many units are committed together, at most: the first of them waits for the last."""


@dataclass(slots=True)
class Job:
    """A unit that waits, and runs in the context of whoever asked for it."""

    unit: Callable[[Transaction], Any]
    turn: Turn
    done: asyncio.Future[Any]
    context: Context = field(default_factory=copy_context)
    result: Any = None
    error: BaseException | None = None

    def hand_back(self) -> None:
        """Tells whoever still waits what became of it."""
        self.turn.end()
        if self.done.done():
            return
        if self.error is None:
            self.done.set_result(self.result)
        else:
            self.done.set_exception(self.error)


class _HalfDone(Exception):
    """A unit failed after it had written something."""


class Writer:
    """Commits units over the one connection of the engine, in the order in which they come."""

    def __init__(self, engine: Engine, observer: Observer) -> None:
        self._engine = engine
        self._observer = observer
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._asked: list[Job] = []
        self.waiting = 0
        """Units that are not handed back yet."""

    async def write(self, unit: Callable[[Transaction], Any]) -> Any:
        """The unit's result, once it is durable. Raises what the unit raises, DBAPIError and sqlite3.Error.

        A caller that goes away does not cut the unit short.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, daemon=True, name="writer")
            self._thread.start()
        loop = asyncio.get_running_loop()
        job = Job(unit, Turn(self._observer), loop.create_future())
        self.waiting += 1
        if not self._asked:
            loop.call_soon(self._hand_over)
        self._asked.append(job)
        return await job.done

    def _hand_over(self) -> None:
        """Wakes the thread for what was asked in one turn of the event loop: one by one, it would commit one by one."""
        asked, self._asked = self._asked, []
        for job in asked:
            self._jobs.put(job)

    async def stop(self, seconds: float) -> None:
        """Ends after what waits. A thread that still waits for a lock by then is left behind: it holds up no end."""
        self._hand_over()
        self._jobs.put(None)
        if self._thread:
            await asyncio.to_thread(self._thread.join, seconds)

    def _run(self) -> None:
        while batch := self._batch():
            self._commit(batch)
            with suppress(RuntimeError):  # the loop may be closed by now
                batch[0].done.get_loop().call_soon_threadsafe(self._hand_back, batch)
        self._engine.dispose()

    def _batch(self) -> list[Job]:
        """What waits, and where nothing does, what comes next. Empty: this is the end."""
        batch: list[Job] = []
        while len(batch) < TOGETHER and not (batch and self._jobs.empty()):
            job = self._jobs.get()
            if job is None:
                if batch:
                    self._jobs.put(None)
                break
            batch.append(job)
        return batch

    def _commit(self, batch: list[Job]) -> None:
        """A unit that fails has seldom written anything. Where one has, all are run again, each in a savepoint, which
        costs as much as the rest: a search index writes what it has gathered at each of them.
        """
        try:
            try:
                self._run_all(batch, self._work)
            except _HalfDone:
                self._run_all(batch, self._work_in_savepoint)
        except BaseException as error:  # it is raised where the result is awaited
            for job in batch:
                job.error = job.error or error

    def _run_all(self, batch: list[Job], work: Callable[[Connection, sqlite3.Connection, Job], None]) -> None:
        with self._engine.begin() as connection:
            driver = connection.connection.driver_connection
            assert isinstance(driver, sqlite3.Connection)
            for job in batch:
                job.turn.begin()
                job.error = None
                job.context.run(work, connection, driver, job)

    def _work(self, connection: Connection, driver: sqlite3.Connection, job: Job) -> None:
        """Runs one unit. Raises _HalfDone, and whatever made SQLite give the transaction up, such as a full disk."""
        before = driver.total_changes
        try:
            job.result = _run(job.unit, SqliteTransaction(connection, driver, self._observer))
        except BaseException as error:  # as above
            job.error = error
            if not driver.in_transaction:
                raise
            if driver.total_changes != before:
                raise _HalfDone from error

    def _work_in_savepoint(self, connection: Connection, driver: sqlite3.Connection, job: Job) -> None:
        driver.execute("SAVEPOINT unit")
        try:
            self._work(connection, driver, job)
        except _HalfDone:
            driver.execute("ROLLBACK TO unit")
        driver.execute("RELEASE unit")

    def _hand_back(self, batch: list[Job]) -> None:
        for job in batch:
            self.waiting -= 1
            job.hand_back()


def _run(unit: Callable[[Transaction], Any], transaction: Transaction) -> Any:
    """The session within the transaction is seldom used, and ends only where it was begun."""
    try:
        result = unit(transaction)
        if transaction.in_transaction():
            transaction.commit()
        return result
    finally:
        if transaction.in_transaction():
            with suppress(DBAPIError):  # where everything was given up, there is no savepoint any more
                transaction.close()
