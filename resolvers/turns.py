"""Whose turn it is to have a mail server asked: how often a user may, and how many are asked at once. Knows no mail.

A check can take half a minute, for which the request counts among those that the server works on: so few wait.
The counts live in this process.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from limits import RateLimitItem, parse
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter

from models.errors import RateLimited, Unavailable

CHECKS = parse("10/minute")
"""Checks and test mails of one user."""
LOOKUPS = parse("30/minute")
"""Questions of one user for the settings of an address."""
AT_ONCE = 8
WAITING = 8


class Turns:
    """Counts in moving windows, and lets through as many as may."""

    def __init__(self) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        # Look-ups have places of their own: they are asked for oftener, and must not keep checks waiting.
        self._places: defaultdict[RateLimitItem, _Places] = defaultdict(_Places)

    @asynccontextmanager
    async def taken(self, limit: RateLimitItem, user_id: str | None) -> AsyncIterator[None]:
        """Waits for a turn of this user, and has it within. Whoever works from the shell (None) is not counted.

        Raises RateLimited where the user has had as many as the limit says, and Unavailable where too many wait.
        """
        places = self._places[limit]
        if places.taken >= AT_ONCE + WAITING:
            raise Unavailable("Too many mail servers are being asked at the moment. Try again.")
        places.taken += 1
        try:
            if user_id is not None:
                await self._count(limit, user_id)
            async with places.working:
                yield
        finally:
            places.taken -= 1

    async def _count(self, limit: RateLimitItem, user_id: str) -> None:
        if not await self._limiter.hit(limit, user_id):
            stats = await self._limiter.get_window_stats(limit, user_id)
            raise RateLimited(max(1, round(stats.reset_time - time.time())), limit=limit.amount)


class _Places:
    """Where one kind of work waits and is done."""

    def __init__(self) -> None:
        self.working = asyncio.Semaphore(AT_ONCE)
        self.taken = 0
