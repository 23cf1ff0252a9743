"""Databases of PostgreSQL to measure on: made, filled, copied and dropped. Knows no table but by its name."""

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from benchmarks import sealing

MAINTENANCE = "postgres"


def at(url: str, name: str) -> str:
    """The URL of another database of the same server."""
    return urlsplit(url)._replace(path=f"/{name}").geturl()


@contextmanager
def database(url: str, template: str = "template1") -> Iterator[str]:
    """The URL of a new database, a copy of the template, until the end of the block."""
    name = f"bench_{secrets.token_hex(6)}"
    maintenance = at(url, MAINTENANCE)
    asyncio.run(_execute(maintenance, f"CREATE DATABASE {name} TEMPLATE {template}", "CHECKPOINT"))
    try:
        yield at(url, name)
    finally:
        asyncio.run(_execute(maintenance, f"DROP DATABASE {name} WITH (FORCE)"))


@contextmanager
def copy_of(url: str) -> Iterator[str]:
    """The URL of a copy of a database that nobody is connected to."""
    with database(url, urlsplit(url).path.removeprefix("/")) as copy:
        yield copy


def copy_first(url: str, inboxes: int, first: str, tag: str, folder: Path) -> None:
    """Copies the row of the first inbox, with its tag replaced by that of the copy, until there are so many."""
    asyncio.run(_copy_first(url, inboxes, first, tag, folder))


async def _copy_first(url: str, inboxes: int, first: str, tag: str, folder: Path) -> None:
    connection = await asyncpg.connect(url)
    row = await connection.fetchrow("SELECT * FROM email_inbox WHERE id = $1", first)
    columns = [f'"{column}"' for column in row.keys()]  # noqa: SIM118 - a record is no dict
    copies = [
        f"replace({column}, '{tag}', lpad(number::text, 8, '0'))" if isinstance(value, str) else column
        for column, value in zip(columns, row.values(), strict=True)
    ]
    await connection.execute(
        f"""INSERT INTO email_inbox ({", ".join(columns)})
            SELECT {", ".join(copies)} FROM generate_series(1, {inboxes - 1}) AS number, email_inbox
            WHERE id = '{first}'"""
    )
    if keys := sealing.keyring(folder, row):
        rows = await connection.fetch(f"SELECT {', '.join(sealing.COLUMNS)} FROM email_inbox")
        change = "UPDATE email_inbox SET smtp_password = $1, imap_password = $2 WHERE id = $3"
        await connection.executemany(change, sealing.sealed(keys, row, rows))
    await connection.execute("VACUUM ANALYZE")
    await connection.close()


async def _execute(url: str, *statements: str) -> None:
    connection: Any = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
