"""Brings a database to the schema of this code, and refuses one that it must not touch. Knows no table.

`inspect` reads and changes not a byte; `migrate` runs Alembic in one transaction, under a lock that lets one process
in at a time. A migration that is interrupted has changed nothing. An empty SQLite database is made from what the
migrations were printed into, because Alembic takes a seventh of a first start.
"""

import sqlite3
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from models.database import Database, describe_missing
from models.database.faults import reason
from models.errors import StartError
from models.files import make_file
from models.secrets import Keyring

HEAD = "0004"
"""The newest revision in `migrations/versions/`; a test holds it against Alembic's."""

SCRIPTS = Path(__file__).parents[2] / "migrations"
STRUCTURE = SCRIPTS / "sqlite.sql"
"""What the migrations make of an empty SQLite database: printed by `migrations/structure.py`, held to it by a test."""
_LOCK = 0x696E626F78
_CHECK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class DatabaseState:
    """What a database is found to be: its revision (None: empty), and the key ids and check values that it holds."""

    revision: str | None
    keys: list[tuple[str, bytes]]

    def must_exist(self, url: str, data_folder: Path) -> None:
        """Raises StartError where there is no database, or one without tables."""
        if self.revision is None:
            raise StartError(
                f"No database was found: {describe_missing(url)} (data folder: {data_folder.absolute()}). To use "
                "another one, set EMAIL_INBOX_DATA_DIR or EMAIL_INBOX_DATABASE_URL, or pass the settings of the server "
                "by --env-file FILE. The first start of the server makes a database."
            )


async def inspect(database: Database) -> DatabaseState:
    """Reads how the database stands. Raises StartError where it is damaged, foreign, too new or out of reach."""
    return _inspect_sqlite(database.path) if database.path else await _inspect_postgresql(database)


async def migrate(database: Database, keyring: Keyring) -> None:
    """Runs the migrations that are missing. Raises StartError where that fails; nothing is changed then.

    The keys are for a migration that encrypts anew.
    """
    try:
        if database.path:
            make_file(database.path)  # SQLite itself would let others read it, where the umask does
        async with database.migrating() as connection:
            await connection.run_sync(_migrate, keyring)
    except (DBAPIError, OSError) as error:
        raise StartError(f"The database can't be brought up to date: {reason(error)}.") from None


async def probe(database: Database) -> None:
    """Writes what is written already: the only way to know that a disk has room. Raises Unavailable."""
    statement = text("UPDATE alembic_version SET version_num = version_num")
    await database.write(lambda session: session.connection().execute(statement))


def revisions() -> list[str]:
    """The revisions that this code knows, oldest first."""
    return sorted(path.name.partition("_")[0] for path in (SCRIPTS / "versions").glob("[0-9]*.py"))


def _migrate(connection: Connection, keyring: Keyring) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    if _revision(connection) != HEAD and not _create_at_once(connection):
        upgrade(connection, keyring)


def _create_at_once(connection: Connection) -> bool:
    """Makes what is to be in an empty SQLite database. False, and nothing is done, where that is Alembic's work."""
    if connection.dialect.name != "sqlite" or connection.dialect.get_table_names(connection):
        return False
    first, *statements = STRUCTURE.read_text("utf-8").split("\n\n")
    if first != heading():
        return False
    try:
        with connection.begin_nested():
            for statement in statements:
                connection.exec_driver_sql(statement)
            connection.execute(text("INSERT INTO alembic_version VALUES (:head)"), {"head": HEAD})
    except DBAPIError:  # the migration that it comes from says what is in the way
        return False
    return True


def heading() -> str:
    """The first line of `STRUCTURE` where it is of the newest revision."""
    return f"-- What the migrations up to {HEAD} make of an empty SQLite database. Printed by `make schema`."


def upgrade(connection: Connection, keyring: Keyring) -> None:
    """Runs the migrations that are missing, in the transaction of the connection."""
    # Alembic takes a fifth of a second to import: only a database that is behind needs it.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    config.attributes["connection"] = connection
    config.attributes["keyring"] = keyring
    command.upgrade(config, HEAD)


def _revision(connection: Connection) -> str | None:
    if not connection.dialect.has_table(connection, "alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _judge(revision: str | None, tables: Collection[str]) -> None:
    """Raises StartError where this is the database of another program, or of a newer version of this one."""
    if revision is None and set(tables) - {"alembic_version"}:
        raise StartError("The database has tables of another application: choose another database.")
    if revision is not None and revision not in revisions():
        raise StartError(
            f"The database is at revision {revision}, which this version does not know: a newer version made it. "
            "Run that version, or restore a backup."
        )


async def _inspect_postgresql(database: Database) -> DatabaseState:
    def read(connection: Connection) -> DatabaseState:
        # In this order: between the two, another process may commit the migration of an empty database.
        tables = connection.dialect.get_table_names(connection)
        revision = _revision(connection)
        _judge(revision, tables)
        keys = connection.execute(text("SELECT id, check_value FROM encryption_key")).all() if revision else []
        return DatabaseState(revision, [(key_id, bytes(value)) for key_id, value in keys])

    try:
        async with database.engine.connect() as connection:
            return await connection.run_sync(read)
    except (DBAPIError, OSError, TypeError, ValueError) as error:
        raise StartError(f"The database is out of reach: {reason(error)}.") from None


def _inspect_sqlite(path: Path) -> DatabaseState:
    connection: sqlite3.Connection | None = None
    try:
        if not path.exists() or path.stat().st_size == 0:
            return DatabaseState(None, [])
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode={_mode(path)}", uri=True, timeout=3)
        _check_pages(connection)
        return _read_sqlite(connection)
    except sqlite3.DatabaseError as error:
        advice = "" if isinstance(error, sqlite3.OperationalError) else " Restore it from a backup."
        raise StartError(f"The database {path} can't be used: {error}.{advice}") from None
    except OSError as error:
        raise StartError(
            f"The database {path} can't be used: {error.strerror}. Run this as the user that owns the data folder."
        ) from None
    finally:
        if connection:
            connection.close()


def _mode(path: Path) -> str:
    """How to open the file so that not a byte changes.

    Closing the last writing connection would fold a write-ahead log into the file; closing the last reading one would
    leave an empty log behind.
    """
    log = path.with_name(f"{path.name}-wal")
    return "ro" if log.exists() and log.stat().st_size else "rw"


def _check_pages(connection: sqlite3.Connection) -> None:
    """Looks for damage for as long as a start may take; a database too large for that is checked in part."""
    deadline = time.monotonic() + _CHECK_SECONDS
    connection.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
    try:
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        found = "ok"
    finally:
        connection.set_progress_handler(None, 0)
    if found != "ok":
        raise sqlite3.DatabaseError("it is damaged")


def _read_sqlite(connection: sqlite3.Connection) -> DatabaseState:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    versions = "SELECT version_num FROM alembic_version" if "alembic_version" in tables else "SELECT NULL"
    row = connection.execute(versions).fetchone()
    revision: str | None = row[0] if row else None
    _judge(revision, tables)
    keys: list[Any] = connection.execute("SELECT id, check_value FROM encryption_key").fetchall() if revision else []
    return DatabaseState(revision, keys)
