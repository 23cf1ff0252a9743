"""Hashing of the passwords of users (argon2id, RFC 9106). Slow on purpose: call it off the event loop."""

import argon2

_HASHER = argon2.PasswordHasher()
_NOBODY = _HASHER.hash("nobody has this password")


def hash_password(password: str) -> str:
    """The hash to store."""
    return _HASHER.hash(password)


def verify_password(stored: str | None, password: str) -> bool:
    """Whether the password is the one that was hashed. Without a hash it takes as long and is False."""
    try:
        return _HASHER.verify(stored or _NOBODY, password) and stored is not None
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError, UnicodeError):
        return False
