"""Relay connections over keyset pages (GraphQL Cursor Connections Specification)."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar, cast

import strawberry

from models.paging import Page

Node = TypeVar("Node")

First = Annotated[int | None, strawberry.argument(description="Number of nodes from the start: 1 to 100. Default: 50.")]
After = Annotated[str | None, strawberry.argument(description="Only nodes after this cursor.")]
Last = Annotated[int | None, strawberry.argument(description="Number of nodes from the end: 1 to 100.")]
Before = Annotated[str | None, strawberry.argument(description="Only nodes before this cursor.")]


@strawberry.type(description="Position of a page in its list.")
class PageInfo:
    has_next_page: bool = strawberry.field(description="Whether there are more nodes after this page.")
    has_previous_page: bool = strawberry.field(description="Whether there are nodes before this page.")
    start_cursor: str | None = strawberry.field(description="Cursor of the page's first node; null on an empty page.")
    end_cursor: str | None = strawberry.field(description="Cursor of the page's last node; null on an empty page.")


@strawberry.type(description="A node and its cursor.")
class Edge(Generic[Node]):
    cursor: str = strawberry.field(description="Cursor of the node, for `after` or `before`.")
    node: Node = strawberry.field(description="The node.")


@strawberry.type(description="A page of a list.")
class Connection(Generic[Node]):
    edges: list[Edge[Node]] = strawberry.field(description="The page's nodes, each with its cursor.")
    nodes: list[Node] = strawberry.field(description="The page's nodes.")
    page_info: PageInfo = strawberry.field(description="Position of the page in the list.")
    count: strawberry.Private[Callable[[], Awaitable[int]]]

    @strawberry.field(description="Number of nodes in the whole list.")
    async def total_count(self) -> int:
        return await self.count()


@dataclass(frozen=True, slots=True)
class _PageInfoSource:
    """The source of `PageInfo`. Encodes cursors only on request, because they take longer than the rest."""

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
class _ConnectionSource:
    """The source of `Connection`."""

    page: Page[Any]
    count: Callable[[], Awaitable[int]]

    @property
    def nodes(self) -> list[Any]:
        return list(self.page.rows)

    @property
    def edges(self) -> list[Edge[Any]]:
        return [Edge(cursor=self.page.cursor(row), node=row) for row in self.page.rows]

    @property
    def page_info(self) -> _PageInfoSource:
        return _PageInfoSource(self.page)


def connection(page: Page[Any], count: Callable[[], Awaitable[int]]) -> Connection[Any]:
    """Returns a page of rows as a connection."""
    return cast("Connection[Any]", _ConnectionSource(page, count))
