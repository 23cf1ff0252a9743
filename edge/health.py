"""Whether the process lives and whether it can do its work. Knows no noun."""

from starlette.requests import Request
from starlette.responses import Response

from edge.answers import JsonAnswer, retry_headers
from models.database import Database
from models.errors import ProductError


async def live(_request: Request) -> Response:
    """200 while the event loop turns."""
    return JsonAnswer({"status": "live"})


async def ready(request: Request) -> Response:
    """200 where the database can be read and written, 503 otherwise."""
    database: Database = request.app.state.context.database
    try:
        await database.probe()
    except ProductError as error:
        return JsonAnswer({"status": "not ready", "reason": str(error)}, 503, retry_headers(error))
    return JsonAnswer({"status": "ready"})
