"""What a unit of the database works with: a session of SQLAlchemy's, and prepared statements beside it.

Knows no table. A prepared statement does not see what the session has not flushed.
"""

import sqlite3
from abc import abstractmethod
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlmodel import Session

from models.database.prepared import Prepared
from models.database.tracing import told
from models.observer import Observer

Row = TypeVar("Row")


class Transaction(Session):
    """One unit's part of a transaction."""

    @abstractmethod
    def run(self, prepared: Prepared[Row], /, **values: Any) -> list[Row]:
        """Sends the statement, and returns its rows."""

    def notify(self, channel: str) -> None:
        """Once it is committed, wakes whoever listens to the channel. Only PostgreSQL knows any."""


class SqliteTransaction(Transaction):
    """The same in the transaction of SQLite's one writer, past SQLAlchemy, which would take ten times as long."""

    def __init__(self, connection: Connection, driver: sqlite3.Connection, observer: Observer) -> None:
        super().__init__(connection, expire_on_commit=False, join_transaction_mode="create_savepoint")
        self._dialect = connection.dialect
        self._driver = driver
        self._observer = observer

    def run(self, prepared: Prepared[Row], /, **values: Any) -> list[Row]:
        compiled = prepared.compiled(self._dialect)
        arguments = compiled.arguments(values)
        if not self._observer.follows_statements:
            return compiled.rows(self._driver.execute(compiled.text, arguments))
        with told(self._observer, self._dialect.name, compiled.text):
            return compiled.rows(self._driver.execute(compiled.text, arguments))
