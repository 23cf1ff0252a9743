"""What goes on beside the requests: notes the use of tokens, and deletes what has ended. Knows no request."""

import asyncio
from contextlib import suppress

import structlog

from models import change, token
from models.database import Database
from models.database.transaction import Transaction
from resolvers.access import Authenticator

FLUSH_SECONDS = 30.0
FLUSH_GRACE_SECONDS = 1.0
FLUSHES_PER_PRUNE = 20

log = structlog.get_logger()


async def keep_up(database: Database, authenticator: Authenticator) -> None:
    """Works until it is cancelled, then writes down what it knows."""
    rounds = 0
    try:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            rounds += 1
            await _round(database, authenticator, prune=rounds % FLUSHES_PER_PRUNE == 0)
    finally:
        with suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_GRACE_SECONDS):
                await _round(database, authenticator, prune=False)


async def _round(database: Database, authenticator: Authenticator, *, prune: bool) -> None:
    try:
        await authenticator.flush()
        if prune:
            await database.write(_prune)
    except Exception as error:
        # Whatever it was, the next round comes.
        log.warning("upkeep put off", error=type(error).__name__)


def _prune(transaction: Transaction) -> None:
    change.prune(transaction)
    token.prune(transaction)
