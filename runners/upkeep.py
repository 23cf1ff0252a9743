"""The maintenance task: stores when tokens were used, and deletes expired rows. Knows no request."""

import asyncio
from contextlib import suppress

import structlog

from resolvers.access import Authenticator
from resolvers.context import Context
from resolvers.upkeep import prune

FLUSH_SECONDS = 30.0
FLUSH_GRACE_SECONDS = 1.0
FLUSHES_PER_PRUNE = 20

log = structlog.get_logger()


async def keep_up(context: Context, authenticator: Authenticator) -> None:
    """Runs until it is cancelled, then stores the remaining uses of tokens."""
    rounds = 0
    try:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            rounds += 1
            await _run_round(context, authenticator, prunes=rounds % FLUSHES_PER_PRUNE == 0)
    finally:
        with suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_GRACE_SECONDS):
                await _run_round(context, authenticator, prunes=False)


async def _run_round(context: Context, authenticator: Authenticator, *, prunes: bool) -> None:
    try:
        await authenticator.flush()
        if prunes:
            await prune(context.database)
    except Exception as error:
        # No error may end the task: the next round tries again.
        log.warning("upkeep put off", error=type(error).__name__)
