"""Substring search in a list of rows, through a trigram index.

A searched table has a `search_key`; migration 0002 creates its indexes. They only name candidates: every row is also
checked for the text. A common text is searched by scanning the list from the cursor, any other one through the index,
because neither way is fast for both: docs/decisions/0010-search-is-a-trigram-index.md.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, ClassVar, Protocol, TypeVar

from sqlalchemy import ARRAY, ColumnElement, Text, and_, cast, column, func, literal, tuple_
from sqlalchemy import select as select_columns
from sqlalchemy import table as table_named
from sqlmodel import SQLModel, select
from sqlmodel.sql.expression import SelectOfScalar

from models.database import Database
from models.database.prepared import Prepared
from models.database.sample import share
from models.fields import folded
from models.paging import CountedPage, Order, Paged, Window, page_of, parameters, parametrize, window_of

_Row = TypeVar("_Row")
_Row_co = TypeVar("_Row_co", covariant=True)
Conditions = Sequence[ColumnElement[bool]]


class Listed(Protocol[_Row_co]):
    """A table whose rows are listed. `read` names the columns to select."""

    read: ClassVar[Sequence[str]]

    @classmethod
    def of_row(cls, values: Iterable[Any]) -> _Row_co:
        """Builds the listed object from the values of a row."""
        ...


COMMON_SHARE = 0.005
"""A text in at least this share of the rows is common: scanning the list until a page is full is faster than sorting
the candidates of the index."""
READ_MARGIN = 3
"""How many times the rows expected to fill a page are scanned before the index is used instead."""

_LAST_CHARACTERS = "\U0010ffff\U0010ffff"
_THREE_IN_A_WORD = re.compile("[0-9a-z]{3}")


async def search_page(
    database: Database,
    table: type[Listed[_Row]],
    search: str | None,
    filters: tuple[ColumnElement[bool], ...],
    window: Window,
    field: Paged,
    order: Order,
) -> CountedPage[_Row]:
    """Returns a page of the rows that pass the filters and contain the text, if there is one. Raises BadRequest."""
    window.check()
    text, conditions, common = folded(search or ""), list(filters), True
    rows: Sequence[Any] | None
    if text:
        conditions.append(_contains(database, table, text))
        fraction = await share(database, table, text)
        common = fraction >= COMMON_SHARE
        rows = await _scan(database, table, fraction, conditions, window, field, order) if common else None
        if rows is None:
            rows = await _look_up(database, table, text, conditions, window, field, order)
        rows = [table.of_row(row) for row in rows]
    else:
        page = _page(table, filters, window.shape, field, order)
        rows = await database.find(page, **parameters(window, field))

    async def count() -> int:
        everything: Any = select(func.count()).select_from(table).where(*conditions)
        counted: SelectOfScalar[int] = everything if common else _restrict(database, everything, table, text)
        return (await database.read(counted))[0]

    return CountedPage(page_of(rows, window, field), count)


@lru_cache(256)
def _page(
    table: type[Listed[_Row]], filters: tuple[ColumnElement[bool], ...], shape: Window, field: Paged, order: Order
) -> Prepared[_Row]:
    """Returns the statement for every window of the shape."""
    return Prepared(parametrize(_select_rows(table).where(*filters), table, shape, field, order), table.of_row)


async def _scan(
    database: Database, table: Any, fraction: float, conditions: Conditions, window: Window, field: Paged, order: Order
) -> Sequence[Any] | None:
    """Scans the list for the page. None if the scanned rows do not fill it."""
    key = (getattr(table, field.value), table.id)
    keys: Any = select(*key)
    end: Any = window_of(keys, table, window, field, order).limit(1).offset(int(READ_MARGIN * window.size / fraction))
    last: Sequence[Any] = await database.read(end)
    upwards = (order is Order.ASC) is not window.backward
    bound = [tuple_(*key) < tuple(row) if upwards else tuple_(*key) > tuple(row) for row in last]
    rows = await database.read(window_of(_select_rows(table).where(*conditions, *bound), table, window, field, order))
    return None if bound and len(rows) <= window.size else rows


async def _look_up(
    database: Database, table: Any, text: str, conditions: Conditions, window: Window, field: Paged, order: Order
) -> Sequence[Any]:
    """Looks the page up in the index. MATERIALIZED keeps the planner from scanning the order's index instead."""
    keys = _restrict(database, select_columns(table.id, getattr(table, field.value)).where(*conditions), table, text)
    found = keys.cte("found").prefix_with("MATERIALIZED")
    ids: Any = select_columns(found.c.id)
    page = window_of(ids, found.c, window, field, order)
    found = window_of(_select_rows(table).where(table.id.in_(page)), table, window, field, order)
    rows: Sequence[Any] = await database.read(found)
    return rows


def _select_rows(table: Any) -> Any:
    """Selects columns, not entities, so that the session does not track the rows."""
    columns = SQLModel.metadata.tables[table.__tablename__].columns
    return select_columns(*(columns[name] for name in table.read))


def _contains(database: Database, table: Any, text: str) -> ColumnElement[bool]:
    position = func.instr if database.path else func.strpos
    return position(table.search_key, text) > 0


def _restrict(database: Database, statement: Any, table: Any, text: str) -> Any:
    """Restricts the statement to the candidates of the index."""
    if database.path is None:
        return statement.where(_match_in_postgresql(table, text))
    numbers = _match_in_sqlite(table.__tablename__, text).subquery()
    rows = table_named(f"{table.__tablename__}_search", column("number"), column("row_id"))
    return statement.join(rows, rows.c.row_id == table.id).join(numbers, numbers.c.number == rows.c.number)


def _match_in_sqlite(name: str, text: str) -> Any:
    """Matches every trigram of the text; of a shorter one, trigrams that begin with it (keys end in two line ends)."""
    if len(text) < 3:
        term: ColumnElement[str] = column("term")
        within = and_(term >= text, term <= text + _LAST_CHARACTERS)
        numbers: Any = select_columns(column("doc").label("number")).distinct()
        return numbers.select_from(table_named(f"{name}_search_terms")).where(within)
    trigrams = dict.fromkeys(text[start : start + 3] for start in range(len(text) - 2))
    query = " ".join('"' + trigram.replace('"', '""') + '"' for trigram in trigrams)
    grams = f"{name}_search_grams"
    matches = column(grams).op("MATCH", is_comparison=True)(literal(query))
    return select_columns(column("rowid").label("number")).select_from(table_named(grams)).where(matches)


def _match_in_postgresql(table: Any, text: str) -> ColumnElement[bool]:
    """Matches trigrams if the text has any, else bigrams: pg_trgm makes none of short words and punctuation, nor, in
    some locales, of other scripts.
    """
    if _THREE_IN_A_WORD.search(text):
        like: ColumnElement[bool] = table.search_key.contains(text, autoescape=True)
        return like
    grams = list(dict.fromkeys(text[start : start + 2] for start in range(max(len(text) - 1, 1))))
    wanted = cast(literal(grams, ARRAY(Text)), ARRAY(Text))
    return func.search_grams(table.search_key.collate("C")).op("@>", is_comparison=True)(wanted)
