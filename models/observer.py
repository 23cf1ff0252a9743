"""The interface through which the layers report events for metrics and traces.

Knows no library for these, and receives no value that a client sent.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

UnitState = Literal["waiting", "writing"]
CredentialKind = Literal["login", "token"]
Ended = Callable[[BaseException | None], None]


class Operation:
    """A running GraphQL operation."""

    def end(self, name: str, *, failed: bool) -> None:
        """The operation was executed or refused, or the subscription was set up. Only the first call counts."""

    def leave(self) -> None:
        """The operation is finished, including its stream of events."""


class Observer:
    """Ignores every event: metrics and traces override the methods that they need."""

    follows_statements = False

    def resolving(self, name: str, api: str) -> AbstractContextManager[None]:  # noqa: ARG002 - for metrics
        """A resolver runs."""
        return nullcontext()

    def executing(self) -> Operation:
        """A GraphQL document arrived."""
        return Operation()

    def executed(self, name: str, api: str, code: str, seconds: float) -> None:
        """A document was answered without a resolver."""

    def statement(self, system: str, text: str) -> Ended:  # noqa: ARG002 - for traces
        """A statement was sent to a database of this kind. Called only if `follows_statements`."""
        return lambda _error: None

    def unit(self, state: UnitState, by: int) -> None:
        """This many more units of the database wait, or are being written."""

    def wrote(self, waited: float, took: float) -> None:
        """A unit was committed or rolled back, after these seconds of waiting and of work."""

    def retried(self) -> None:
        """A unit conflicted with another one and is run again."""

    def slow_read(self) -> None:
        """A read would have blocked the event loop: it was interrupted, and is run again in a thread."""

    def unavailable(self) -> None:
        """The database could not be used."""

    def subscribers(self, by: int) -> None:
        """This many more subscriptions are open."""

    def overloaded(self) -> None:
        """A request exceeded the limit, and was refused before it was parsed."""

    def socket_refused(self) -> None:
        """A WebSocket was refused, because too many unauthenticated ones were open."""

    def dropped(self) -> None:
        """A subscriber was disconnected, because it read too slowly."""

    def delivered(self) -> None:
        """A change was delivered to one subscriber."""

    def credentials_refused(self, kind: CredentialKind) -> None:
        """A login or a token was wrong."""

    def throttled(self, kind: CredentialKind) -> None:
        """A login or a wrong token was refused unchecked, after too many failures."""
