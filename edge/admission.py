"""How many requests are worked on at once, and what is too much. Knows no noun.

A request counts while the server works on it: not while its client sends the body or takes the answer, so that slow
clients and subscriptions keep nobody out.
"""

import functools
import time

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge.answers import GRAPHQL_PATH, fault, raw
from models.errors import Unavailable
from models.fields import ID_LENGTH, random_id
from models.observer import Observer

WORKING = 68
ALWAYS_ANSWERED = ("/health/", "/metrics")
BUSY = "The server has more to do than it can. Try again."
TELL_SECONDS = 10.0
PLACE = b"-" * ID_LENGTH
END_OF_HEAD = b"\r\n\r\n"

log = structlog.get_logger()


class Load:
    """What this process works on."""

    def __init__(self) -> None:
        self.observer = Observer()
        self.working = self.starting = 0
        self.refused = 0
        self._told, self._told_at = 0, 0.0

    def is_too_much_for(self, scope: Scope) -> bool:
        """Whether one more request is too much. Those that ask how the server is are always answered."""
        return self.is_full and not scope["path"].startswith(ALWAYS_ANSWERED)

    @property
    def is_full(self) -> bool:
        return self.working + self.starting >= WORKING

    def has_started(self) -> None:
        """One request that was about to be worked on counts itself now."""
        self.starting -= 1

    def refusal(self, scope: Scope) -> bytes:
        """The answer to one request too many, as it goes over the wire."""
        self.refused += 1
        self.observer.overloaded()
        if time.monotonic() - self._told_at > TELL_SECONDS:
            log.warning("overloaded", refused=self.refused - self._told)
            self._told, self._told_at = self.refused, time.monotonic()
        path = scope["path"] if scope["path"] == GRAPHQL_PATH else "/"
        answer = _refusal(path).replace(PLACE, random_id().encode())
        return answer[: answer.index(END_OF_HEAD) + len(END_OF_HEAD)] if scope["method"] == "HEAD" else answer


@functools.cache
def _refusal(path: str) -> bytes:
    """The answer with a place for the request id: to make it anew each time would cost what is to be saved."""
    answer = fault({"path": path, "request_id": PLACE.decode()}, Unavailable(BUSY))
    answer.headers["X-Request-Id"] = PLACE.decode()
    return raw(answer)


LOAD = Load()
"""That of this process: its connections and its applications share one processor."""


class Admission:
    """ASGI middleware that counts what is worked on."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        turn = Turn()
        turn.take()

        async def receive_outside() -> Message:
            turn.leave()
            message = await receive()
            turn.take()
            return message

        async def send_at_the_end(message: Message) -> None:
            turn.end()
            await send(message)

        try:
            await self.app(scope, receive_outside, send_at_the_end)
        finally:
            turn.end()


class Turn:
    """One request's part in the load, which it may leave and take again until it ends."""

    def __init__(self) -> None:
        self._counted = False
        self._ended = False

    def take(self) -> None:
        if not self._ended and not self._counted:
            LOAD.working += 1
            self._counted = True

    def leave(self) -> None:
        if self._counted:
            LOAD.working -= 1
            self._counted = False

    def end(self) -> None:
        self.leave()
        self._ended = True
