"""Hashing of the passwords of users (argon2id, RFC 9106). Slow on purpose: call it off the event loop."""

import secrets
from base64 import b64encode

import argon2
from argon2.low_level import ARGON2_VERSION

_HASHER = argon2.PasswordHasher()


def _unknown() -> str:
    """The hash of a password that nobody knows, in the form of the Argon2 library. To make a true one takes 0.1 s."""
    salt, digest = (
        b64encode(secrets.token_bytes(size)).decode().rstrip("=") for size in (_HASHER.salt_len, _HASHER.hash_len)
    )
    costs = f"m={_HASHER.memory_cost},t={_HASHER.time_cost},p={_HASHER.parallelism}"
    return f"$argon2id$v={ARGON2_VERSION}${costs}${salt}${digest}"


_UNKNOWN_USER_HASH = _unknown()


def hash_password(password: str) -> str:
    """The hash to store."""
    return _HASHER.hash(password)


def verify_password(stored: str | None, password: str) -> bool:
    """Whether the password is the one that was hashed. Without a hash it takes as long and is False."""
    try:
        return _HASHER.verify(stored or _UNKNOWN_USER_HASH, password) and stored is not None
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError, UnicodeError):
        return False
