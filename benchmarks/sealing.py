"""Encrypts the passwords of copied rows for their own places, where the server that made the first is of this version.

An update proves that what it keeps can be decrypted; other servers do not look, and their copies stay as they are.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from models.errors import StartError
from models.keyfile import KeyFile
from models.secrets import DecryptionError, Keyring, Place, Secret

PROTOCOLS = ("smtp", "imap")
PLACE = ("server", "port", "username", "secure", "tls_fingerprint")
COLUMNS = ("id", *(f"{protocol}_{name}" for protocol in PROTOCOLS for name in (*PLACE, "password")))


def keyring(folder: Path, first: Mapping[str, Any]) -> Keyring | None:
    """The keys of the data folder, where they and this version's encryption fit the first inbox."""
    with suppress(StartError, DecryptionError, KeyError):
        found = Keyring(KeyFile(folder / "secret.key").keys)
        _passwords(found, first)
        return found
    return None


def sealed(keys: Keyring, first: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Any, ...]]:
    """The passwords of each row, and its id."""
    passwords = _passwords(keys, first)
    for row in rows:
        places = [_place(row, protocol) for protocol in PROTOCOLS]
        yield *(keys.encrypt(value, place) for value, place in zip(passwords, places, strict=True)), row["id"]


def _passwords(keys: Keyring, first: Mapping[str, Any]) -> list[Secret]:
    return [keys.decrypt(first[f"{protocol}_password"], _place(first, protocol)) for protocol in PROTOCOLS]


def _place(row: Mapping[str, Any], protocol: str) -> Place:
    where = {name: row[f"{protocol}_{name}"] for name in PLACE} | {"secure": bool(row[f"{protocol}_secure"])}
    return Place("email_inbox", row["id"], f"{protocol}_password", (*where.values(), None, None))
