"""Limits how many requests this process works on at once, and refuses the rest.

A request counts while the server works on it. It does not count while the client sends the body or reads the response,
so that slow clients and subscriptions block no one else. Nor does it count while it waits for a password hash or a mail
server: these have limits of their own (`resolvers/mail_limits.py`).
"""

import time
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from functools import lru_cache

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge.answers import Faults, RenderFault, raw
from models.errors import Unavailable
from models.fields import ID_LENGTH, random_id
from models.observer import Observer

MAX_ACTIVE_REQUESTS = 68
ALWAYS_ANSWERED = ("/health/", "/metrics")
OVERLOADED_MESSAGE = "The server is overloaded. Try again."
LOG_INTERVAL_SECONDS = 10.0
REQUEST_ID_PLACEHOLDER = b"-" * ID_LENGTH
END_OF_HEAD = b"\r\n\r\n"
ASIDE = "email_inbox.aside"
"""The key in the scope of what a request enters while it waits for slow work: see `Context.aside`."""
LOAD = "email_inbox.load"
"""Where in the state of a lifespan there is the load, for the connections, which no middleware sees."""
CACHED_REFUSALS = 8

log = structlog.get_logger()


class Load:
    """The number of requests that one application works on, its connections included: they share one processor."""

    def __init__(self, faults: Faults, observer: Observer | None = None) -> None:
        self._faults = faults
        self._observer = observer or Observer()
        self._answer = lru_cache(CACHED_REFUSALS)(_refusal)
        self.working = self.starting = 0
        self.refused = 0
        self._logged, self._logged_at = 0, 0.0

    def is_too_much_for(self, scope: Scope) -> bool:
        """Whether to refuse this request. Health checks and metrics are always answered."""
        return self.is_full and not scope["path"].startswith(ALWAYS_ANSWERED)

    @property
    def is_full(self) -> bool:
        return self.working + self.starting >= MAX_ACTIVE_REQUESTS

    def has_started(self) -> None:
        """Records that a request counted in `starting` now counts itself in `working`."""
        self.starting -= 1

    def refusal(self, scope: Scope) -> bytes:
        """Counts the refusal of a request and returns the response in wire format."""
        self.refused += 1
        self._observer.overloaded()
        if time.monotonic() - self._logged_at > LOG_INTERVAL_SECONDS:
            log.warning("overloaded", refused=self.refused - self._logged)
            self._logged, self._logged_at = self.refused, time.monotonic()
        answer = self._answer(self._faults.at(scope["path"])).replace(REQUEST_ID_PLACEHOLDER, random_id().encode())
        return answer[: answer.index(END_OF_HEAD) + len(END_OF_HEAD)] if scope["method"] == "HEAD" else answer


def _refusal(fault: RenderFault) -> bytes:
    """The response with a placeholder for the request id. Cached, because a refusal must cost little."""
    answer = fault(Unavailable(OVERLOADED_MESSAGE), REQUEST_ID_PLACEHOLDER.decode())
    answer.headers["X-Request-Id"] = REQUEST_ID_PLACEHOLDER.decode()
    return raw(answer)


class Admission:
    """ASGI middleware that counts the requests in progress."""

    def __init__(self, app: ASGIApp, load: Load) -> None:
        self.app = app
        self._load = load

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = ActiveRequest(self._load, receive, send)
        request.take()
        scope[ASIDE] = request.aside
        try:
            await self.app(scope, request.receive, request.send)
        finally:
            del scope[ASIDE]  # a request leaves no cycle of references behind
            request.end()


class ActiveRequest:
    """Counts one request in the load, except while it waits for its client. Ends when the response starts."""

    __slots__ = ("_counted", "_ended", "_load", "_receive", "_send")

    def __init__(self, load: Load, receive: Receive, send: Send) -> None:
        self._load = load
        self._receive = receive
        self._send = send
        self._counted = False
        self._ended = False

    async def receive(self) -> Message:
        self.leave()
        message = await self._receive()
        self.take()
        return message

    def send(self, message: Message) -> Awaitable[None]:
        if not self._ended:
            self.end()
        return self._send(message)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Stops counting the request while it waits for, or does, slow work that has its own limit."""
        self.leave()
        try:
            yield
        finally:
            self.take()

    def take(self) -> None:
        if not self._ended and not self._counted:
            self._load.working += 1
            self._counted = True

    def leave(self) -> None:
        if self._counted:
            self._load.working -= 1
            self._counted = False

    def end(self) -> None:
        self.leave()
        self._ended = True
