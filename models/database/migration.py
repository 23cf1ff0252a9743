"""Migrates a database to the schema of this code, and refuses one that it must not touch.

`inspect` changes not a byte. `migrate` runs Alembic in one transaction, under a lock that admits one process at a time;
an interrupted migration changes nothing. An empty SQLite database is created from a generated SQL file, because Alembic
would take a seventh of a first start.
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
"""The newest revision in `migrations/versions/`; a test compares it with Alembic's."""

SCRIPTS = Path(__file__).parents[2] / "migrations"
STRUCTURE = SCRIPTS / "sqlite.sql"
"""The migrated schema of an empty SQLite database. `migrations/structure.py` generates it; a test compares both."""
_LOCK = 0x696E626F78
_CHECK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class DatabaseState:
    """The revision of a database (None if it is empty), and its encryption key ids with their check values."""

    revision: str | None
    keys: list[tuple[str, bytes]]

    def must_exist(self, url: str, data_folder: Path) -> None:
        """Raises StartError if there is no database, or one without tables."""
        if self.revision is None:
            raise StartError(
                f"No database was found: {describe_missing(url)} (data folder: {data_folder.absolute()}). To use "
                "another one, set EMAIL_INBOX_DATA_DIR or EMAIL_INBOX_DATABASE_URL, or pass the settings of the server "
                "by --env-file FILE. The first start of the server makes a database."
            )


async def inspect(database: Database) -> DatabaseState:
    """Reads the state of a database. Raises StartError if it is damaged, foreign, too new or unreachable."""
    return _inspect_sqlite(database.path) if database.path else await _inspect_postgresql(database)


async def migrate(database: Database, keyring: Keyring) -> None:
    """Runs the pending migrations. If one fails, raises StartError and changes nothing.

    The keyring is for migrations that re-encrypt.
    """
    try:
        if database.path:
            make_file(database.path)  # SQLite itself would create it readable to others if the umask allows
        async with database.migrating() as connection:
            await connection.run_sync(_migrate, keyring)
    except (DBAPIError, OSError) as error:
        raise StartError(f"The database can't be brought up to date: {reason(error)}.") from None


async def probe(database: Database) -> None:
    """Writes a value that is already stored: only a write proves that the disk has room. Raises Unavailable."""
    statement = text("UPDATE alembic_version SET version_num = version_num")
    await database.write(lambda session: session.connection().execute(statement))


def revisions() -> list[str]:
    """Returns the revisions that this code knows, oldest first."""
    return sorted(path.name.partition("_")[0] for path in (SCRIPTS / "versions").glob("[0-9]*.py"))


def _migrate(connection: Connection, keyring: Keyring) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    if _revision(connection) != HEAD and not _create_at_once(connection):
        upgrade(connection, keyring)


def _create_at_once(connection: Connection) -> bool:
    """Creates the schema of an empty SQLite database. Returns False, and changes nothing, if Alembic must do it."""
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
    except DBAPIError:  # Alembic then fails at the migration that is the cause
        return False
    return True


def heading() -> str:
    """Returns the first line that `STRUCTURE` has if it is of the newest revision."""
    return f"-- What the migrations up to {HEAD} make of an empty SQLite database. Printed by `make schema`."


def upgrade(connection: Connection, keyring: Keyring) -> None:
    """Runs the pending migrations in the transaction of the connection."""
    # Alembic takes a fifth of a second to import; only an outdated database needs it.
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


def _require_known(revision: str | None, tables: Collection[str]) -> None:
    """Raises StartError if another program, or a newer version of this one, made the database."""
    if revision is None and set(tables) - {"alembic_version"}:
        raise StartError("The database has tables of another application: choose another database.")
    if revision is not None and revision not in revisions():
        raise StartError(
            f"The database is at revision {revision}, which this version does not know: a newer version made it. "
            "Run that version, or restore a backup."
        )


async def _inspect_postgresql(database: Database) -> DatabaseState:
    def read(connection: Connection) -> DatabaseState:
        # Tables first: another process may commit the migration of an empty database in between.
        tables = connection.dialect.get_table_names(connection)
        revision = _revision(connection)
        _require_known(revision, tables)
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
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode={_open_mode(path)}", uri=True, timeout=3)
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


def _open_mode(path: Path) -> str:
    """Returns the mode that opens the file without changing a byte.

    Closing the last read-write connection would checkpoint a write-ahead log into the file; closing the last read-only
    one would leave an empty log behind.
    """
    log = path.with_name(f"{path.name}-wal")
    return "ro" if log.exists() and log.stat().st_size else "rw"


def _check_pages(connection: sqlite3.Connection) -> None:
    """Checks for damage within _CHECK_SECONDS; a database too large for that is checked in part."""
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
    _require_known(revision, tables)
    keys: list[Any] = connection.execute("SELECT id, check_value FROM encryption_key").fetchall() if revision else []
    return DatabaseState(revision, keys)
