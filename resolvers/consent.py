"""Keeps the refresh tokens that a provider gives in place of stored ones: the old one may be good for nothing then.

Knows no provider. Whoever asks mail servers on behalf of a stored inbox says so, and says nothing of what is not saved.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from mail.oauth2 import OnRotation
from models import inbox as inboxes
from models.account import Grant
from models.database import Database
from models.secrets import Keyring, Secret

_INBOX: ContextVar[str | None] = ContextVar("inbox", default=None)


@contextmanager
def on_behalf_of(inbox_id: str | None) -> Iterator[None]:
    """What is rotated within, belongs to this inbox."""
    token = _INBOX.set(inbox_id)
    try:
        yield
    finally:
        _INBOX.reset(token)


def keeping(database: Database, keyring: Keyring) -> OnRotation:
    """Stores a new refresh token in the inbox that is worked for, where it still holds the old one."""

    async def keep(grant: Grant, rotated: Secret) -> None:
        inbox_id, old = _INBOX.get(), grant.refresh_token
        if inbox_id is not None:
            await database.write(lambda session: inboxes.rotate_refresh_token(session, inbox_id, old, rotated, keyring))

    return keep
