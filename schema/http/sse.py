"""Streams results as server-sent events, one operation per response.

Implements the graphql-sse protocol in distinct connections mode, over the event streams of HTML (WHATWG, 9.2).
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send
from strawberry.types import ExecutionResult

from edge.answers import COMMON_HEADERS, to_json
from schema.http.negotiation import EVENT_STREAM
from schema.http.result import to_body

PING_SECONDS = 12.0
PING = b":\n\n"
COMPLETE = b"event: complete\ndata:\n\n"

Results = AsyncGenerator[ExecutionResult, None]


class EventStream(StreamingResponse):
    """Sends each result as it comes, and comments in between, so that proxies do not close an idle connection.

    When the server stops, the response ends without `complete`, so that the client reconnects.
    """

    media_type = EVENT_STREAM

    def __init__(self, results: Results) -> None:
        self._stopping = asyncio.Event()
        # Without X-Accel-Buffering, nginx buffers events.
        super().__init__(self._events(results), headers={**COMMON_HEADERS, "X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})["stop"] = self._stopping.set
        async with aclosing(self.body_iterator):  # type: ignore[type-var]
            await super().__call__(scope, receive, send)

    async def _events(self, results: Results) -> AsyncGenerator[bytes, None]:
        stopping = asyncio.ensure_future(self._stopping.wait())
        following = asyncio.ensure_future(anext(results, None))
        try:
            while not stopping.done():
                done, _ = await asyncio.wait({following, stopping}, timeout=PING_SECONDS, return_when="FIRST_COMPLETED")
                if following in done:
                    if (result := following.result()) is None:
                        yield COMPLETE
                        return
                    yield _next(result)
                    following = asyncio.ensure_future(anext(results, None))
                elif not done:
                    yield PING
        finally:
            for waiting in (following, stopping):
                waiting.cancel()
            await asyncio.gather(following, stopping, return_exceptions=True)
            await results.aclose()


async def once(result: ExecutionResult) -> Results:
    """Yields the single result of a query or a mutation."""
    yield result


def _next(result: ExecutionResult) -> bytes:
    return b"event: next\ndata: %b\n\n" % to_json(to_body(result))
