"""How long one HTTP connection may keep the server waiting, how large a head may be, and how it ends. Knows no path.

It closes what uvicorn leaves open: a client that sends its request or takes its answer a byte at a time, a head without
end, and an answer without end when the server stops.
"""

import asyncio
from enum import Enum, auto
from http import HTTPStatus
from typing import Any

import structlog
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from edge.admission import LOAD
from edge.answers import raw, unread
from models.fields import random_id

HEAD_SECONDS = 10.0
BODY_SECONDS = 30.0
SEND_SECONDS = 30.0
PATIENCE_SECONDS = 0.17
MAX_HEAD = 64 * 1024

log = structlog.get_logger()


class Part(Enum):
    """What of a request is being read."""

    HEAD = auto()
    BODY = auto()
    NOTHING = auto()


class Protocol(HttpToolsProtocol):
    """One connection. A request has so many seconds for its head and for its body, and its client for taking a piece
    of the answer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._reading = Part.HEAD
        self._waiting: asyncio.TimerHandle | None = None
        self._sending: asyncio.TimerHandle | None = None
        self._size = 0

    # ------------------------------------------------------------------------------------------------- reading

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        before = self._reading
        self._size += len(data)
        super().data_received(data)
        if self._reading is not before:
            self._wait()
        if self._reading is Part.HEAD and self._size > MAX_HEAD:
            self._hang_up(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._reading = Part.HEAD

    def on_headers_complete(self) -> None:
        self._reading = Part.BODY
        app = self.app
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > MAX_HEAD:
            self.app = _head_too_large
        super().on_headers_complete()
        self.app = app

    def on_message_complete(self) -> None:
        self._reading, self._size = Part.NOTHING, 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - the signature is uvicorn's
        self._hang_up(HTTPStatus.BAD_REQUEST)

    def _wait(self) -> None:
        """Waits its time for the rest of what is being read."""
        self._stop_waiting()
        seconds = {Part.HEAD: HEAD_SECONDS, Part.BODY: BODY_SECONDS}.get(self._reading)
        self._waiting = self.loop.call_later(seconds, self._give_up) if seconds else None

    def _stop_waiting(self) -> None:
        if self._waiting:
            self._waiting.cancel()
            self._waiting = None

    def _give_up(self) -> None:
        answering = self.cycle and not self.cycle.response_complete
        if answering and self._reading is Part.HEAD:  # the answer is one to the request before
            self._wait()
        elif answering and self.cycle.response_started:
            self.transport.close()
        else:
            self._hang_up(HTTPStatus.REQUEST_TIMEOUT)

    def _hang_up(self, status: HTTPStatus) -> None:
        """What came is no request, or not the whole of one."""
        if not self.transport.is_closing():
            log.info("connection refused", status=status.value)
            self.transport.write(raw(unread(status, random_id())))
            self.transport.close()

    # ------------------------------------------------------------------------------------------------- answering

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        """Where there is too much to do, looks once more after a while, and then refuses.

        It could refuse at once. But who is refused at once comes back at once, and saying no would take the time of
        those who are being answered.
        """
        if LOAD.is_too_much_for(cycle.scope):
            self.loop.call_later(PATIENCE_SECONDS, self._start_or_refuse, cycle, app)
        else:
            super()._start_asgi_task(cycle, app)

    def _start_or_refuse(self, cycle: Any, app: Any) -> None:
        if not LOAD.is_too_much_for(cycle.scope):
            super()._start_asgi_task(cycle, app)
        elif not self.transport.is_closing():
            self._refuse(cycle)

    def _refuse(self, cycle: Any) -> None:
        """Answers as uvicorn would, without the task that would cost more than the rest."""
        self.transport.write(LOAD.refusal(cycle.scope))
        cycle.response_started = cycle.response_complete = True
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._sending = self.loop.call_later(SEND_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_sending()

    # --------------------------------------------------------------------------------------------------- ending

    def shutdown(self) -> None:
        """An answer without end registers under `stop` in the state of its scope how it is ended."""
        super().shutdown()
        if self.cycle and not self.cycle.response_complete and (stop := self.cycle.scope["state"].get("stop")):
            stop()

    def handle_websocket_upgrade(self) -> None:
        self._reading = Part.NOTHING
        super().handle_websocket_upgrade()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self._stop_sending()
        super().connection_lost(exc)

    def _stop_sending(self) -> None:
        if self._sending:
            self._sending.cancel()
            self._sending = None


async def _head_too_large(scope: Scope, receive: Receive, send: Send) -> None:
    answer = unread(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, random_id())
    await answer(scope, receive, send)
