"""A consistent copy of the database while it is in use. The secret keys are not in it. Knows no table."""

import os
import shutil
import sqlite3
import subprocess
from pathlib import Path

from sqlalchemy.engine import URL, make_url

from models.database import sqlite_path
from models.errors import ProductError


class BackupError(ProductError):
    """The backup could not be made."""


def back_up(url: str, target: Path) -> None:
    """Writes the copy: an SQLite file, or on PostgreSQL what `pg_dump --format=custom` gives. Mode 0600.

    The target appears when it is whole. Raises BackupError where it exists already or can't be written.
    """
    if target.exists():
        raise BackupError(f"{target} exists already: name another file.")
    path, partial = sqlite_path(url), target.with_name(f".{target.name}.partial")
    try:
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        _copy_sqlite(path, partial) if path else _dump_postgresql(make_url(url), partial)
        os.link(partial, target)
    except (OSError, sqlite3.Error) as error:
        raise BackupError(f"The backup could not be made: {error}.") from None
    finally:
        partial.unlink(missing_ok=True)


def _copy_sqlite(path: Path, target: Path) -> None:
    source = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=15)
    copy = sqlite3.connect(target)
    try:
        source.backup(copy)
    finally:
        copy.close()
        source.close()


def _dump_postgresql(url: URL, target: Path) -> None:
    program = shutil.which("pg_dump")
    if program is None:
        raise BackupError("pg_dump is needed to back up PostgreSQL: install the PostgreSQL client programs.")
    # The password goes by the environment: arguments can be seen by every user of the machine.
    environment = {**os.environ, "PGPASSWORD": url.password or ""} if url.password else dict(os.environ)
    place = url.set(drivername="postgresql", password=None).render_as_string(hide_password=False)
    done = subprocess.run(  # noqa: S603
        [program, "--format=custom", f"--file={target}", f"--dbname={place}"],
        env=environment,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise BackupError(f"pg_dump failed: {done.stderr.decode(errors='replace').splitlines()[-1:]}")
