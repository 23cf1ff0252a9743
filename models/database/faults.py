"""Classifies database errors: outage, conflict with another writer, or error of the statement.

An error is SQLAlchemy's DBAPIError, which wraps the driver's, or a bare error of the `sqlite3` module.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from models.errors import Unavailable
from models.observer import Observer

SQLITE_BUSY = 5
# SQLITE_BUSY, LOCKED, READONLY, IOERR, CORRUPT, FULL, CANTOPEN, NOTADB: faults of the machine, not of the statement.
_SQLITE_OUTAGES = {5, 6, 8, 10, 11, 13, 14, 26}
# Connection exceptions, insufficient resources (disk full), operator intervention, read-only replica, lock timeout,
# corrupted data; login refused; database missing or closed to connections; idle transaction timeout.
_POSTGRESQL_OUTAGES = ("08", "53", "57", "25006", "55P03", "XX001", "XX002", "28", "3D", "55000", "25P03")
# Serialization failure, deadlock: the unit is retried.
_POSTGRESQL_RACES = ("40001", "40P01")
_POSTGRESQL_REFERENCE = "23503"

log = structlog.get_logger()


@contextmanager
def translated(observer: Observer) -> Iterator[None]:
    """Converts an outage to Unavailable, and logs it. Passes every other error on."""
    try:
        yield
    except (DBAPIError, sqlite3.Error, PoolTimeout, OSError) as error:
        if not is_outage(error):
            raise
        log.warning("database unavailable", reason=reason(error))
        observer.unavailable()
        raise Unavailable from None


def is_outage(error: Exception) -> bool:
    """Whether it is a fault of the machine: disk, lock or connection. The same unit may succeed later."""
    if (code := sqlite_code(error)) is not None:
        return code in _SQLITE_OUTAGES
    if not isinstance(error, DBAPIError):
        return isinstance(error, PoolTimeout | OSError)
    return error.connection_invalidated or _sqlstate(error).startswith(_POSTGRESQL_OUTAGES)


def lost_a_race(error: DBAPIError | sqlite3.IntegrityError) -> bool:
    """Whether the unit conflicted with another writer. A retry sees what that one wrote."""
    return isinstance(error, IntegrityError | sqlite3.IntegrityError) or _sqlstate(error) in _POSTGRESQL_RACES


def is_missing_reference(error: DBAPIError | sqlite3.IntegrityError) -> bool:
    """Whether a foreign key refers to a missing row. A retry does not help."""
    name: str | None = getattr(getattr(error, "orig", error), "sqlite_errorname", None)
    return name == "SQLITE_CONSTRAINT_FOREIGNKEY" or _sqlstate(error) == _POSTGRESQL_REFERENCE


def was_interrupted(error: Exception) -> bool:
    """Whether SQLite interrupted a statement that took too long."""
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT


def sqlite_code(error: Exception) -> int | None:
    """Returns the primary code of an SQLite error, raised by either library."""
    code: int | None = getattr(getattr(error, "orig", error), "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _sqlstate(error: DBAPIError | sqlite3.IntegrityError) -> str:
    return getattr(getattr(error, "orig", None), "sqlstate", None) or ""


def reason(error: Exception) -> str:
    """Returns the driver's message, in one line and without the statement."""
    lines = str(getattr(error, "orig", None) or error).splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
