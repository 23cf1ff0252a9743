"""The transaction passed to a unit: a SQLAlchemy session that also runs prepared statements.

A prepared statement does not see what the session has not flushed.
"""

from abc import abstractmethod
from typing import Any, TypeVar

from sqlmodel import Session

from models.database.prepared import Prepared

_Row = TypeVar("_Row")


class Transaction(Session):
    """One unit's part of a database transaction."""

    @abstractmethod
    def run(self, prepared: Prepared[_Row], /, **values: Any) -> list[_Row]:
        """Sends the statement, and returns its rows."""

    def notify(self, channel: str) -> None:
        """Notifies the listeners of the channel after the commit. Only PostgreSQL has channels."""
