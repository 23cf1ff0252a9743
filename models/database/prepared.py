"""Prepared statements: compiled once for each kind of database, and sent to the driver unchanged.

SQLite answers a look-up in ten microseconds; SQLAlchemy adds some hundred to build the statement, to find it in its
cache, and to track every row. Here SQLAlchemy only compiles, once, and converts the values of each type.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Generic, TypeVar

from sqlalchemy import Dialect, Executable
from sqlalchemy.sql.compiler import SQLCompiler

_Row = TypeVar("_Row")


class Prepared(Generic[_Row]):
    """A statement whose values are `bindparam`s, passed by name when it is sent.

    `row` builds a result from the values of a row; the last `cached_rows` different rows are built only once.
    `columns` are those that an INSERT or UPDATE sets: parameters of the same names.
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
    """A prepared statement in one SQL dialect. `text` has a placeholder for each argument."""

    def __init__(self, prepared: Prepared[_Row], dialect: Dialect) -> None:
        compiled: SQLCompiler = prepared.statement.compile(dialect=dialect, column_keys=prepared.columns)  # type: ignore[attr-defined]
        assert not compiled.post_compile_params, "the text must be the same whatever the values are"
        self.text = str(compiled)
        places: Sequence[str] = compiled.positiontup or ()
        binds = [(name, compiled.binds[name]) for name in places]
        self._literals = {name: bind.value for name, bind in binds if not bind.required}
        self._arguments = [(name, bind.type.dialect_impl(dialect).bind_processor(dialect)) for name, bind in binds]
        self._result_processors = _result_processors(compiled, dialect)
        self._row = prepared.row
        self._cached = lru_cache(prepared.cached_rows)(self._build_row) if prepared.cached_rows else None
        self._hashable = tuple if dialect.name == "sqlite" else _hashable

    def arguments(self, values: Mapping[str, Any]) -> tuple[Any, ...]:
        """Returns the values in the order of the placeholders, converted for the driver."""
        if self._literals:
            values = {**self._literals, **values}
        return tuple([process(values[name]) if process else values[name] for name, process in self._arguments])

    def rows(self, found: Iterable[tuple[Any, ...]]) -> list[_Row]:
        """Builds the results from the driver's rows."""
        return [self._cached(self._hashable(row)) for row in found] if self._cached else self._build_rows(found)

    def _build_row(self, row: tuple[Any, ...]) -> _Row:
        return self._build_rows([tuple(list(value) if type(value) is tuple else value for value in row)])[0]

    def _build_rows(self, found: Iterable[tuple[Any, ...]]) -> list[_Row]:
        """Converts column by column: row by row takes twice as long."""
        columns: list[Iterable[Any]] = list(zip(*found, strict=True))
        if not columns:
            return []
        for place, process in self._result_processors:
            columns[place] = map(process, columns[place])
        return [self._row(row) for row in zip(*columns, strict=True)]


def _hashable(row: Sequence[Any]) -> tuple[Any, ...]:
    """Converts the lists that PostgreSQL's driver returns, which can't be cache keys, to tuples."""
    return tuple([tuple(value) if type(value) is list else value for value in row])


def _result_processors(compiled: SQLCompiler, dialect: Dialect) -> list[tuple[int, Callable[[Any], Any]]]:
    """Returns the columns whose values need a conversion, with their processors."""
    columns: Iterable[Any] = getattr(compiled.statement, "selected_columns", ())
    processors = (column.type.dialect_impl(dialect).result_processor(dialect, None) for column in columns)
    return [(place, process) for place, process in enumerate(processors) if process]
