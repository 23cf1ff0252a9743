"""The waiting of a unit for a connection and its lock, and then its work, as an observer is told of them."""

import time

from models.observer import Observer, UnitState


class Turn:
    """One unit, from its being asked for to its end."""

    __slots__ = ("_begun", "_observer", "_since", "_state")

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._since = self._begun = time.perf_counter()
        self._state: UnitState = "waiting"
        observer.unit(self._state, 1)

    def begin(self) -> None:
        """It waits no longer. Told once, whatever follows."""
        if self._state == "writing":
            return
        self._begun = time.perf_counter()
        self._observer.unit(self._state, -1)
        self._state = "writing"
        self._observer.unit(self._state, 1)

    def end(self) -> None:
        """It is committed, or rolled back."""
        self._observer.unit(self._state, -1)
        if self._state == "writing":
            self._observer.wrote(self._begun - self._since, time.perf_counter() - self._begun)
