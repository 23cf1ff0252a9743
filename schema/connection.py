"""Relay connections over keyset pages (GraphQL Cursor Connections Specification). Knows no noun."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar, cast

import strawberry

from models.paging import Page

Node = TypeVar("Node")

First = Annotated[int | None, strawberry.argument(description="How many, from the start: 1 to 100; 50 by default.")]
After = Annotated[str | None, strawberry.argument(description="Only what follows this cursor.")]
Last = Annotated[int | None, strawberry.argument(description="How many, from the end: 1 to 100.")]
Before = Annotated[str | None, strawberry.argument(description="Only what precedes this cursor.")]


@strawberry.type(description="Where a page stands in its list.")
class PageInfo:
    has_next_page: bool = strawberry.field(description="Whether the list goes on after this page.")
    has_previous_page: bool = strawberry.field(description="Whether the list has something before this page.")
    start_cursor: str | None = strawberry.field(description="Cursor of the page's first node; null on an empty page.")
    end_cursor: str | None = strawberry.field(description="Cursor of the page's last node; null on an empty page.")


@strawberry.type(description="A node and its place in the list.")
class Edge(Generic[Node]):
    cursor: str = strawberry.field(description="Where the node stands: `after` or `before` for another page.")
    node: Node = strawberry.field(description="The node.")


@strawberry.type(description="A page of a list.")
class Connection(Generic[Node]):
    edges: list[Edge[Node]] = strawberry.field(description="The page's nodes, each with its cursor.")
    nodes: list[Node] = strawberry.field(description="The page's nodes.")
    page_info: PageInfo = strawberry.field(description="Where the page stands in the list.")
    count: strawberry.Private[Callable[[], Awaitable[int]]]

    @strawberry.field(description="Length of the whole list, through all pages.")
    async def total_count(self) -> int:
        return await self.count()


@dataclass(frozen=True, slots=True)
class _Place:
    """What `PageInfo` reads. A cursor is made where it is asked for: all of them would take longer than the rest."""

    page: Page[Any]

    @property
    def has_next_page(self) -> bool:
        return self.page.has_next

    @property
    def has_previous_page(self) -> bool:
        return self.page.has_previous

    @property
    def start_cursor(self) -> str | None:
        return self.page.cursor(self.page.rows[0]) if self.page.rows else None

    @property
    def end_cursor(self) -> str | None:
        return self.page.cursor(self.page.rows[-1]) if self.page.rows else None


@dataclass(frozen=True, slots=True)
class _Shown:
    """What `Connection` reads."""

    page: Page[Any]
    count: Callable[[], Awaitable[int]]

    @property
    def nodes(self) -> list[Any]:
        return list(self.page.rows)

    @property
    def edges(self) -> list[Edge[Any]]:
        return [Edge(cursor=self.page.cursor(row), node=row) for row in self.page.rows]

    @property
    def page_info(self) -> _Place:
        return _Place(self.page)


def connection(page: Page[Any], count: Callable[[], Awaitable[int]]) -> Connection[Any]:
    """The connection that shows a page of rows."""
    return cast("Connection[Any]", _Shown(page, count))
