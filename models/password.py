"""Hashes users' passwords (argon2id, RFC 9106). Slow on purpose: call it off the event loop."""

import secrets
from base64 import b64encode

import argon2
from argon2.low_level import ARGON2_VERSION

_HASHER = argon2.PasswordHasher()


def _make_unknown_hash() -> str:
    """Returns a random hash in the form of the Argon2 library, without the 0.1 s that hashing a password takes."""
    salt, digest = (
        b64encode(secrets.token_bytes(size)).decode().rstrip("=") for size in (_HASHER.salt_len, _HASHER.hash_len)
    )
    costs = f"m={_HASHER.memory_cost},t={_HASHER.time_cost},p={_HASHER.parallelism}"
    return f"$argon2id$v={ARGON2_VERSION}${costs}${salt}${digest}"


_UNKNOWN_USER_HASH = _make_unknown_hash()


def hash_password(password: str) -> str:
    """Returns the hash to store."""
    return _HASHER.hash(password)


def verify_password(stored: str | None, password: str) -> bool:
    """Whether the password matches the hash. Without a hash it takes as long and is False."""
    try:
        return _HASHER.verify(stored or _UNKNOWN_USER_HASH, password) and stored is not None
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError, UnicodeError):
        return False
