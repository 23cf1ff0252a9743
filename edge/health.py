"""Whether the process lives and whether it can do its work. Knows no noun."""

import asyncio
import time

from starlette.requests import Request
from starlette.responses import Response

from edge.answers import JsonAnswer, retry_headers
from models.database import Database
from models.database.migration import probe
from models.errors import ProductError

PROBE_INTERVAL_SECONDS = 1.0


async def live(_request: Request) -> Response:
    """200 while the event loop turns."""
    return JsonAnswer({"status": "live"})


async def ready(request: Request) -> Response:
    """200 where the database can be read and written, 503 otherwise."""
    error = await request.app.state.readiness.fault()
    if error:
        return JsonAnswer({"status": "not ready", "reason": str(error)}, error.status, retry_headers(error))
    return JsonAnswer({"status": "ready"})


class Readiness:
    """What the last probe found, for a second: each is a write, and anybody may ask."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turn = asyncio.Lock()
        self._found: ProductError | None = None
        self._until = 0.0

    async def fault(self) -> ProductError | None:
        """What keeps the server from its work; None where nothing does."""
        async with self._turn:
            if time.monotonic() >= self._until:
                self._found = await self._probe()
                self._until = time.monotonic() + PROBE_INTERVAL_SECONDS
            return self._found

    async def _probe(self) -> ProductError | None:
        try:
            await probe(self._database)
        except ProductError as error:
            return error
        return None
