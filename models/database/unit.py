"""A queued unit and its timing, for both databases."""

import asyncio
import time
from collections.abc import Callable
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Any

from models.database.transaction import Transaction
from models.observer import Observer, UnitState

BATCH_SIZE = 32
"""The most units committed together: the first of them waits for the last."""


class UnitTimer:
    """Reports to an observer how long a unit waits for a connection and its lock, and how long it runs."""

    __slots__ = ("_began_at", "_observer", "_queued_at", "_state")

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._queued_at = self._began_at = time.perf_counter()
        self._state: UnitState = "waiting"
        observer.unit(self._state, 1)

    def begin(self) -> None:
        """Marks the end of the wait. Only the first call counts: the unit may be run again."""
        if self._state == "writing":
            return
        self._began_at = time.perf_counter()
        self._observer.unit(self._state, -1)
        self._state = "writing"
        self._observer.unit(self._state, 1)

    def end(self) -> None:
        """Marks the commit or rollback."""
        self._observer.unit(self._state, -1)
        if self._state == "writing":
            self._observer.wrote(self._began_at - self._queued_at, time.perf_counter() - self._began_at)


@dataclass(slots=True)
class Job:
    """A queued unit, which runs in the context of its caller."""

    unit: Callable[[Transaction], Any]
    timer: UnitTimer
    done: asyncio.Future[Any]
    context: Context = field(default_factory=copy_context)
    result: Any = None
    error: BaseException | None = None

    def hand_back(self) -> None:
        """Passes the result or the error to the caller, if it still waits."""
        self.timer.end()
        if self.done.done():
            return
        if self.error is None:
            self.done.set_result(self.result)
        else:
            self.done.set_exception(self.error)
