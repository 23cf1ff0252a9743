"""Prints `sqlite.sql`: the SQLite database that the migrations make, a blank line between two statements."""

import sys

from sqlalchemy import Connection, create_engine

from models.database.migration import heading, upgrade
from models.secrets import Keyring

# SQLite itself makes the objects with its prefix and the shadow tables of a search. Alembic makes the indexes of a
# table in any order.
MADE = """
    SELECT sql FROM sqlite_master
    WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite~_%' ESCAPE '~'
    AND name NOT IN (SELECT name FROM pragma_table_list WHERE type = 'shadow')
    ORDER BY iif(type = 'table', rowid, NULL) NULLS LAST, type, name
"""


def structure(connection: Connection) -> str:
    """Returns the statements that make the database: tables in the order in which they were made."""
    statements = [_without_blank_lines(sql) + ";" for (sql,) in connection.exec_driver_sql(MADE)]
    return "\n\n".join([heading(), *statements]) + "\n"


def _without_blank_lines(sql: str) -> str:
    return "\n".join(line.rstrip() for line in sql.splitlines() if line.strip())


if __name__ == "__main__":
    with create_engine("sqlite://").begin() as connection:
        upgrade(connection, Keyring(list))
        sys.stdout.write(structure(connection))
