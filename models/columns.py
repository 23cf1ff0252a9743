"""Column types whose values are the same on SQLite and PostgreSQL. Knows no table."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, DateTime, Dialect, String
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeDecorator


def now() -> datetime:
    """The present in UTC, to the millisecond: what is stored is what is printed."""
    present = datetime.now(UTC)
    return present.replace(microsecond=present.microsecond // 1_000 * 1_000)


class Timestamp(TypeDecorator[datetime]):
    """A point in time, in UTC; SQLite, which knows no time zones, is given and gives it without one."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        return value.replace(tzinfo=UTC) if value and value.tzinfo is None else value


def sortable(length: int) -> Any:
    """Text that sorts by code point everywhere, so that a cursor made on one database's order holds on it."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")


def json_list() -> Any:
    """A list of strings."""
    return JSON().with_variant(JSONB(), "postgresql")


def json_object() -> Any:
    """An object, or NULL."""
    return JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
