"""How long one HTTP connection may keep the server waiting, how large a head may be, and how it ends. Knows no path.

It closes what uvicorn leaves open: a client that sends its request or takes its answer a byte at a time, a head without
end, and an answer without end when the server stops.
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
"""Of more, the library of the WebSocket makes nothing, and says nothing."""

log = structlog.get_logger()


class RequestPart(Enum):
    """What of a request is being read."""

    HEAD = auto()
    BODY = auto()
    NOTHING = auto()


class HttpProtocol(HttpToolsProtocol):
    """One connection. A request has so many seconds for its head and for its body, and its client for taking a piece
    of the answer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._load: Load = self.app_state[LOAD]
        self._reading = RequestPart.HEAD
        self._size = 0
        """Bytes of a head, or of what follows the last piece of a body, that have come."""
        self._began = False
        self._answering: Any = None
        """The cycle of the request that is being answered, or was last. `self.cycle` is that of the newest one."""
        self._begin: tuple[Any, Any] | None = None
        """The cycle and the application of a request that is not whole yet."""
        self._waiting: asyncio.TimerHandle | None = None
        self._sending: asyncio.TimerHandle | None = None

    @property
    def _is_answering(self) -> bool:
        return self._answering is not None and not self._answering.response_complete

    # ------------------------------------------------------------------------------------------------- reading

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        before, self._began = self._reading, False
        self._size += len(data)
        super().data_received(data)
        if self._began or self._reading is not before:
            self._wait()
        if self._reading is not RequestPart.NOTHING and self._size > MAX_HEAD_BYTES:
            self._hang_up(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._reading, self._began = RequestPart.HEAD, True

    def on_headers_complete(self) -> None:
        self._reading, self._size = RequestPart.BODY, 0
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
        self._reading, self._size = RequestPart.NOTHING, 0
        super().on_message_complete()
        self._begin_request()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - the signature is uvicorn's
        self._hang_up(HTTPStatus.BAD_REQUEST)

    def _wait(self) -> None:
        """Waits its time for the rest of what is being read."""
        self._stop_waiting()
        if self._reading is not RequestPart.NOTHING:
            seconds = HEAD_SECONDS if self._reading is RequestPart.HEAD else BODY_SECONDS
            self._waiting = self.loop.call_later(seconds, self._give_up)

    def _stop_waiting(self) -> None:
        if self._waiting:
            self._waiting.cancel()
            self._waiting = None

    def _give_up(self) -> None:
        own = self._reading is RequestPart.BODY and self._answering is self.cycle
        if self._is_answering and not own:  # the answer is one to a request before, and has its own time
            self._wait()
        else:
            self._hang_up(HTTPStatus.REQUEST_TIMEOUT)

    def _hang_up(self, status: HTTPStatus) -> None:
        """What came is no request, or not the whole of one. It is told so where no other answer is in the way."""
        if self.transport.is_closing():
            return
        log.info("connection refused", status=status.value)
        own = self._reading is RequestPart.BODY and self._answering is self.cycle
        if not self._is_answering or (own and not self.cycle.response_started):
            self.transport.write(raw(unread(status, random_id())))
        self._close()

    # ------------------------------------------------------------------------------------------------- answering

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        """Begins a request once it is whole, or more of it is there than is kept. It costs nothing until then."""
        self._answering = cycle
        self._begin = cycle, app
        if not cycle.more_body or cycle.waiting_for_100_continue:
            self._begin_request()

    def _begin_request(self) -> None:
        begin, self._begin = self._begin, None
        if begin:
            self._start_or_wait(*begin)

    def _start_or_wait(self, cycle: Any, app: Any) -> None:
        """Where there is too much to do, looks once more after a while, and then refuses.

        It could refuse at once. But who is refused at once comes back at once, and saying no would take the time of
        those who are being answered.
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
        # The task counts itself in its first step, which comes just before this is taken back.
        self._load.starting += 1
        self.loop.call_soon(self._load.has_started)

    def _refuse(self, cycle: Any) -> None:
        """Answers as uvicorn would, without the task that would cost more than the rest."""
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
        self._time_sending()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.transport.is_closing():
            self._stop_sending()

    def _time_sending(self) -> None:
        if self._sending is None:
            self._sending = self.loop.call_later(SEND_SECONDS, self.transport.abort)

    def _stop_sending(self) -> None:
        if self._sending:
            self._sending.cancel()
            self._sending = None

    # --------------------------------------------------------------------------------------------------- ending

    def timeout_keep_alive_handler(self) -> None:
        self._close()

    def _close(self) -> None:
        """Closes once everything is sent, which a client that takes nothing must not put off for ever."""
        self.transport.close()
        self._time_sending()

    def shutdown(self) -> None:
        """An answer without end registers under `stop` in the state of its scope how it is ended."""
        super().shutdown()
        if self._begin:
            self._hang_up(HTTPStatus.SERVICE_UNAVAILABLE)
        elif self._is_answering:
            self._answering.keep_alive = False
            if stop := self._answering.scope["state"].get("stop"):
                stop()

    def handle_websocket_upgrade(self) -> None:
        self._reading = RequestPart.NOTHING
        longest = max([len(self.url), *(len(name) + len(value) for name, value in self.headers)])
        if longest > MAX_UPGRADE_LINE or len(self.headers) > MAX_UPGRADE_HEADERS:
            self._hang_up(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            return
        super().handle_websocket_upgrade()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self._stop_sending()
        if self._is_answering:
            self._answering.disconnected = True
            self._answering.message_event.set()
        super().connection_lost(exc)


async def _head_too_large(scope: Scope, receive: Receive, send: Send) -> None:
    answer = unread(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, random_id())
    await answer(scope, receive, send)
