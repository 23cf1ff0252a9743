"""Limits how much one WebSocket may make the server read and keep in memory.

Compression is off, so that a limit on the bytes read also limits the memory used (RFC 6455, 7692). Data is parsed in
slices, so that thousands of small frames do not delay other connections.
"""

import time
from collections import Counter
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import structlog
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame

from edge.body import MAX_BODY_BYTES
from models.errors import Unavailable
from models.observer import Observer
from resolvers.windows import network_of

MAX_FIRST_MESSAGE = 8 * 1024
"""Bytes of a message before the connection is acknowledged."""
MAX_FRAMES = 1_024
"""Frames of one message."""
READ_BYTES_PER_TURN = 2 * 1024
"""Bytes parsed in one iteration of the event loop: some 300 of the smallest frames, which take 3 ms."""
MAX_ANONYMOUS = 64
"""WebSockets of this process without credentials."""
MAX_ANONYMOUS_PER_ADDRESS = 16
LOG_SECONDS = 10.0
ADMITTED = "email_inbox.admit"
"""Key in the state of a scope of the callback that raises the message size limit."""

log = structlog.get_logger()


class SocketProtocol(WebSocketsSansIOProtocol):
    """One WebSocket. Accepts only small messages until the application calls the callback under `ADMITTED`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn.available_extensions = None
        self.conn.max_message_size = MAX_FIRST_MESSAGE
        self._unread = bytearray()
        self._is_read_scheduled = False

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        if self.response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
            self.scope["state"][ADMITTED] = self._admit

    def _admit(self) -> None:
        self.conn.max_message_size = MAX_BODY_BYTES

    # ------------------------------------------------------------------------------------------------- reading

    def data_received(self, data: bytes) -> None:
        self._unread += data
        if not self._is_read_scheduled:
            self._read()

    def _read(self) -> None:
        """Parses a slice, and schedules the next one unless the application must first receive a message."""
        self._is_read_scheduled = False
        piece = bytes(self._unread[:READ_BYTES_PER_TURN])
        del self._unread[:READ_BYTES_PER_TURN]
        if piece and not self.transport.is_closing():
            super().data_received(piece)
        self._continue_reading()

    def _continue_reading(self) -> None:
        if self._unread and not self.read_paused and not self._is_read_scheduled and not self.transport.is_closing():
            self._is_read_scheduled = True
            self.transport.pause_reading()
            self.loop.call_soon(self._read)
        elif not self._unread and not self.read_paused and self.writable.is_set() and not self.transport.is_closing():
            self.transport.resume_reading()

    async def receive(self) -> Any:
        message = await super().receive()
        self._continue_reading()
        return message

    def handle_cont(self, event: Frame) -> None:
        if len(self.frames) >= MAX_FRAMES:
            self.conn.fail(CloseCode.MESSAGE_TOO_BIG, "too many frames")
            self.handle_parser_exception()
            return
        super().handle_cont(event)

    # ------------------------------------------------------------------------------------------------- writing

    async def send(self, message: Any) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and self.close_sent:
            self.handshake_complete = True  # otherwise uvicorn logs each refusal as an error

    def pause_writing(self) -> None:
        """Stops reading from a client that does not read responses, pongs included."""
        super().pause_writing()
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._continue_reading()


class AnonymousSocketCounter:
    """Counts the WebSockets without credentials: each takes a file descriptor and memory."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._refused, self._logged_at = 0, 0.0

    def enter(self, address: str, observer: Observer) -> Callable[[], None]:
        """Counts one WebSocket, and returns a function that uncounts it. Raises Unavailable if there are too many."""
        network = network_of(address)
        if self._counts[network] >= MAX_ANONYMOUS_PER_ADDRESS or self._counts.total() >= MAX_ANONYMOUS:
            self._refuse(observer)
        self._counts[network] += 1
        entered = [network]

        def leave() -> None:
            if entered:
                self._counts[entered.pop()] -= 1
                self._counts += Counter()  # drops networks without WebSockets

        return leave

    def _refuse(self, observer: Observer) -> None:
        observer.socket_refused()
        self._refused += 1
        if time.monotonic() - self._logged_at > LOG_SECONDS:
            log.warning("too many WebSockets without credentials", refused=self._refused)
            self._refused, self._logged_at = 0, time.monotonic()
        raise Unavailable("Too many WebSockets are open without credentials. Try again.")
