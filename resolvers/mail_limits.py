"""Whose turn it is to have slow work done: how much of it at once, how much waits, how often a user may ask for it.

Mail servers are asked, which can take a minute, and passwords are hashed, which takes a core. Each kind has places
of its own: neither keeps the other waiting, nor ordinary requests. The counts live in this process. Knows no mail.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager

from limits import RateLimitItem, parse

from models.errors import RateLimited, Unavailable
from resolvers.windows import MovingWindows

CHECKS_PER_USER = parse("10/minute")
"""Checks and test mails of one user."""
LOOKUPS_PER_USER = parse("30/minute")
"""Questions of one user for the settings of an address."""
MAX_RUNNING_CHECKS = 8
MAX_WAITING_CHECKS = 8
TOO_MANY_CHECKS_MESSAGE = "Too many checks and look-ups are running. Try again."
# Each takes 64 MiB and a core: more at once would only slow each other down.
MAX_RUNNING_HASHES = 2
MAX_WAITING_LOGINS = 16
MAX_WAITING_PASSWORDS = 8

Aside = Callable[[], AbstractContextManager[None]]
"""What a request does while it waits for a turn, or has it: it takes no place of those that are worked on."""


class WorkQueue:
    """Where one kind of work waits and is done."""

    def __init__(self, at_once: int, waiting: int, busy: str) -> None:
        self._working = asyncio.Semaphore(at_once)
        self._room = at_once + waiting
        self._entered = 0
        self._busy = busy

    def check(self) -> None:
        """Raises Unavailable where too many wait."""
        if self._entered >= self._room:
            raise Unavailable(self._busy)

    @asynccontextmanager
    async def slot(self, aside: Aside) -> AsyncIterator[None]:
        """Waits for a turn, and has it within. Raises Unavailable."""
        self.check()
        self._entered += 1
        try:
            with aside():
                async with self._working:
                    yield
        finally:
            self._entered -= 1


class MailQuota:
    """The places, and how often each user asked mail servers."""

    def __init__(self) -> None:
        # Look-ups have places of their own: they are asked for oftener, and must not keep checks waiting.
        self._places = defaultdict[RateLimitItem, WorkQueue](
            lambda: WorkQueue(MAX_RUNNING_CHECKS, MAX_WAITING_CHECKS, TOO_MANY_CHECKS_MESSAGE)
        )
        self._counts: dict[RateLimitItem, MovingWindows] = {}
        self.logins = WorkQueue(MAX_RUNNING_HASHES, MAX_WAITING_LOGINS, "Too many logins are waiting. Try again.")
        # Strangers' logins keep nobody from setting a password.
        self.passwords = WorkQueue(
            MAX_RUNNING_HASHES, MAX_WAITING_PASSWORDS, "Too many passwords are being set. Try again."
        )

    @asynccontextmanager
    async def slot(self, limit: RateLimitItem, user_id: str | None, aside: Aside) -> AsyncIterator[None]:
        """Waits for a turn of this user, and has it within. Whoever works from the shell (None) is not counted.

        Raises RateLimited where the user has had as many as the limit says, and Unavailable where too many wait.
        """
        places = self._places[limit]
        places.check()
        if user_id is not None:
            self._count(limit, user_id)
        async with places.slot(aside):
            yield

    def _count(self, limit: RateLimitItem, user_id: str) -> None:
        counts = self._counts.setdefault(limit, MovingWindows(limit))
        if seconds := counts.wait(user_id):
            raise RateLimited(seconds, limit=limit.amount)
        counts.count(user_id)
