"""Encryption at rest, and the type of a secret in memory. Knows no table and no file.

A stored value is `key id (8 bytes) · form (1) · nonce (12) · AES-256-GCM ciphertext and tag` (NIST SP 800-38D). The
associated data is its place: table, row id, column, and whatever says where the secret is sent. A value that is copied
to another row or field, or whose row names another server by now, fails to decrypt.
"""

import base64
import binascii
import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_ID_BYTES = 8
FORM = b"\x02"
"""The form of a stored value. Values of before migration 0004 have none, and are not accepted: they were bound to no
server."""
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
    """Where an encrypted value is stored, and what is stored beside it that says where it is sent."""

    table: str
    row: str
    column: str
    bound_to: tuple[str | int | bool | None, ...] = ()

    def associated_data(self) -> bytes:
        """A JSON array (RFC 8259): no two places give the same one. Raises TypeError for values of other types."""
        return orjson.dumps([FORM[0], self.table, self.row, self.column, *self.bound_to])


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
        return self.id + FORM + self.seal(value.reveal().encode(), place.associated_data())

    def decrypt(self, stored: bytes, place: Place) -> Secret:
        """Raises DecryptionError where `stored` was made by another key, for another place, or was changed."""
        if not stored.startswith(self.id + FORM):
            raise DecryptionError
        try:
            return Secret(self.unseal(stored[KEY_ID_BYTES + len(FORM) :], place.associated_data()).decode())
        except (UnicodeDecodeError, TypeError):
            raise DecryptionError from None

    def seal(self, text: bytes, associated_data: bytes) -> bytes:
        """`nonce · ciphertext and tag`."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, text, associated_data)

    def unseal(self, sealed: bytes, associated_data: bytes) -> bytes:
        """Raises DecryptionError."""
        try:
            return self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], associated_data)
        except (InvalidTag, ValueError):
            raise DecryptionError from None


class DecryptionError(Exception):
    """A stored secret can't be decrypted: wrong key, or a value that was changed, moved, or set for another server."""

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
        return self.key_of(stored).decrypt(stored, place)

    def key_of(self, stored: bytes) -> Key:
        """The key that a value names. Raises DecryptionError where it is not here."""
        for key in self._load():
            if stored.startswith(key.id):
                return key
        raise DecryptionError


def new_key() -> str:
    """A new key, as it is written in a key file or in EMAIL_INBOX_SECRET_KEYS."""
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()
