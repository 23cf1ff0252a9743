"""Delivers committed changes to subscribers. Knows no WebSocket and no permission.

One task reads the log, to which every process adds its changes, and puts them into bounded queues. A write in this
process wakes it at once, PostgreSQL wakes it by NOTIFY, and it polls every second for changes without a notification.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass

import structlog

from models import change
from models.change import EmailInboxChange
from models.database import Database
from models.errors import BadRequest, where
from models.observer import Observer
from models.stored import StoredInbox

POLL_SECONDS = 1.0
MAX_QUEUED_EVENTS = 1_000
EVENT_BATCH_SIZE = 200

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Event:
    """A change, and its inbox as stored now; None if it is deleted."""

    change: EmailInboxChange
    inbox: StoredInbox | None

    @property
    def seq(self) -> int:
        assert self.change.seq is not None
        return self.change.seq


class Events:
    """The changes of all inboxes, in the order of their commits."""

    def __init__(self, database: Database, observer: Observer | None = None) -> None:
        self._database = database
        self._observer = observer or Observer()
        self._wake = asyncio.Event()
        self._queues: set[asyncio.Queue[Event | None]] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._seq = 0
        self._joining = asyncio.Lock()

    async def start(self) -> None:
        self._tasks.append(asyncio.create_task(self._follow()))
        if self._database.notifies:
            self._tasks.append(asyncio.create_task(self._listen()))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for queue in list(self._queues):
            self._drop(queue)

    def wake(self) -> None:
        """Wakes the task after a commit."""
        self._wake.set()

    async def subscribe(self, after: int) -> AsyncGenerator[Event, None]:
        """Yields every change after this one, past and future, each exactly once.

        Ends when the server stops, or when the subscriber reads too slowly. Raises BadRequest if `after` is older than
        the changes that are kept.
        """
        queue = await self._join()
        joined = max(self._seq, after)
        try:
            async for event in self._since(after, up_to=self._seq):
                yield event
            while (following := await queue.get()) is not None:
                # A batch may have been under way when this one joined; a cursor of another replica may be ahead.
                if following.seq > joined:
                    yield following
        finally:
            self._leave(queue)

    async def _join(self) -> asyncio.Queue[Event | None]:
        """Adds a queue for every change from now on. Without subscribers, the log is not read."""
        async with self._joining:
            if not self._queues:
                [self._seq] = await self._database.find(change.LAST_SEQ)
            queue: asyncio.Queue[Event | None] = asyncio.Queue(MAX_QUEUED_EVENTS)
            self._queues.add(queue)
            self._observer.subscribers(1)
            return queue

    def _leave(self, queue: asyncio.Queue[Event | None]) -> None:
        if queue in self._queues:
            self._queues.discard(queue)
            self._observer.subscribers(-1)

    async def _since(self, after: int, up_to: int) -> AsyncGenerator[Event, None]:
        [first] = await self._database.find(change.FIRST_SEQ)
        [newest] = await self._database.find(change.LAST_SEQ)
        if after < first - 1 or after > newest:
            raise BadRequest("The cursor is no longer kept: read the inboxes again, then subscribe without it.")
        while events := await self._read(after, up_to):
            for event in events:
                yield event
            after = events[-1].seq

    async def _follow(self) -> None:
        while True:
            # Not wait_for: on Python 3.11 it swallows a cancellation that arrives together with the wake.
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._wake.wait()
            self._wake.clear()
            try:
                while self._queues and await self._hand_out() == EVENT_BATCH_SIZE:
                    pass
            except Exception as error:
                log.warning("changes can't be read", error=type(error).__name__, where=where(error))

    async def _hand_out(self) -> int:
        """Puts the next changes into every queue, and returns their number."""
        events = await self._read(self._seq, None)
        for event in events:
            for queue in list(self._queues):
                self._offer(queue, event)
            self._seq = event.seq
        return len(events)

    def _offer(self, queue: asyncio.Queue[Event | None], event: Event) -> None:
        try:
            queue.put_nowait(event)
            self._observer.delivered()
        except asyncio.QueueFull:
            log.warning("subscriber dropped", reason="it reads too slowly")
            self._observer.dropped()
            self._drop(queue)

    def _drop(self, queue: asyncio.Queue[Event | None]) -> None:
        self._leave(queue)
        while not queue.empty():
            queue.get_nowait()
        queue.put_nowait(None)

    async def _read(self, after: int, up_to: int | None) -> list[Event]:
        rows = await self._database.read(change.since(after, up_to, EVENT_BATCH_SIZE))
        return [Event(found, None if inbox[0] is None else StoredInbox._make(inbox)) for found, *inbox in rows]

    async def _listen(self) -> None:
        while True:
            try:
                await self._database.listen(change.CHANNEL, self.wake)
            except Exception as error:
                log.warning("not listening for notifications", reason=type(error).__name__)
            await asyncio.sleep(POLL_SECONDS)
