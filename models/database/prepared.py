"""Statements that are compiled once for each kind of database, and sent as they are. Knows no table, no connection.

What SQLite answers in ten microseconds takes SQLAlchemy some hundred: to build the statement, to find it compiled, and
to follow every row that comes back. Here it compiles, once, and says how the values of each type are spelled.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Generic, TypeVar

from sqlalchemy import Dialect, Executable
from sqlalchemy.sql.compiler import SQLCompiler

_Row = TypeVar("_Row")


class Prepared(Generic[_Row]):
    """A statement whose values are `bindparam`s, given by name when it is sent.

    `row` makes what is handed out of the values of a row; of so many rows as `cached_rows` says it is made but once.
    `columns` are those that an INSERT or UPDATE sets, which are parameters by their names.
    """

    def __init__(
        self,
        statement: Executable,
        row: Callable[[Sequence[Any]], _Row],
        *,
        columns: Sequence[str] | None = None,
        cached_rows: int = 0,
    ) -> None:
        self.statement = statement
        self.row = row
        self.columns = columns
        self.cached_rows = cached_rows
        self._compiled: dict[str, Compiled[_Row]] = {}

    def compiled(self, dialect: Dialect) -> "Compiled[_Row]":
        found = self._compiled.get(dialect.name)
        if found is None:
            found = self._compiled[dialect.name] = Compiled(self, dialect)
        return found


class Compiled(Generic[_Row]):
    """A prepared statement in the words of one kind of database. `text` has a place for each argument."""

    def __init__(self, prepared: Prepared[_Row], dialect: Dialect) -> None:
        compiled: SQLCompiler = prepared.statement.compile(dialect=dialect, column_keys=prepared.columns)  # type: ignore[attr-defined]
        assert not compiled.post_compile_params, "the text must be the same whatever the values are"
        self.text = str(compiled)
        places: Sequence[str] = compiled.positiontup or ()
        binds = [(name, compiled.binds[name]) for name in places]
        self._literals = {name: bind.value for name, bind in binds if not bind.required}
        self._arguments = [(name, bind.type.dialect_impl(dialect).bind_processor(dialect)) for name, bind in binds]
        self._results = _results(compiled, dialect)
        self._row = prepared.row
        self._known = lru_cache(prepared.cached_rows)(self._one) if prepared.cached_rows else None
        self._hashable = tuple if dialect.name == "sqlite" else _hashable

    def arguments(self, values: Mapping[str, Any]) -> tuple[Any, ...]:
        """The values in their places, as the driver takes them."""
        if self._literals:
            values = {**self._literals, **values}
        return tuple([process(values[name]) if process else values[name] for name, process in self._arguments])

    def rows(self, found: Iterable[tuple[Any, ...]]) -> list[_Row]:
        """What the rows of the driver are made into."""
        return [self._known(self._hashable(row)) for row in found] if self._known else self._made(found)

    def _one(self, row: tuple[Any, ...]) -> _Row:
        return self._made([tuple(list(value) if type(value) is tuple else value for value in row)])[0]

    def _made(self, found: Iterable[tuple[Any, ...]]) -> list[_Row]:
        """Column by column: row by row takes twice as long."""
        columns: list[Iterable[Any]] = list(zip(*found, strict=True))
        if not columns:
            return []
        for place, process in self._results:
            columns[place] = map(process, columns[place])
        return [self._row(row) for row in zip(*columns, strict=True)]


def _hashable(row: Sequence[Any]) -> tuple[Any, ...]:
    """The driver of PostgreSQL gives lists, which can't be looked up."""
    return tuple([tuple(value) if type(value) is list else value for value in row])


def _results(compiled: SQLCompiler, dialect: Dialect) -> list[tuple[int, Callable[[Any], Any]]]:
    """The columns whose values the driver gives otherwise than Python has them."""
    columns: Iterable[Any] = getattr(compiled.statement, "selected_columns", ())
    processors = (column.type.dialect_impl(dialect).result_processor(dialect, None) for column in columns)
    return [(place, process) for place, process in enumerate(processors) if process]
