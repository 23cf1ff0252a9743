"""Copies the whole database to a file while the server runs."""

from pathlib import Path

from models.database import backup


def back_up_database(url: str, file: Path) -> None:
    """Copies the database at `url` to a file that does not exist yet. Raises BackupError."""
    backup.back_up(url, file)
