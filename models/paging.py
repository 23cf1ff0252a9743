"""Keyset paging: a page is the rows that follow or precede a cursor in a total order. Knows no table.

A cursor holds the order, the value and the id of its row, so that it stays in place while rows are added and deleted
(GraphQL Cursor Connections Specification).
"""

import base64
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, StrEnum
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Integer, bindparam, tuple_

from models.errors import BadRequest
from models.fields import is_line

DEFAULT_SIZE = 50
MAX_SIZE = 100
MAX_CURSOR = 20_000
"""In characters. A value of 1,000 characters, each escaped as two times six, and an id take 16,100 in base64."""

_Row = TypeVar("_Row")


class Order(StrEnum):
    """Upwards or downwards."""

    ASC = "ASC"
    DESC = "DESC"

    @property
    def reversed(self) -> "Order":
        return Order.DESC if self is Order.ASC else Order.ASC

    def of(self, column: Any) -> Any:
        return column.asc() if self is Order.ASC else column.desc()


class Paged(Enum):
    """Base of the enums whose values are the columns that a list may be ordered by."""


@dataclass(frozen=True, slots=True)
class Window:
    """The requested part of a list."""

    first: int | None = None
    after: str | None = None
    last: int | None = None
    before: str | None = None

    def check(self) -> None:
        """Raises BadRequest if the window is contradictory or too large."""
        if self.first is not None and self.last is not None:
            raise BadRequest("Give `first` or `last`, not both.")
        for name, size in (("first", self.first), ("last", self.last)):
            if size is not None and not 1 <= size <= MAX_SIZE:
                raise BadRequest(f"`{name}` must be from 1 to {MAX_SIZE}.")

    @property
    def shape(self) -> "Window":
        """The window without its values. Windows of the same shape have the same SQL."""
        return Window(
            last=1 if self.backward else None,
            after=None if self.after is None else "",
            before=None if self.before is None else "",
        )

    @property
    def backward(self) -> bool:
        return self.last is not None

    @property
    def size(self) -> int:
        return self.first or self.last or DEFAULT_SIZE


@dataclass(frozen=True, slots=True)
class Page(Generic[_Row]):
    """The rows of a window in the order of the list."""

    rows: Sequence[_Row]
    field: Paged
    has_next: bool
    has_previous: bool

    def cursor(self, row: _Row) -> str:
        """Returns the cursor of one of the rows."""
        return _encode([self.field.name, getattr(row, self.field.value), row.id])  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class CountedPage(Generic[_Row]):
    """A page of a list, and a function that counts the whole list."""

    page: Page[_Row]
    count: Callable[[], Awaitable[int]]


def window_of(statement: Any, table: Any, window: Window, field: Paged, order: Order) -> Any:
    """Selects the window's rows and one more, which shows whether the list goes on. Raises BadRequest."""
    return parametrize(statement, table, window, field, order).params(parameters(window, field))


def parametrize(statement: Any, table: Any, window: Window, field: Paged, order: Order) -> Any:
    """The same, with a parameter for each value of `parameters`. It depends only on the window's shape."""
    key = (getattr(table, field.value), table.id)
    if window.after is not None:
        statement = statement.where(_beyond(key, "after", order))
    if window.before is not None:
        statement = statement.where(_beyond(key, "before", order.reversed))
    direction = order.reversed if window.backward else order
    return statement.order_by(*(direction.of(column) for column in key)).limit(bindparam("size", type_=Integer()))


def parameters(window: Window, field: Paged) -> dict[str, Any]:
    """Returns the bounds of the window and the number of rows to read. Raises BadRequest."""
    window.check()
    found: dict[str, Any] = {"size": window.size + 1}
    for name, cursor in (("after", window.after), ("before", window.before)):
        if cursor is not None:
            found[f"{name}_value"], found[f"{name}_id"] = _decode(cursor, field)
    return found


def page_of(rows: Sequence[_Row], window: Window, field: Paged) -> Page[_Row]:
    """Makes the page from the rows of `window_of`'s statement."""
    goes_on, kept = len(rows) > window.size, rows[: window.size]
    if window.backward:
        return Page(kept[::-1], field, has_next=window.before is not None, has_previous=goes_on)
    return Page(kept, field, has_next=goes_on, has_previous=window.after is not None)


def _beyond(key: tuple[Any, Any], name: str, order: Order) -> ColumnElement[bool]:
    parts = zip(("value", "id"), key, strict=True)
    place = tuple_(*(bindparam(f"{name}_{part}", type_=column.type) for part, column in parts))
    return tuple_(*key) > place if order is Order.ASC else tuple_(*key) < place


def _encode(parts: list[Any]) -> str:
    text = json.dumps(parts, default=datetime.isoformat, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decode(cursor: str, field: Paged) -> tuple[Any, str]:
    try:
        if len(cursor) > MAX_CURSOR:
            raise ValueError("it is no cursor")
        name, value, row_id = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if name == field.name and is_line(value) and is_line(row_id):
            return (datetime.fromisoformat(value).astimezone(UTC) if field.value.endswith("_at") else value), row_id
    except (ValueError, TypeError, OverflowError, RecursionError):
        pass
    raise BadRequest("The cursor belongs to another list or another order: start again without it.")
