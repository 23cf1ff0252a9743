"""Column types whose values are the same on SQLite and PostgreSQL."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, DateTime, Dialect, String
from sqlalchemy.dialects.sqlite import DATETIME
from sqlalchemy.types import TypeDecorator, TypeEngine


def now() -> datetime:
    """Returns the current time in UTC, to the millisecond, so that a stored time equals the one that clients see."""
    present = datetime.now(UTC)
    return present.replace(microsecond=present.microsecond // 1_000 * 1_000)


class Timestamp(TypeDecorator[datetime]):
    """A point in time, in UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "sqlite":
            return dialect.type_descriptor(_TextInUTC())  # type: ignore[no-untyped-call]
        return dialect.type_descriptor(self.impl_instance)


ZONE = len("+00:00")


class _TextInUTC(DATETIME):
    """Stores a point in time as text in UTC, since SQLite has no time zones: `2030-01-31 12:00:00.000000`."""

    def bind_processor(self, dialect: Dialect) -> Callable[[datetime | None], str | None]:  # noqa: ARG002
        return lambda value: None if value is None else value.astimezone(UTC).isoformat(" ", "microseconds")[:-ZONE]

    def result_processor(
        self,
        dialect: Dialect,  # noqa: ARG002 - the signature is SQLAlchemy's
        coltype: object,  # noqa: ARG002
    ) -> Callable[[str | None], datetime | None]:
        return lambda value: None if value is None else datetime.fromisoformat(f"{value}+00:00")


def sortable(length: int) -> Any:
    """Returns a text type that sorts by code point everywhere, so that a cursor does not depend on a collation."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")


class Json(TypeDecorator[Any]):
    """Any JSON value; JSONB on PostgreSQL, whose dialect a server on SQLite does not import."""

    impl = JSON
    cache_ok = True

    # SQLAlchemy's cache key includes the positional parameters, by name.
    def __init__(self, none_as_null: bool) -> None:
        super().__init__(none_as_null=none_as_null)
        self.none_as_null = none_as_null
        self.should_evaluate_none = not none_as_null

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name != "postgresql":
            return dialect.type_descriptor(self.impl_instance)
        from sqlalchemy.dialects.postgresql import JSONB

        return dialect.type_descriptor(JSONB(none_as_null=self.none_as_null))


def json_list() -> Any:
    """Returns the type of a list of strings."""
    return Json(none_as_null=False)


def json_object() -> Any:
    """Returns the type of an object or NULL."""
    return Json(none_as_null=True)
