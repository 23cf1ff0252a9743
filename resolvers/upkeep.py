"""What goes on beside the requests: notes the use of tokens, and deletes what has ended. Knows no request."""

import asyncio

import structlog
from sqlmodel import Session

from models import change, token
from models.database import Database
from models.errors import ProductError
from resolvers.access import Authenticator

FLUSH_SECONDS = 30.0
PRUNE_EVERY = 20

log = structlog.get_logger()


async def keep_up(database: Database, authenticator: Authenticator) -> None:
    """Works until it is cancelled, then writes down what it knows."""
    rounds = 0
    try:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            rounds += 1
            await _round(database, authenticator, prune=rounds % PRUNE_EVERY == 0)
    finally:
        await _round(database, authenticator, prune=False)


async def _round(database: Database, authenticator: Authenticator, *, prune: bool) -> None:
    try:
        await authenticator.flush()
        if prune:
            await database.write(_prune)
    except ProductError as error:
        log.warning("upkeep put off", reason=str(error))


def _prune(session: Session) -> None:
    change.prune(session)
    token.prune(session)
