"""Limits slow work: how much runs at once, how much waits, and how often a user may request it.

A check of a mail server can take a minute, and hashing a password takes a core. Each kind has slots of its own, so that
neither delays the other, or ordinary requests. The counts are kept per process. Knows no mail.
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
"""Look-ups of mail settings of one user."""
MAX_RUNNING_CHECKS = 8
MAX_WAITING_CHECKS = 8
TOO_MANY_CHECKS_MESSAGE = "Too many checks and look-ups are running. Try again."
# Each hash takes 64 MiB and a core: more at once would only slow each other down.
MAX_RUNNING_HASHES = 2
MAX_WAITING_LOGINS = 16
MAX_WAITING_PASSWORDS = 8

Aside = Callable[[], AbstractContextManager[None]]
"""Entered while a request waits for a slot or holds one: it does not count as a running request meanwhile."""


class WorkQueue:
    """The slots and the queue of one kind of work."""

    def __init__(self, at_once: int, waiting: int, busy: str) -> None:
        self._slots = asyncio.Semaphore(at_once)
        self._capacity = at_once + waiting
        self._entered = 0
        self._busy = busy

    def check(self) -> None:
        """Raises Unavailable if too many are waiting."""
        if self._entered >= self._capacity:
            raise Unavailable(self._busy)

    @asynccontextmanager
    async def slot(self, aside: Aside) -> AsyncIterator[None]:
        """Waits for a slot, and holds it within the context. Raises Unavailable."""
        self.check()
        self._entered += 1
        try:
            with aside():
                async with self._slots:
                    yield
        finally:
            self._entered -= 1


class MailQuota:
    """The queues of slow work, and the counts of each user's checks and look-ups."""

    def __init__(self) -> None:
        # Look-ups have slots of their own: they are more frequent, and must not delay checks.
        self._queues = defaultdict[RateLimitItem, WorkQueue](
            lambda: WorkQueue(MAX_RUNNING_CHECKS, MAX_WAITING_CHECKS, TOO_MANY_CHECKS_MESSAGE)
        )
        self._counts: dict[RateLimitItem, MovingWindows] = {}
        self.logins = WorkQueue(MAX_RUNNING_HASHES, MAX_WAITING_LOGINS, "Too many logins are waiting. Try again.")
        # Logins, which need no authentication, must not block users who set a password.
        self.passwords = WorkQueue(
            MAX_RUNNING_HASHES, MAX_WAITING_PASSWORDS, "Too many passwords are being set. Try again."
        )

    @asynccontextmanager
    async def slot(self, limit: RateLimitItem, user_id: str | None, aside: Aside) -> AsyncIterator[None]:
        """Waits for a slot for this user, and holds it within the context. Commands of the shell (None) do not count.

        Raises RateLimited if the user has reached the limit, and Unavailable if too many are waiting.
        """
        queue = self._queues[limit]
        queue.check()
        if user_id is not None:
            self._count(limit, user_id)
        async with queue.slot(aside):
            yield

    def _count(self, limit: RateLimitItem, user_id: str) -> None:
        counts = self._counts.setdefault(limit, MovingWindows(limit))
        if seconds := counts.wait(user_id):
            raise RateLimited(seconds, limit=limit.amount)
        counts.count(user_id)
