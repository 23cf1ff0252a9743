"""The file of the secret keys: one a line in base64, the newest first. Knows no database.

The file is replaced atomically, so that a reader, in this process or another one, sees the old keys or the new ones.
"""

import os
import stat
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path

import structlog

from models.errors import StartError, Unavailable
from models.files import give_to_owner, make_folder, make_like
from models.secrets import Key, Keyring, new_key

log = structlog.get_logger()


def open_keyring(given: list[Key], key_file: "KeyFile | None", folder: Path | None, *, first_start: bool) -> Keyring:
    """Returns the given keys, or those of the file, which the first start makes. Makes `folder` if it is missing.

    Raises StartError if the key file is missing at a later start, or can't be used.
    """
    if key_file and not key_file.exists() and not first_start:
        raise StartError(f"The key file {key_file.path} is missing: put it back, or set EMAIL_INBOX_SECRET_KEYS.")
    if folder:
        _make_folder(folder)
    if key_file is None:
        return Keyring(lambda: given)
    if not key_file.exists():
        key_file.create()
    key_file.keys()
    return Keyring(key_file.keys_now)


def _make_folder(folder: Path) -> None:
    try:
        make_folder(folder)
    except OSError as error:
        raise StartError(f"The data folder {folder} can't be made: {error.strerror}.") from None


class KeyFile:
    """Reads the keys again when the file has changed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int, int] | None = None
        self._keys: list[Key] = []

    def exists(self) -> bool:
        """Raises StartError if the folder can't be read, or if the file is open to every user of the machine."""
        try:
            found = self.path.exists()
            mode = stat.S_IMODE(self.path.stat().st_mode) if found else 0
        except OSError as error:
            raise StartError(f"The key file {self.path} can't be used: {_reason(error)}.") from None
        if mode & stat.S_IRWXO:
            raise StartError(
                f"The key file {self.path} is open to every user of this machine (mode {mode:04o}): "
                f"run `chmod 600 {self.path}`."
            )
        return found

    def keys(self) -> list[Key]:
        """Raises StartError if the file can't be read or holds no key."""
        try:
            found = self.path.stat()
            seen = (found.st_ino, found.st_mtime_ns, found.st_size)
            if seen != self._seen:
                self._keys = [Key.parse(line) for line in self._read_lines()]
                self._seen = seen
        except (OSError, ValueError) as error:
            raise StartError(f"The key file {self.path} can't be used: {_reason(error)}.") from None
        if not self._keys:
            raise StartError(f"The key file {self.path} holds no key.")
        return self._keys

    def keys_now(self) -> list[Key]:
        """Returns the keys in a running server. Raises Unavailable, so that no key encrypts that is not on disk."""
        try:
            return self.keys()
        except StartError as error:
            log.error("secret keys unavailable", reason=str(error))
            raise Unavailable from None

    def create(self) -> None:
        """Writes the file with a first key, unless another process has just done so. Raises StartError."""
        try:
            with self._write_temporary([new_key()], None) as new, suppress(FileExistsError):
                os.link(new, self.path)
            _sync_folder(self.path.parent)
        except OSError as error:
            raise StartError(f"The key file {self.path} can't be made: {_reason(error)}.") from None

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Locks the file for changes by this process. Raises Unavailable if another process holds the lock."""
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            flock(folder, LOCK_EX | LOCK_NB)
            yield
        except BlockingIOError:
            raise Unavailable("Another process is changing the keys: wait for it to end.") from None
        finally:
            os.close(folder)

    def add(self) -> None:
        """Adds a new key at the beginning."""
        self._replace([new_key(), *self._read_lines()])

    def keep(self, key_ids: Collection[bytes]) -> None:
        """Removes the keys with other ids than these."""
        self._replace([line for line in self._read_lines() if Key.parse(line).id in key_ids])

    def _read_lines(self) -> list[str]:
        return [line for line in self.path.read_text("ascii").splitlines() if line.strip()]

    def _replace(self, lines: list[str]) -> None:
        """Replaces the file atomically. Raises OSError, also if the owner can't be kept."""
        with self._write_temporary(lines, self.path.stat()) as new:
            new.rename(self.path)
        _sync_folder(self.path.parent)

    @contextmanager
    def _write_temporary(self, lines: list[str], original: os.stat_result | None) -> Iterator[Path]:
        """Writes the lines to a private temporary file in the same folder, synced, for the caller to link or rename.

        The file has the owner and mode of the original, or else mode 0600 and the owner of the folder.
        """
        descriptor, name = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                if original:
                    make_like(descriptor, original)
                else:
                    give_to_owner(descriptor, self.path.parent)
                file.write("\n".join(lines) + "\n")
                file.flush()
                os.fsync(file.fileno())
            yield Path(name)
        finally:
            Path(name).unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reason(error: Exception) -> str:
    return error.strerror or "it can't be read" if isinstance(error, OSError) else str(error)
