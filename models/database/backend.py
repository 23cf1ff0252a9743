"""What SQLite and PostgreSQL each implement: a writer and a reader, beside SQLAlchemy's engines."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from models.database.transaction import Transaction

READER_CONNECTIONS = 4
"""Connections of the pool, for statements that the reader does not run."""
LOCK_SECONDS = 5.0
"""Timeout for a lock, and for a connection."""

Rows = Sequence[tuple[Any, ...]]
"""A row is a tuple, or is indexed like one."""


class Reader(Protocol):
    """Runs statements that change nothing."""

    async def rows(self, text: str, arguments: tuple[Any, ...]) -> Rows:
        """Returns the driver's rows. Raises the driver's errors."""
        ...

    async def close(self) -> None: ...


class Writer(Protocol):
    """Commits units in the order in which they arrive."""

    waiting: int
    """The number of units that are queued or running."""

    async def write(self, unit: Callable[[Transaction], Any]) -> Any:
        """Returns the unit's result once it is durable. Raises what the unit and the driver raise.

        Cancelling the caller does not cancel the unit.
        """
        ...

    async def stop(self, seconds: float) -> None:
        """Finishes the queued units, and gives up what takes longer than `seconds`."""
        ...


@dataclass(frozen=True, slots=True)
class Backend:
    """The parts of one open database."""

    writer: Writer
    reader: Reader
    engine: AsyncEngine
    """Writes the schema."""
    pool: AsyncEngine
    """Runs any read, however long it takes."""
    migrating: Callable[[], AbstractAsyncContextManager[AsyncConnection]]
    """Begins a transaction without a statement timeout: an index of a large table takes minutes."""
    others: Sequence[Engine] = ()

    @property
    def engines(self) -> Sequence[Engine]:
        """Every engine that SQLAlchemy runs statements on."""
        return [self.engine.sync_engine, self.pool.sync_engine, *self.others]
