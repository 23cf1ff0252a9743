"""Health checks: liveness of the process, and readiness of its database."""

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
    """Returns 200 as long as the event loop runs."""
    return JsonAnswer({"status": "live"})


async def ready(request: Request) -> Response:
    """Returns 200 if the database can be read and written, 503 otherwise."""
    error = await request.app.state.readiness.fault()
    if error:
        return JsonAnswer({"status": "not ready", "reason": str(error)}, error.status, retry_headers(error))
    return JsonAnswer({"status": "ready"})


class Readiness:
    """Caches the result of the last probe for a second: each probe writes, and the endpoint is public."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = asyncio.Lock()
        self._fault: ProductError | None = None
        self._expires_at = 0.0

    async def fault(self) -> ProductError | None:
        """The reason why the server is not ready; None if it is."""
        async with self._lock:
            if time.monotonic() >= self._expires_at:
                self._fault = await self._probe()
                self._expires_at = time.monotonic() + PROBE_INTERVAL_SECONDS
            return self._fault

    async def _probe(self) -> ProductError | None:
        try:
            await probe(self._database)
        except ProductError as error:
            return error
        return None
