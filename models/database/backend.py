"""What SQLite and PostgreSQL each bring: a writer, a reader, and SQLAlchemy's engines beside them. Knows no table."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from models.database.transaction import Transaction

READER_CONNECTIONS = 4
"""Connections of the pool: for what the reader leaves to it."""
LOCK_SECONDS = 5.0
"""How long a statement waits for a lock, and for a connection."""

Rows = Sequence[tuple[Any, ...]]
"""A row is a tuple, or what is read like one."""


class Reader(Protocol):
    """Where statements are sent that change nothing."""

    async def rows(self, text: str, arguments: tuple[Any, ...]) -> Rows:
        """The rows as the driver gives them. Raises what the driver raises."""
        ...

    async def close(self) -> None: ...


class Writer(Protocol):
    """Where units are committed, in the order in which they come."""

    waiting: int
    """Units whose result was not handed back yet."""

    async def write(self, unit: Callable[[Transaction], Any]) -> Any:
        """The unit's result, once it is durable. Raises what the unit and the driver raise.

        A caller that goes away does not cut the unit short.
        """
        ...

    async def stop(self, seconds: float) -> None:
        """Ends after what waits; what takes longer is given up."""
        ...


@dataclass(frozen=True, slots=True)
class Backend:
    """One database, ready to be used."""

    writer: Writer
    reader: Reader
    engine: AsyncEngine
    """It writes, for the schema."""
    pool: AsyncEngine
    """It reads: any statement, however long it takes."""
    migrating: Callable[[], AbstractAsyncContextManager[AsyncConnection]]
    """A transaction whose statements take the time that they need: an index of a large table takes minutes."""
    others: Sequence[Engine] = ()

    @property
    def engines(self) -> Sequence[Engine]:
        """All that statements of SQLAlchemy's go through."""
        return [self.engine.sync_engine, self.pool.sync_engine, *self.others]
