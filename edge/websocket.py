"""How much one WebSocket may make the server read, and keep. Knows no message.

Nothing is compressed: what comes is what it says, and a limit on what is read is a limit on what is kept (RFC 6455,
7692). What comes at once is read in slices, so that thousands of small frames keep nobody else waiting.
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
"""Bytes of a message before the client has said who it is."""
MAX_FRAMES = 1_024
"""Frames of one message."""
READ_BYTES_PER_TURN = 2 * 1024
"""Bytes that are read in one turn of the event loop: some 300 of the smallest frames, which take 3 ms."""
MAX_ANONYMOUS = 64
"""WebSockets of this process whose clients have not said who they are."""
MAX_ANONYMOUS_PER_ADDRESS = 16
LOG_SECONDS = 10.0
ADMITTED = "email_inbox.admit"
"""Where in the state of a scope there is what lets larger messages in."""

log = structlog.get_logger()


class SocketProtocol(WebSocketsSansIOProtocol):
    """One WebSocket. Its messages are small until the application calls what is in the state of its scope."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn.available_extensions = None
        self.conn.max_message_size = MAX_FIRST_MESSAGE
        self._unread = bytearray()
        self._will_read = False

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        if self.response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
            self.scope["state"][ADMITTED] = self._admit

    def _admit(self) -> None:
        self.conn.max_message_size = MAX_BODY_BYTES

    # ------------------------------------------------------------------------------------------------- reading

    def data_received(self, data: bytes) -> None:
        self._unread += data
        if not self._will_read:
            self._read()

    def _read(self) -> None:
        """Reads a slice, and the next one in another turn, unless the application has a message to take first."""
        self._will_read = False
        piece = bytes(self._unread[:READ_BYTES_PER_TURN])
        del self._unread[:READ_BYTES_PER_TURN]
        if piece and not self.transport.is_closing():
            super().data_received(piece)
        self._read_on()

    def _read_on(self) -> None:
        if self._unread and not self.read_paused and not self._will_read and not self.transport.is_closing():
            self._will_read = True
            self.transport.pause_reading()
            self.loop.call_soon(self._read)
        elif not self._unread and not self.read_paused and self.writable.is_set() and not self.transport.is_closing():
            self.transport.resume_reading()

    async def receive(self) -> Any:
        message = await super().receive()
        self._read_on()
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
            self.handshake_complete = True  # or uvicorn would take each refusal for a fault, and log it as one

    def pause_writing(self) -> None:
        """Who takes no answers, pongs included, is read no further."""
        super().pause_writing()
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._read_on()


class AnonymousSocketCounter:
    """Counts the WebSockets whose clients have not said who they are: each takes a descriptor, and some memory."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._refused, self._logged_at = 0, 0.0

    def enter(self, address: str, observer: Observer) -> Callable[[], None]:
        """Counts one more, and returns what counts it no longer. Raises Unavailable where there are too many."""
        network = network_of(address)
        if self._counts[network] >= MAX_ANONYMOUS_PER_ADDRESS or self._counts.total() >= MAX_ANONYMOUS:
            self._refuse(observer)
        self._counts[network] += 1
        entered = [network]

        def leave() -> None:
            if entered:
                self._counts[entered.pop()] -= 1
                self._counts += Counter()  # drops addresses of which there is none left

        return leave

    def _refuse(self, observer: Observer) -> None:
        observer.socket_refused()
        self._refused += 1
        if time.monotonic() - self._logged_at > LOG_SECONDS:
            log.warning("too many WebSockets without credentials", refused=self._refused)
            self._refused, self._logged_at = 0, time.monotonic()
        raise Unavailable("Too many WebSockets are open without credentials. Try again.")
