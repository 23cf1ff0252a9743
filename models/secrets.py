"""Encryption at rest, and the type of a secret in memory. Knows no table and no file.

A stored value is `key id (8 bytes) · form (1) · nonce (12) · AES-256-GCM ciphertext and tag` (NIST SP 800-38D). The
associated data is its place: table, row id, column, and the server that the secret is sent to. A value that was copied
to another row or field, or whose row has since been pointed at another server, fails to decrypt.
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
"""The form of a stored value. Values from before migration 0004 have none and are refused, since they are bound to no
server."""
NONCE_BYTES = 12
KEY_BYTES = 32


class Secret:
    """A string whose text form is `***`. Only `reveal()` returns its value."""

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
    """Where an encrypted value is stored, and the stored values that determine where it is sent."""

    table: str
    row: str
    column: str
    bound_to: tuple[str | int | bool | None, ...] = ()

    def associated_data(self) -> bytes:
        """Returns a JSON array (RFC 8259), unique to the place. Raises TypeError for values of other types."""
        return orjson.dumps([FORM[0], self.table, self.row, self.column, *self.bound_to])


class Key:
    """One AES-256 key and the id under which its values are found."""

    def __init__(self, raw: bytes) -> None:
        self.id = hashlib.sha256(b"email-inbox key id\0" + raw).digest()[:KEY_ID_BYTES]
        self._cipher = AESGCM(raw)

    @classmethod
    def parse(cls, text: str) -> "Key":
        """Decodes a key from base64. Raises ValueError, which does not repeat the text."""
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
        """Raises DecryptionError if `stored` was encrypted with another key, for another place, or was changed."""
        if not stored.startswith(self.id + FORM):
            raise DecryptionError
        try:
            return Secret(self.unseal(stored[KEY_ID_BYTES + len(FORM) :], place.associated_data()).decode())
        except (UnicodeDecodeError, TypeError):
            raise DecryptionError from None

    def seal(self, text: bytes, associated_data: bytes) -> bytes:
        """Returns `nonce · ciphertext and tag`."""
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

    Every use calls `load`, so that a key that another process adds is available at once.
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
        """Returns the key that a value names. Raises DecryptionError if it is missing."""
        for key in self._load():
            if stored.startswith(key.id):
                return key
        raise DecryptionError


def new_key() -> str:
    """Returns a new key in the form of a key file or of EMAIL_INBOX_SECRET_KEYS."""
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()
