"""The outermost middleware: request ids, the access log, metrics, and the masking of unexpected errors.

Logs no header, no body and no query string, because they hold secrets.
"""

import asyncio
import re
import time
from collections.abc import Awaitable
from contextlib import suppress
from urllib.parse import quote

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars, reset_contextvars

from edge.answers import Faults
from edge.metrics import Metrics
from models.errors import Unavailable, Unforeseen, shortened, where
from models.fields import random_id

REQUEST_ID_HEADER = b"x-request-id"
_VALID_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
MAX_LOGGED_PATH = 200
"""Characters of a path in the log. Every path of this server is shorter."""
_PLAIN_PATH = re.compile(r"[A-Za-z0-9._/-]*")

log = structlog.get_logger()


class Requests:
    """ASGI middleware. Stores the request id in `scope["request_id"]`."""

    def __init__(self, app: ASGIApp, metrics: Metrics, faults: Faults) -> None:
        self.app = app
        self._faults = faults
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        scope["request_id"] = request_id = _request_id(scope)
        bound = bind_contextvars(request_id=request_id)
        try:
            with self._metrics.serving(scope):
                await (self._http if scope["type"] == "http" else self._websocket)(scope, receive, send)
        finally:
            reset_contextvars(**bound)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        started, status = time.perf_counter(), 0

        def send_with_id(message: Message) -> Awaitable[None]:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._metrics.answered(scope, status, time.perf_counter() - started)
                message["headers"] = [*message.get("headers", []), (REQUEST_ID_HEADER, scope["request_id"].encode())]
            return send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except asyncio.CancelledError:
            # The server is stopping, and the grace period for requests in progress is over.
            log.warning("request cut short")
            if status:
                raise
            await self._faults(
                scope, Unavailable("The server is stopping. Check whether the change was made before you try again.")
            )(scope, receive, send_with_id)
        except ClientDisconnect:
            log.info("client gone")
        except Exception as error:
            # Not raised again: uvicorn would log its message, which may quote the request.
            log.error("request failed", error=type(error).__name__, where=where(error))
            if not status:
                await self._faults(scope, Unforeseen())(scope, receive, send_with_id)
        finally:
            took = round((time.perf_counter() - started) * 1_000, 1)
            log.info("request", method=scope["method"], path=_path(scope), status=status, duration_ms=took)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        log.info("websocket opened", path=_path(scope))
        try:
            await self.app(scope, receive, send)
        except Exception as error:
            log.error("websocket failed", error=type(error).__name__, where=where(error))
            with suppress(RuntimeError):
                await send({"type": "websocket.close", "code": 1011})
        finally:
            log.info("websocket closed", path=_path(scope))


def _request_id(scope: Scope) -> str:
    given = dict(scope["headers"]).get(REQUEST_ID_HEADER, b"")
    return given.decode() if _VALID_ID.fullmatch(given) else random_id()


def _path(scope: Scope) -> str:
    """The path, shortened and quoted, so that line breaks and control characters can't forge log lines."""
    path = shortened(scope["path"], MAX_LOGGED_PATH)
    return path if _PLAIN_PATH.fullmatch(path) else quote(path, errors="replace")
