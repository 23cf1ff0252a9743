"""Estimates how common a text is, from a sample of rows cached in memory.

The estimate chooses how a search runs, never what it finds: a stale sample costs time, not correctness.
"""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import literal_column, select, tablesample
from sqlmodel import func
from sqlmodel.sql.expression import SelectOfScalar

from models.database import Database

SAMPLE_SIZE = 2_000
SAMPLE_SECONDS = 60.0
_PAGE = 8_192
_PAGES = 300


@dataclass(frozen=True, slots=True)
class _Sample:
    keys: Sequence[str]
    until: float


_samples: WeakKeyDictionary[Database, dict[str, _Sample]] = WeakKeyDictionary()


async def share(database: Database, table: Any, text: str) -> float:
    """Estimates the share of rows whose `search_key` contains the text, from 0 to 1."""
    known = _samples.setdefault(database, {})
    sample = known.get(table.__tablename__)
    if sample is None or sample.until < time.monotonic():
        keys = await (_from_sqlite if database.path else _from_postgresql)(database, table)
        sample = known[table.__tablename__] = _Sample(keys, time.monotonic() + SAMPLE_SECONDS)
    return sum(text in key for key in sample.keys) / max(len(sample.keys), 1)


async def _from_sqlite(database: Database, table: Any) -> Sequence[str]:
    rowid: Any = literal_column(f'"{table.__tablename__}".rowid')
    last = (await _read(database, select(func.coalesce(func.max(rowid), 0)).select_from(table)))[0]
    chosen = random.sample(range(1, last + 1), min(SAMPLE_SIZE, last))
    return await _read(database, select(table.search_key).where(rowid.in_(chosen)))


async def _from_postgresql(database: Database, table: Any) -> Sequence[str]:
    size = (await _read(database, select(func.pg_relation_size(f'"{table.__tablename__}"'))))[0]
    percent = min(100.0, 100.0 * _PAGES * _PAGE / max(size, 1))
    pages: Any = tablesample(table, func.system(percent))
    return await _read(database, select(pages.c.search_key).limit(SAMPLE_SIZE))


async def _read(database: Database, statement: Any) -> Sequence[Any]:
    found: SelectOfScalar[Any] = statement
    return [row[0] for row in await database.read(found)]
