"""Whom the layers tell how their work goes, so that it can be counted and traced.

Knows no library that does so, and is never told a value that somebody sent.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

UnitState = Literal["waiting", "writing"]
CredentialKind = Literal["login", "token"]
Ended = Callable[[BaseException | None], None]


class Operation:
    """A GraphQL operation that is under way."""

    def end(self, name: str, *, failed: bool) -> None:
        """It was run, or refused; of a subscription, it was set up. Only the first call counts."""

    def leave(self) -> None:
        """Nothing of it is left to be done."""


class Observer:
    """Is told, and keeps nothing: what counts or traces overrides what it wants to know."""

    follows_statements = False

    def resolving(self, name: str, api: str) -> AbstractContextManager[None]:  # noqa: ARG002 - for those who count
        """A resolver runs."""
        return nullcontext()

    def executing(self) -> Operation:
        """A GraphQL document arrived."""
        return Operation()

    def executed(self, name: str, api: str, code: str, seconds: float) -> None:
        """A document was answered without a resolver."""

    def statement(self, system: str, text: str) -> Ended:  # noqa: ARG002 - for those who trace
        """A statement was sent to a database of this kind. Told only to one that follows statements."""
        return lambda _error: None

    def unit(self, state: UnitState, by: int) -> None:
        """This many more units of the database wait, or are being written."""

    def wrote(self, waited: float, took: float) -> None:
        """A unit was committed, or rolled back: seconds for which it waited, and was worked on."""

    def retried(self) -> None:
        """A unit lost a race and is run again."""

    def slow_read(self) -> None:
        """A read would have held up the event loop: it was broken off, and is run again in a thread."""

    def unavailable(self) -> None:
        """The database could not be used."""

    def subscribers(self, by: int) -> None:
        """This many more subscriptions are open."""

    def overloaded(self) -> None:
        """A request was one too many, and refused before it was looked at."""

    def socket_refused(self) -> None:
        """A WebSocket was refused, because too many were open whose clients had not said who they are."""

    def dropped(self) -> None:
        """A subscriber read too slowly."""

    def delivered(self) -> None:
        """A change was given to one subscriber."""

    def credentials_refused(self, kind: CredentialKind) -> None:
        """A login or a token was wrong."""

    def throttled(self, kind: CredentialKind) -> None:
        """A login or a wrong token was turned away unseen, after too many failures."""
