"""Makes folders and files for secrets, private from the moment they exist.

A command of root may work in the data folder of the server's user. The files that it makes there belong to that user,
or the server could not use them. SQLite does the same for the files that it makes beside a database.
"""

import os
import stat
from contextlib import suppress
from pathlib import Path


def make_folder(folder: Path) -> None:
    """Makes the folder and its missing parents with mode 0700. Raises OSError."""
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
    """Makes an empty file with mode 0600, unless it exists. Raises OSError."""
    place = Path(os.path.realpath(path))
    with suppress(FileExistsError):
        descriptor = os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
        try:
            give_to_owner(descriptor, place.parent)
        finally:
            os.close(descriptor)


def give_to_owner(descriptor: int, folder: Path) -> None:
    """Gives a file that root made to the owner of the folder. Does nothing on file systems without owners."""
    if os.geteuid() == 0:
        owner = folder.stat()
        with suppress(PermissionError):
            os.fchown(descriptor, owner.st_uid, owner.st_gid)


def make_like(descriptor: int, original: os.stat_result) -> None:
    """Gives a file the owner and the mode of the one that it replaces. Raises PermissionError if it may not."""
    made = os.fstat(descriptor)
    if (made.st_uid, made.st_gid) != (original.st_uid, original.st_gid):
        os.fchown(descriptor, original.st_uid, original.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(original.st_mode))


def is_open_to_all(path: Path) -> bool:
    """Whether every user of the machine may read or write the file. Raises OSError."""
    return bool(path.stat().st_mode & stat.S_IRWXO)
