"""Limits the time and the head size of one HTTP connection, and ends it when the server stops.

It closes connections that uvicorn keeps open: slow senders, slow readers, endless heads, and, when the server stops,
endless responses.
"""

import asyncio
import itertools
from enum import Enum, auto
from http import HTTPStatus
from typing import Any

import structlog
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from edge.admission import LOAD, Load
from edge.answers import raw, unread
from models.fields import random_id

HEAD_SECONDS = 10.0
BODY_SECONDS = 30.0
SEND_SECONDS = 30.0
START_WAIT_SECONDS = 0.17
MAX_HEAD_BYTES = 64 * 1024
MAX_UPGRADE_LINE = 8_000
MAX_UPGRADE_HEADERS = 100
"""The WebSocket library silently fails on more."""

log = structlog.get_logger()


class RequestPart(Enum):
    """The part of a request that is being read."""

    HEAD = auto()
    BODY = auto()
    NOTHING = auto()


class HttpProtocol(HttpToolsProtocol):
    """One connection, with timeouts for a request's head, for its body, and for each write of the response."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._load: Load = self.app_state[LOAD]
        self._part = RequestPart.HEAD
        self._size = 0
        """Bytes received of the head, or since the last piece of the body."""
        self._message_began = False
        self._answered_cycle: Any = None
        """The cycle of the current or last response. `self.cycle` belongs to the newest request."""
        self._pending: tuple[Any, Any] | None = None
        """The cycle and the application of an incomplete request."""
        self._read_timer: asyncio.TimerHandle | None = None
        self._send_timer: asyncio.TimerHandle | None = None

    @property
    def _is_answering(self) -> bool:
        return self._answered_cycle is not None and not self._answered_cycle.response_complete

    # ------------------------------------------------------------------------------------------------- reading

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._restart_read_timer()

    def data_received(self, data: bytes) -> None:
        before, self._message_began = self._part, False
        self._size += len(data)
        super().data_received(data)
        if self._message_began or self._part is not before:
            self._restart_read_timer()
        if self._part is not RequestPart.NOTHING and self._size > MAX_HEAD_BYTES:
            self._hang_up(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._part, self._message_began = RequestPart.HEAD, True

    def on_headers_complete(self) -> None:
        self._part, self._size = RequestPart.BODY, 0
        app = self.app
        if len(self.url) + sum(map(len, itertools.chain(*self.headers))) > MAX_HEAD_BYTES:
            self.app = _head_too_large
        super().on_headers_complete()
        self.app = app

    def on_body(self, body: bytes) -> None:
        self._size = 0
        super().on_body(body)
        if self.flow.read_paused:
            self._begin_request()

    def on_message_complete(self) -> None:
        self._part, self._size = RequestPart.NOTHING, 0
        super().on_message_complete()
        self._begin_request()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - the signature is uvicorn's
        self._hang_up(HTTPStatus.BAD_REQUEST)

    def _restart_read_timer(self) -> None:
        """Restarts the timeout for the part that is being read."""
        self._stop_read_timer()
        if self._part is not RequestPart.NOTHING:
            seconds = HEAD_SECONDS if self._part is RequestPart.HEAD else BODY_SECONDS
            self._read_timer = self.loop.call_later(seconds, self._time_out)

    def _stop_read_timer(self) -> None:
        if self._read_timer:
            self._read_timer.cancel()
            self._read_timer = None

    def _time_out(self) -> None:
        own = self._part is RequestPart.BODY and self._answered_cycle is self.cycle
        if self._is_answering and not own:  # an earlier request is being answered, with a timeout of its own
            self._restart_read_timer()
        else:
            self._hang_up(HTTPStatus.REQUEST_TIMEOUT)

    def _hang_up(self, status: HTTPStatus) -> None:
        """Closes the connection on an invalid or incomplete request. Answers first unless another response is open."""
        if self.transport.is_closing():
            return
        log.info("connection refused", status=status.value)
        own = self._part is RequestPart.BODY and self._answered_cycle is self.cycle
        if not self._is_answering or (own and not self.cycle.response_started):
            self.transport.write(raw(unread(status, random_id())))
        self._close()

    # ------------------------------------------------------------------------------------------------- answering

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        """Delays the request until it is complete or the buffer is full. It takes no task until then."""
        self._answered_cycle = cycle
        self._pending = cycle, app
        if not cycle.more_body or cycle.waiting_for_100_continue:
            self._begin_request()

    def _begin_request(self) -> None:
        pending, self._pending = self._pending, None
        if pending:
            self._start_or_wait(*pending)

    def _start_or_wait(self, cycle: Any, app: Any) -> None:
        """Starts the request, or, under overload, checks the load once more after a delay and then refuses.

        An immediate refusal would make clients retry immediately, and the refusals would take time from the requests
        in progress.
        """
        if self._load.is_too_much_for(cycle.scope):
            self.loop.call_later(START_WAIT_SECONDS, self._start_or_refuse, cycle, app)
        else:
            self._start(cycle, app)

    def _start_or_refuse(self, cycle: Any, app: Any) -> None:
        if cycle.disconnected or self.transport.is_closing():
            return
        if self._load.is_too_much_for(cycle.scope):
            self._refuse(cycle)
        else:
            self._start(cycle, app)

    def _start(self, cycle: Any, app: Any) -> None:
        super()._start_asgi_task(cycle, app)
        # The task counts itself in its first step, which runs just before `has_started`.
        self._load.starting += 1
        self.loop.call_soon(self._load.has_started)

    def _refuse(self, cycle: Any) -> None:
        """Answers as uvicorn would, but without a task, which would cost more than the rest."""
        self.transport.write(self._load.refusal(cycle.scope))
        cycle.response_started = cycle.response_complete = True
        if not cycle.keep_alive:
            self._close()
        cycle.on_response()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self._close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._start_send_timer()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.transport.is_closing():
            self._stop_send_timer()

    def _start_send_timer(self) -> None:
        if self._send_timer is None:
            self._send_timer = self.loop.call_later(SEND_SECONDS, self.transport.abort)

    def _stop_send_timer(self) -> None:
        if self._send_timer:
            self._send_timer.cancel()
            self._send_timer = None

    # --------------------------------------------------------------------------------------------------- ending

    def timeout_keep_alive_handler(self) -> None:
        self._close()

    def _close(self) -> None:
        """Closes once everything is sent, or once the client has read nothing for `SEND_SECONDS`."""
        self.transport.close()
        self._start_send_timer()

    def shutdown(self) -> None:
        """Ends the connection. An endless response puts a callback that ends it under `stop` in its scope's state."""
        super().shutdown()
        if self._pending:
            self._hang_up(HTTPStatus.SERVICE_UNAVAILABLE)
        elif self._is_answering:
            self._answered_cycle.keep_alive = False
            if stop := self._answered_cycle.scope["state"].get("stop"):
                stop()

    def handle_websocket_upgrade(self) -> None:
        self._part = RequestPart.NOTHING
        longest = max([len(self.url), *(len(name) + len(value) for name, value in self.headers)])
        if longest > MAX_UPGRADE_LINE or len(self.headers) > MAX_UPGRADE_HEADERS:
            self._hang_up(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            return
        super().handle_websocket_upgrade()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_read_timer()
        self._stop_send_timer()
        if self._is_answering:
            self._answered_cycle.disconnected = True
            self._answered_cycle.message_event.set()
        super().connection_lost(exc)


async def _head_too_large(scope: Scope, receive: Receive, send: Send) -> None:
    answer = unread(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, random_id())
    await answer(scope, receive, send)
