"""Fills a server's data folder with inboxes, quickly and alike for every server. Knows no table but by its name.

The server itself makes the first inbox; the others are copies of its row, in which the tag of the first is replaced by
theirs wherever it stands. Their passwords are encrypted anew where the server would miss that: `sealing.py`.
"""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import postgresql, sealing
from benchmarks.failure import Failure
from benchmarks.kinds import Kind
from benchmarks.servers import URL, running
from benchmarks.work import FIRST, ID_OF_FIRST

DATABASE = "email-inbox.sqlite3"
TAG = ID_OF_FIRST.rpartition("-")[2]


def fill(kind: Kind, folder: Path, inboxes: int, url: str | None = None) -> None:
    """Makes a data folder with so many inboxes, which are in this empty database where one is given. Raises Failure."""
    folder.mkdir()
    if url:
        (folder / URL).write_text(url)
    with running(kind, folder, logged=True) as server:
        status, text = server.post(FIRST)
    if status != 200 or not json.loads(text).get("data", {}).get("setEmailInbox", {}).get("success"):
        raise Failure(f"{kind.name} did not make the first inbox: {status} {text}")
    if url:
        postgresql.copy_first(url, inboxes, ID_OF_FIRST, TAG, folder)
        return
    with closing(sqlite3.connect(folder / DATABASE)) as connection:
        _copy_first(connection, inboxes)
        _seal(connection, folder)
        _merge_indexes(connection)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@contextmanager
def copied(filled: Path) -> Iterator[Path]:
    """A fresh copy of a filled folder and of its database, until the end of the block."""
    with TemporaryDirectory(dir=filled.parent, prefix="copy-") as name, ExitStack() as stack:
        folder = Path(name) / "data"
        shutil.copytree(filled, folder)
        url = folder / URL
        if url.exists():
            url.write_text(stack.enter_context(postgresql.copy_of(url.read_text())))
        yield folder


def _merge_indexes(connection: sqlite3.Connection) -> None:
    """Search indexes that grow day by day merge as they grow. After so many rows at once, later changes would pay."""
    found = connection.execute("SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE VIRTUAL TABLE%USING fts5(%'")
    with connection:
        for (name,) in found.fetchall():
            connection.execute(f'INSERT INTO "{name}" ("{name}") VALUES (\'optimize\')')


def _copy_first(connection: sqlite3.Connection, inboxes: int) -> None:
    cursor = connection.execute("SELECT * FROM email_inbox WHERE id = ?", (ID_OF_FIRST,))
    row = cursor.fetchone()
    columns = [f'"{column[0]}"' for column in cursor.description]
    copies = [
        f"replace({column}, '{TAG}', printf('%08d', number))" if isinstance(value, str) else column
        for column, value in zip(columns, row, strict=True)
    ]
    with connection:
        connection.execute(
            f"""WITH RECURSIVE numbers (number) AS
                    (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number + 1 < ?)
                INSERT INTO email_inbox ({", ".join(columns)})
                SELECT {", ".join(copies)} FROM numbers, email_inbox WHERE id = ?""",
            (inboxes, ID_OF_FIRST),
        )


def _seal(connection: sqlite3.Connection, folder: Path) -> None:
    connection.row_factory = sqlite3.Row
    first = dict(connection.execute("SELECT * FROM email_inbox WHERE id = ?", (ID_OF_FIRST,)).fetchone())
    if keys := sealing.keyring(folder, first):
        rows = connection.execute(f"SELECT {', '.join(sealing.COLUMNS)} FROM email_inbox").fetchall()
        change = "UPDATE email_inbox SET smtp_password = ?, imap_password = ? WHERE id = ?"
        with connection:
            connection.executemany(change, sealing.sealed(keys, first, [dict(row) for row in rows]))
    connection.row_factory = None
