"""Folders and files that hold secrets: private from the moment they exist, whoever makes them. Knows no content.

A command of root may work in the data folder of the server's user. What it makes there belongs to that user, or the
server could not use it. SQLite does the same for the files that it makes beside a database.
"""

import os
import stat
from contextlib import suppress
from pathlib import Path


def make_folder(folder: Path) -> None:
    """Makes the folder, and those above it that are missing, with mode 0700. Raises OSError."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        give_to_owner(descriptor, folder.parent)
    finally:
        os.close(descriptor)


def make_file(path: Path) -> None:
    """Makes an empty file of mode 0600, unless there is one. Raises OSError."""
    place = Path(os.path.realpath(path))
    with suppress(FileExistsError):
        descriptor = os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
        try:
            give_to_owner(descriptor, place.parent)
        finally:
            os.close(descriptor)


def give_to_owner(descriptor: int, folder: Path) -> None:
    """Gives what root has made to whoever owns the folder. Some file systems know no owners: there, nothing happens."""
    if os.geteuid() == 0:
        owner = folder.stat()
        with suppress(PermissionError):
            os.fchown(descriptor, owner.st_uid, owner.st_gid)


def make_like(descriptor: int, original: os.stat_result) -> None:
    """Gives a file the owner and the mode of the one that it replaces. Raises PermissionError where it may not."""
    made = os.fstat(descriptor)
    if (made.st_uid, made.st_gid) != (original.st_uid, original.st_gid):
        os.fchown(descriptor, original.st_uid, original.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(original.st_mode))


def is_open_to_all(path: Path) -> bool:
    """Whether every user of the machine may read or write the file. Raises OSError."""
    return bool(path.stat().st_mode & stat.S_IRWXO)
