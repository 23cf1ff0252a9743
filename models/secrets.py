"""Encryption at rest, and the type of a secret in memory. Knows no table and no file.

A stored value is `key id (8 bytes) · nonce (12) · AES-256-GCM ciphertext and tag`, bound to its place: the associated
data is table, row id and column, so that a value copied to another row or field fails to decrypt (NIST SP 800-38D).
"""

import base64
import binascii
import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_ID_BYTES = 8
NONCE_BYTES = 12
KEY_BYTES = 32


class Secret:
    """A string that prints itself as `***`. `reveal()` is the only way to its value."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "***"


@dataclass(frozen=True, slots=True)
class Place:
    """Where an encrypted value is stored."""

    table: str
    row: str
    column: str

    def associated_data(self) -> bytes:
        return "\0".join((self.table, self.row, self.column)).encode()


class Key:
    """One AES-256 key and the id under which its values are found."""

    def __init__(self, raw: bytes) -> None:
        self.id = hashlib.sha256(b"email-inbox key id\0" + raw).digest()[:KEY_ID_BYTES]
        self._cipher = AESGCM(raw)

    @classmethod
    def parse(cls, text: str) -> "Key":
        """The key that `text` spells in base64. Raises ValueError, which does not repeat the text."""
        try:
            raw = base64.b64decode(text.strip(), validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        if len(raw) != KEY_BYTES:
            raise ValueError("a secret key must be 32 bytes in base64")
        return cls(raw)

    def encrypt(self, value: Secret, place: Place) -> bytes:
        nonce = secrets.token_bytes(NONCE_BYTES)
        return self.id + nonce + self._cipher.encrypt(nonce, value.reveal().encode(), place.associated_data())

    def decrypt(self, stored: bytes, place: Place) -> Secret:
        """Raises DecryptionError where `stored` was made by another key, for another place, or was changed."""
        nonce, text = stored[KEY_ID_BYTES:][:NONCE_BYTES], stored[KEY_ID_BYTES + NONCE_BYTES :]
        try:
            return Secret(self._cipher.decrypt(nonce, text, place.associated_data()).decode())
        except (InvalidTag, ValueError):
            raise DecryptionError from None


class DecryptionError(Exception):
    """A stored secret can't be decrypted: wrong key, or a value that was changed or moved."""

    def __init__(self) -> None:
        super().__init__(type(self).__doc__)


class Keyring:
    """The keys of this server: the first encrypts, all decrypt.

    `load` is asked at every use, so that a key which another process adds is known at once.
    """

    def __init__(self, load: Callable[[], list[Key]]) -> None:
        self._load = load

    @property
    def first(self) -> Key:
        return self._load()[0]

    def encrypt(self, value: Secret, place: Place) -> bytes:
        return self.first.encrypt(value, place)

    def decrypt(self, stored: bytes, place: Place) -> Secret:
        """Raises DecryptionError."""
        for key in self._load():
            if stored.startswith(key.id):
                return key.decrypt(stored, place)
        raise DecryptionError


def new_key() -> str:
    """A new key, as it is written in a key file or in EMAIL_INBOX_SECRET_KEYS."""
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()
