"""Direct access to the stored rows, keys and files, and faults of a disk."""

import hashlib
import os
import shutil
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlmodel import col, select

from models.database import open_database
from models.inbox import EmailInbox
from models.keyfile import KeyFile
from models.secrets import Keyring
from models.stored import PROTOCOLS, StoredInbox, secret_of
from resolvers.inbox import set_in
from settings import Settings
from tests.conftest import IN_CI
from tests.inboxes import inbox_values

DATABASE = "email-inbox.sqlite3"


def snapshot(folder: Path) -> dict[str, tuple[int, str]]:
    """Returns mode and content of every file in the folder; empty if it does not exist."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mode, _digest(path)) for path in sorted(folder.rglob("*"))
    } | ({".": (folder.stat().st_mode, "")} if folder.exists() else {})


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


@contextmanager
def sql(folder: Path) -> Iterator[sqlite3.Connection]:
    """Opens the SQLite database in the data folder directly. Commits and closes it at the end."""
    with closing(sqlite3.connect(folder / DATABASE, timeout=15)) as connection, connection:
        yield connection


async def fill(settings: Settings, count: int) -> None:
    """Stores the inboxes `box-0000` onwards, with passwords such as `smtp-box-0000`, in one transaction."""
    async with open_database(settings.url) as database:
        keyring = keyring_of(settings)

        def unit(session):  # type: ignore[no-untyped-def]
            for number in range(count):
                set_in(session, box_values(number), keyring, None)

        await database.write(unit)


def box_values(number: int) -> dict[str, Any]:
    """Returns the input of the inbox `box-0000` or a later one."""
    name = f"box-{number:04}"
    return inbox_values(
        id=name, email=f"{name}@example.org", smtp__password=f"smtp-{name}", imap__password=f"imap-{name}"
    )


async def inboxes_of(settings: Settings) -> list[EmailInbox]:
    async with open_database(settings.url) as database:
        return list(await database.read(select(EmailInbox).order_by(col(EmailInbox.id))))


def stored_of(inbox: EmailInbox) -> StoredInbox:
    """Returns the same inbox as a plain row."""
    return EmailInbox.of_row(getattr(inbox, name) for name in EmailInbox.read)


def keyring_of(settings: Settings) -> Keyring:
    return Keyring(KeyFile(settings.data_dir / "secret.key").keys)


def passwords_of(inbox: EmailInbox, keyring: Keyring) -> tuple[str, ...]:
    """Returns the passwords for SMTP and IMAP. Raises DecryptionError."""
    return tuple(secret_of(stored_of(inbox), protocol, "password", keyring).reveal() for protocol in PROTOCOLS)


# ----------------------------------------------------------------------------------------------------------- faults


@asynccontextmanager
async def locked(settings: Settings) -> AsyncIterator[None]:
    """Locks the database as another process does that is writing."""
    async with open_database(settings.url) as database, database.engine.begin() as connection:
        if database.path is None:
            await connection.execute(text("LOCK TABLE email_inbox, alembic_version IN EXCLUSIVE MODE"))
        yield


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Makes the folder read-only, for root too."""
    _mount("--bind", str(folder), str(folder))
    try:
        _mount("-o", "remount,bind,ro", str(folder))
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """Mounts a disk of this size on the folder, with a copy of its content."""
    aside = folder.with_name(f"{folder.name}.aside")
    shutil.copytree(folder, aside)
    _mount("-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(folder))
    try:
        shutil.copytree(aside, folder, dirs_exist_ok=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill_up(folder: Path) -> Path:
    """Fills the disk to the last byte. Returns the file to delete afterwards."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for piece in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    file.write(b"\0" * piece)
            except OSError:
                pass
    return ballast


@contextmanager
def immutable(*files: Path) -> Iterator[None]:
    """Makes the files immutable, also for handles that are already open."""
    _privileged("chattr", "+i", *(str(file) for file in files))
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", *map(str, files)], check=True)


def _mount(*arguments: str) -> None:
    _privileged("mount", *arguments)


def _privileged(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, check=False) if shutil.which(command[0]) else None
    if done is None or done.returncode:
        why = f"{' '.join(command)}: {done.stderr.decode().strip() if done else 'not installed'}"
        if IN_CI and os.geteuid() == 0:
            pytest.fail(f"compulsory for root in CI: {why}")
        pytest.skip(f"needs root: {why}")
