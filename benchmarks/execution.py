"""What the schema's share of a request costs, with and without plans: `python -m benchmarks.execution`.

One process, no HTTP, constant resolvers. The ways run in turn, request by request. Each figure is a median,
each ratio the median of the ratios of two requests that ran one after the other. Before each request, the processor's
caches are filled with something else, as they are in a server, where a request is more than its share of the schema;
with `--warm` they are not.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from statistics import median
from types import SimpleNamespace
from typing import Any, NamedTuple

from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext
from strawberry.types import get_object_definition
from strawberry.types.graphql import OperationType

from benchmarks.failure import Failure
from benchmarks.work import WORKS, values
from models.observer import Observer
from schema import Mutation, Query, Schema, build_schema
from schema.context import GraphQLContext

NODES = 50
CACHE_BYTES = 4 * 2**20
"""What is written to between requests: more than the caches of one core hold."""
LINE_BYTES = 64

Way = Callable[["Asked"], Awaitable[Any]]


class Asked(NamedTuple):
    """An operation and its variables."""

    text: str
    variables: dict[str, Any]


_LIST = WORKS["list"].body["query"]
ASKED = {
    "one inbox": Asked(WORKS["read"].body["query"], {"id": "a"}),
    "create": Asked(WORKS["create"].body["query"], {"input": values("a")}),
    f"list of {NODES}": Asked(_LIST, {}),
    "list with totalCount": Asked(_LIST.replace("nodes {", "totalCount nodes {", 1), {}),
    "list with createdBy": Asked(_LIST.replace("id name", "createdBy { id name } id name", 1), {}),
}


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.execution")
    parser.add_argument("--requests", type=int, default=300, help="how many of each (%(default)s)")
    parser.add_argument("--warm", action="store_true", help="leave the caches as they are")
    options = parser.parse_args(arguments)
    _replace_resolvers()
    print(asyncio.run(_table(options.requests, bytearray(LINE_BYTES if options.warm else CACHE_BYTES))))


async def _table(requests: int, filler: bytearray) -> str:
    ways = _ways()
    head = [
        f"| µs a request | {' | '.join(ways)} | each ÷ the next |",
        f"| --- |{' ---: |' * (len(ways) + 1)}",
    ]
    rows = [_row(name, await _measured(ways, asked, requests, filler)) for name, asked in ASKED.items()]
    return "\n".join([*head, *rows])


def _row(name: str, turns: list[list[float]]) -> str:
    figures = [median(way) for way in zip(*turns, strict=True)]
    ratios = [median(turn[place] / turn[place + 1] for turn in turns) for place in range(len(figures) - 1)]
    cells = [f"{figure:,.0f}" for figure in figures]
    return f"| {name} | {' | '.join(cells)} | {', '.join(f'{ratio:.1f}' for ratio in ratios)} |"


def _ways() -> dict[str, Way]:
    plain, compiled = build_schema(), build_schema()
    plain.execution_context_class = StrawberryGraphQLCoreExecutionContext
    return {
        "graphql-core": lambda asked: _execute(super(Schema, plain).execute, asked),
        "with plans": lambda asked: _execute(super(Schema, compiled).execute, asked),
        "bypass": lambda asked: _execute(compiled.execute, asked),
    }


async def _execute(execute: Any, asked: Asked) -> Any:
    result = await execute(
        asked.text,
        asked.variables,
        GraphQLContext(_CONTEXT),
        allowed_operation_types=(OperationType.QUERY, OperationType.MUTATION),
    )
    if result.errors:
        raise Failure(str(result.errors))
    return result.data


async def _measured(ways: dict[str, Way], asked: Asked, requests: int, filler: bytearray) -> list[list[float]]:
    """Microseconds by turn and way. Raises Failure where the ways give different answers."""
    for _ in range(2):  # a plan is there by then
        answers = [await way(asked) for way in ways.values()]
    if any(answer != answers[0] for answer in answers):
        raise Failure(f"The answers differ: {asked.text}")
    return [[await _microseconds(way, asked, filler) for way in ways.values()] for _ in range(requests)]


async def _microseconds(way: Way, asked: Asked, filler: bytearray) -> float:
    filler[::LINE_BYTES] = bytes(len(filler) // LINE_BYTES)
    began = time.process_time_ns()
    await way(asked)
    return (time.process_time_ns() - began) / 1_000


def _replace_resolvers() -> None:
    inboxes = [_inbox(number) for number in range(NODES)]
    saved = SimpleNamespace(success=True, created=True, email_inbox=inboxes[0], user_errors=[], warnings=[])
    page_info = SimpleNamespace(has_next_page=True, end_cursor="a")
    answers = {
        "emailInbox": inboxes[0],
        "emailInboxes": SimpleNamespace(nodes=inboxes, page_info=page_info, count=_count),
        "setEmailInbox": saved,
    }

    async def resolve(info: Any, **_arguments: Any) -> Any:
        return answers[info.field_name]

    for root in (Query, Mutation):
        for field in get_object_definition(root, strict=True).fields:
            field.base_resolver.wrapped_func = resolve  # type: ignore[union-attr]


async def _count() -> int:
    return NODES


def _inbox(number: int) -> SimpleNamespace:
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    server = {"server": "mail.example.org", "port": 465, "username": "a", "secure": True, "has_password": True}
    texts = dict.fromkeys(("name", "email", "description", "sender_info"), "support@example.org")
    return SimpleNamespace(
        id=f"inbox-{number}",
        active=True,
        department=None,
        version=1,
        created_at=now,
        updated_at=now,
        created_by_id=None,
        smtp=SimpleNamespace(**server),
        imap=SimpleNamespace(**server, max_retries=5),
        **texts,
    )


_CONTEXT: Any = SimpleNamespace(observer=Observer(), api="graphql", request_id="")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except Failure as failure:
        sys.exit(str(failure))
