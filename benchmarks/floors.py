"""How fast sqlite3 alone puts rows on disk: no HTTP, no event loop, one connection, a commit after every few rows.

Run as a program, it measures: folder, seconds and rows a commit in, rows a second out.
"""

import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

from benchmarks import cpus
from benchmarks.failure import Failure

BATCHES = (1, 32)
TEXT = "x" * 500


def rows_a_second(folder: Path, seconds: int, batch: int) -> float:
    """Measures in a process of its own, on the server's core. Raises Failure."""
    command = [sys.executable, "-m", "benchmarks.floors", str(folder), str(seconds), str(batch)]
    process = subprocess.Popen(command, cwd=Path(__file__).parent.parent, stdout=subprocess.PIPE, text=True)
    cpus.give_servers(process.pid)
    said, _ = process.communicate()
    if process.returncode:
        raise Failure("sqlite3 alone could not be measured.")
    return float(said)


def _measure(folder: Path, seconds: int, batch: int) -> float:
    """An inbox's worth of bytes a row, under a primary key of text and a unique address."""
    with closing(sqlite3.connect(folder / f"floor-{batch}.sqlite3", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE IF NOT EXISTS inbox (id TEXT PRIMARY KEY, email TEXT UNIQUE, text TEXT)")
        first: int = connection.execute("SELECT count(*) FROM inbox").fetchone()[0]
        number, started = first, time.perf_counter()
        while time.perf_counter() - started < seconds:
            connection.execute("BEGIN IMMEDIATE")
            for _ in range(batch):
                row = (f"inbox-{number:08d}", f"support-{number:08d}@example.org", TEXT)
                connection.execute("INSERT INTO inbox VALUES (?, ?, ?)", row)
                number += 1
            connection.execute("COMMIT")
        return (number - first) / (time.perf_counter() - started)


if __name__ == "__main__":
    print(_measure(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
