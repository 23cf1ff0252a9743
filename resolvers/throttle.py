"""Slows the guessing of passwords and tokens, by address and by user at that address. Knows no credentials.

A stranger can't lock anybody out: what counts is always failures from the stranger's own address, and a right token is
never refused. The counts live in this process.
"""

import time

from limits import RateLimitItem, parse
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter

from models.errors import RateLimited
from models.fields import folded
from models.observer import CredentialKind, Observer

PER_USER = parse("5/minute")
PER_ADDRESS = parse("30/minute")


class Throttle:
    """Counts failures in moving windows."""

    def __init__(self, observer: Observer | None = None) -> None:
        self._observer = observer or Observer()
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    async def check(self, address: str, user: str | None = None) -> None:
        """Raises RateLimited where this address, or this user from it, has failed too often."""
        for limit, key in self._keys(address, user):
            if not await self._limiter.test(limit, *key):
                self._observer.throttled(_kind(user))
                raise RateLimited(await self._wait(limit, key), limit=limit.amount)

    async def failed(self, address: str, user: str | None = None) -> None:
        """Counts a failure."""
        self._observer.credentials_refused(_kind(user))
        for limit, key in self._keys(address, user):
            await self._limiter.hit(limit, *key)

    async def _wait(self, limit: RateLimitItem, key: tuple[str, ...]) -> int:
        stats = await self._limiter.get_window_stats(limit, *key)
        return max(1, round(stats.reset_time - time.time()))

    @staticmethod
    def _keys(address: str, user: str | None) -> list[tuple[RateLimitItem, tuple[str, ...]]]:
        keys: list[tuple[RateLimitItem, tuple[str, ...]]] = [(PER_ADDRESS, ("address", address))]
        return keys if user is None else [*keys, (PER_USER, ("user", address, folded(user)[:200]))]


def _kind(user: str | None) -> CredentialKind:
    return "token" if user is None else "login"
