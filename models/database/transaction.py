"""What a unit of the database works with: a session of SQLAlchemy's, and prepared statements beside it.

Knows no table. A prepared statement does not see what the session has not flushed.
"""

from abc import abstractmethod
from typing import Any, TypeVar

from sqlmodel import Session

from models.database.prepared import Prepared

_Row = TypeVar("_Row")


class Transaction(Session):
    """One unit's part of a transaction."""

    @abstractmethod
    def run(self, prepared: Prepared[_Row], /, **values: Any) -> list[_Row]:
        """Sends the statement, and returns its rows."""

    def notify(self, channel: str) -> None:
        """Wakes the listeners of the channel, once the transaction is committed. PostgreSQL alone has channels."""
