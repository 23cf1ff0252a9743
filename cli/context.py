"""Runs commands on the database, as a caller with every permission, and prints tables."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar

import typer

from cli.terminal import complain, printable
from models.errors import ProductError, Refused
from models.paging import MAX_SIZE, Page, Window
from models.user import Permission, User
from resolvers.context import Caller, Context

_Result = TypeVar("_Result")
_Row = TypeVar("_Row")


class OpenContext(Protocol):
    """Opens the database and the keys. `makes`: creates the database if it does not exist."""

    def __call__(self, *, makes: bool = False) -> AbstractAsyncContextManager[Context]: ...


def run_with_context(
    open_context: OpenContext, work: Callable[[Context], Awaitable[_Result]], *, makes: bool = False
) -> _Result:
    """Runs `work` on the database. Prints each problem as one line, and exits with status 1."""

    async def within() -> _Result:
        async with open_context(makes=makes) as context:
            return await work(context.acting_as(shell))

    try:
        return asyncio.run(within())
    except Refused as refused:
        for problem in refused.problems:
            complain(problem.message)
    except ProductError as error:
        complain(str(error))
    raise typer.Exit(1)


def print_table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints a table on a terminal; into a pipe, a line for each row, with tabs between uncut cells."""
    if not sys.stdout.isatty():
        for row in (headers, *rows):
            typer.echo("\t".join(map(printable, row)))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*headers)
    for row in rows:
        table.add_row(*(Text("\n".join(map(printable, cell.split("\n")))) for cell in row))  # Text ignores markup
    Console().print(table)


async def shell() -> Caller:
    """The caller of a command, who may do everything: access to the data folder is the authorization."""
    return Caller(User.model_construct(id="", username="shell"), frozenset(Permission))


def acting_as(user: User) -> Callable[[], Awaitable[Caller]]:
    """Makes the user the caller, for operations on its own account, such as creating a token."""

    async def caller() -> Caller:
        return Caller(user, frozenset(user.permissions))

    return caller


async def all_pages(page_at: Callable[[Window], Awaitable[Page[_Row]]]) -> list[_Row]:
    """Fetches all pages of a list, and returns their rows."""
    rows: list[_Row] = []
    page = await page_at(Window(first=MAX_SIZE))
    while True:
        rows.extend(page.rows)
        if not page.has_next:
            return rows
        page = await page_at(Window(first=MAX_SIZE, after=page.cursor(page.rows[-1])))
