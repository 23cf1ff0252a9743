"""Whose turn it is to have slow work done: how much of it at once, how much waits, how often a user may ask for it.

Mail servers are asked, which can take a minute, and passwords are hashed, which takes a core. Each kind has places
of its own: neither keeps the other waiting, nor ordinary requests. The counts live in this process. Knows no mail.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from contextvars import ContextVar

from limits import RateLimitItem, parse

from models.errors import RateLimited, Unavailable
from resolvers.windows import Windows

CHECKS = parse("10/minute")
"""Checks and test mails of one user."""
LOOKUPS = parse("30/minute")
"""Questions of one user for the settings of an address."""
AT_ONCE = 8
WAITING = 8
BUSY = "Too many checks and look-ups are running. Try again."
# Each takes 64 MiB and a core: more at once would only slow each other down.
HASHED_AT_ONCE = 2
LOGINS_WAITING = 16
PASSWORDS_WAITING = 8

ASIDE: ContextVar[Callable[[], AbstractContextManager[None]]] = ContextVar("aside", default=nullcontext)
"""What a request does while it waits for a turn, or has it: it takes no place of those that are worked on."""


class Places:
    """Where one kind of work waits and is done."""

    def __init__(self, at_once: int, waiting: int, busy: str) -> None:
        self._working = asyncio.Semaphore(at_once)
        self._room = at_once + waiting
        self._taken = 0
        self._busy = busy

    def check(self) -> None:
        """Raises Unavailable where too many wait."""
        if self._taken >= self._room:
            raise Unavailable(self._busy)

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """Waits for a turn, and has it within. Raises Unavailable."""
        self.check()
        self._taken += 1
        try:
            with ASIDE.get()():
                async with self._working:
                    yield
        finally:
            self._taken -= 1


class Turns:
    """The places, and how often each user asked mail servers."""

    def __init__(self) -> None:
        # Look-ups have places of their own: they are asked for oftener, and must not keep checks waiting.
        self._places = defaultdict[RateLimitItem, Places](lambda: Places(AT_ONCE, WAITING, BUSY))
        self._counts: dict[RateLimitItem, Windows] = {}
        self.logins = Places(HASHED_AT_ONCE, LOGINS_WAITING, "Too many logins are waiting. Try again.")
        # Strangers' logins keep nobody from setting a password.
        self.passwords = Places(HASHED_AT_ONCE, PASSWORDS_WAITING, "Too many passwords are being set. Try again.")

    @asynccontextmanager
    async def taken(self, limit: RateLimitItem, user_id: str | None) -> AsyncIterator[None]:
        """Waits for a turn of this user, and has it within. Whoever works from the shell (None) is not counted.

        Raises RateLimited where the user has had as many as the limit says, and Unavailable where too many wait.
        """
        places = self._places[limit]
        places.check()
        if user_id is not None:
            self._count(limit, user_id)
        async with places.taken():
            yield

    def _count(self, limit: RateLimitItem, user_id: str) -> None:
        counts = self._counts.setdefault(limit, Windows(limit))
        if seconds := counts.wait(user_id):
            raise RateLimited(seconds, limit=limit.amount)
        counts.count(user_id)
