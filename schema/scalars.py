"""Custom scalars."""

from datetime import UTC, datetime

import strawberry
from graphql import GraphQLError

from edge.answers import to_iso


def _parse(value: object) -> datetime:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        if moment and moment.tzinfo:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise GraphQLError("DateTime must be RFC 3339 with a time zone, such as 2030-01-31T12:00:00Z.")


DATE_TIME = strawberry.scalar(
    name="DateTime",
    description="A point in time: RFC 3339 in UTC with milliseconds, such as `2030-01-31T12:00:00.000Z`.",
    serialize=to_iso,
    parse_value=_parse,
)
