"""Deletes rows that have expired. Knows no schedule."""

from models import change, token
from models.database import Database
from models.database.transaction import Transaction


async def prune(database: Database) -> None:
    """Deletes expired tokens and old changes. Raises Unavailable."""

    def unit(transaction: Transaction) -> None:
        change.prune(transaction)
        token.prune(transaction)

    await database.write(unit)
