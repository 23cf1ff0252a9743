"""Makes a consistent copy of a database in use. The copy does not contain the secret keys."""

import os
import shutil
import sqlite3
import subprocess
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy.engine import URL, make_url

from models.database import sqlite_path
from models.errors import ProductError

_LIBPQ = {
    "host": "PGHOST",
    "port": "PGPORT",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "passfile": "PGPASSFILE",
    "database": "PGDATABASE",
    "ssl": "PGSSLMODE",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
    "krbsrvname": "PGKRBSRVNAME",
    "gsslib": "PGGSSLIB",
}
"""Connection options of the driver, and the libpq variables that set the same."""
_OVERRIDES = ("PGSERVICE", "PGSERVICEFILE", "PGHOSTADDR")
"""Variables that override `PGHOST`: libpq would connect to another server than the URL names."""


class BackupError(ProductError):
    """The backup could not be made."""


def back_up(url: str, target: Path) -> None:
    """Writes the copy: an SQLite file, or the output of `pg_dump --format=custom`. Mode 0600.

    The target appears only when it is complete. Raises BackupError if it exists already or can't be written.
    """
    if target.exists():
        raise _already_exists(target)
    path = sqlite_path(url)
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        os.close(descriptor)
        partial = Path(name)
        try:
            _copy_sqlite(path, partial) if path else _dump_postgresql(make_url(url), partial)
            _publish(partial, target)
        finally:
            partial.unlink(missing_ok=True)
    except FileExistsError:
        raise _already_exists(target) from None
    except OSError as error:
        raise BackupError(f"The backup {target} can't be written: {error.strerror}.") from None
    except sqlite3.Error as error:
        raise BackupError(f"The backup can't be made: {error}.") from None


def _already_exists(target: Path) -> BackupError:
    return BackupError(f"{target} already exists: choose another file.")


def _publish(partial: Path, target: Path) -> None:
    """Links the file to its name, which must not exist. If the file system has no links, such as FAT, renames it."""
    try:
        os.link(partial, target)
    except FileExistsError:
        raise
    except OSError:
        partial.rename(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _copy_sqlite(path: Path, target: Path) -> None:
    source = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=15)
    with closing(source), closing(sqlite3.connect(target)) as copy:
        source.backup(copy)


def _dump_postgresql(url: URL, target: Path) -> None:
    program = shutil.which("pg_dump")
    if program is None:
        raise BackupError("pg_dump is needed to back up PostgreSQL: install the PostgreSQL client programs.")
    done = subprocess.run(  # noqa: S603
        [program, "--format=custom", f"--file={target}"],
        env=_libpq_environment(url),
        capture_output=True,
        check=False,
    )
    if done.returncode:
        complaints = done.stderr.decode(errors="replace").splitlines() or [f"exit status {done.returncode}"]
        raise BackupError(f"The backup can't be made: {complaints[-1]}.")


def _libpq_environment(url: URL) -> dict[str, str]:
    """Builds the environment in which a PostgreSQL program connects to the database of the URL.

    The URL, whose query may hold a password too, is not passed as an argument: every user of the machine can see those.
    """
    _, options = url.set(drivername="postgresql+asyncpg").get_dialect()().create_connect_args(url)
    options.setdefault("ssl", options.pop("sslmode", None))
    given = {variable: options.get(name) for name, variable in _LIBPQ.items()}
    overrides = _OVERRIDES if "host" in options else ()
    inherited = {name: value for name, value in os.environ.items() if name not in overrides}
    return inherited | {name: _join_arguments(value) for name, value in given.items() if value is not None}


def _join_arguments(value: Any) -> str:
    """Joins the names or ports of several hosts."""
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
