"""The file that holds the secret keys, one a line in base64, the newest first. Knows no database.

It is replaced whole, so that a reader, in this process or another one, sees the old keys or the new ones.
"""

import os
from collections.abc import Collection
from pathlib import Path

from models.errors import StartError
from models.secrets import Key, new_key


class KeyFile:
    """Reads the keys again when the file has changed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int, int] | None = None
        self._keys: list[Key] = []

    def keys(self) -> list[Key]:
        """Raises StartError where the file can't be read or holds no key."""
        try:
            found = self.path.stat()
            seen = (found.st_ino, found.st_mtime_ns, found.st_size)
            if seen != self._seen:
                self._keys = [Key.parse(line) for line in self._lines()]
                self._seen = seen
        except (OSError, ValueError) as error:
            raise StartError(f"The key file {self.path} can't be used: {_why(error)}.") from None
        if not self._keys:
            raise StartError(f"The key file {self.path} holds no key.")
        return self._keys

    def exists(self) -> bool:
        return self.path.exists()

    def create(self) -> None:
        """Writes the file with a first key. Raises FileExistsError where another process was faster."""
        self._write_new(self.path, [new_key()])

    def add(self) -> None:
        """Puts a new key in front."""
        self._replace([new_key(), *self._lines()])

    def keep(self, key_ids: Collection[bytes]) -> None:
        """Drops the keys with other ids than these."""
        self._replace([line for line in self._lines() if Key.parse(line).id in key_ids])

    def _lines(self) -> list[str]:
        return [line for line in self.path.read_text("ascii").splitlines() if line.strip()]

    def _replace(self, lines: list[str]) -> None:
        new = self.path.with_suffix(".new")
        new.unlink(missing_ok=True)
        self._write_new(new, lines)
        new.replace(self.path)
        _sync_folder(self.path.parent)

    @staticmethod
    def _write_new(path: Path, lines: list[str]) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write("\n".join(lines) + "\n")
            file.flush()
            os.fsync(file.fileno())
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _why(error: Exception) -> str:
    return error.strerror or "it can't be read" if isinstance(error, OSError) else str(error)
