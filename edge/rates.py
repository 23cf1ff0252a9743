"""Rate limiting, if the operator configures it: by user, or by network for anonymous requests.

Each process keeps counts of its own.
"""

import time
from collections.abc import Awaitable

from limits import RateLimitItem
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge.admission import ALWAYS_ANSWERED
from edge.credentials import REFUSED, context_of
from models.errors import ProductError, RateLimited
from resolvers.context import Context
from resolvers.windows import network_of

RATELIMIT_FIELDS = ("Limit", "Remaining", "Reset", "Policy")
"""The names of the header fields, without the prefix `RateLimit-`."""

Headers = list[tuple[bytes, bytes]]


class Rate:
    """A limit, such as 600 per minute, over a sliding window."""

    def __init__(self, limit: RateLimitItem) -> None:
        self._limit = limit
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    async def count(self, context: Context) -> Headers:
        """Counts one request of the caller, and returns the header fields. Raises RateLimited."""
        key = await _caller_of(context)
        admitted = await self._limiter.hit(self._limit, *key)
        stats = await self._limiter.get_window_stats(self._limit, *key)
        seconds = max(1, round(stats.reset_time - time.time()))
        if not admitted:
            raise RateLimited(seconds, limit=self._limit.amount)
        return self.headers(stats.remaining, seconds)

    def headers(self, remaining: int, seconds: int) -> Headers:
        """The header fields of draft-ietf-httpapi-ratelimit-headers, in the form up to its version 7."""
        limit, window = self._limit.amount, self._limit.get_expiry()
        values = (limit, remaining, seconds, f"{limit};w={window}")
        return [
            (f"ratelimit-{name}".lower().encode(), str(value).encode())
            for name, value in zip(RATELIMIT_FIELDS, values, strict=True)
        ]


class Rates:
    """ASGI middleware that counts requests. Over the limit, the API itself reports the error: see `context_of`."""

    def __init__(self, app: ASGIApp, rate: Rate) -> None:
        self.app = app
        self._rate = rate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(ALWAYS_ANSWERED):
            await self.app(scope, receive, send)
            return
        try:
            headers = await self._rate.count(context_of(scope, ""))
        except RateLimited as error:
            scope[REFUSED] = error
            headers = self._rate.headers(0, error.retry_after or 1)

        def send_with_headers(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *headers]
            return send(message)

        await self.app(scope, receive, send_with_headers)


async def _caller_of(context: Context) -> tuple[str, str]:
    try:
        caller = await context.authenticate()
    except ProductError:  # the API reports bad credentials later
        caller = None
    return ("user", caller.user.id) if caller else ("address", network_of(context.address))
