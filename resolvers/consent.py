"""Keeps the refresh tokens that a provider gives in place of stored ones: the old one may be worthless then.

A consent may stand in several inboxes, and several processes may serve them: one at a time asks for a token, and what
it is given is stored wherever the old one was, before the next one asks. Knows no provider.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import structlog

from models import inbox as inboxes
from models import lease
from models.account import Grant, StoredGrant
from models.database import Database
from models.database.columns import now
from models.errors import Unavailable
from models.fields import random_id
from models.secrets import DecryptionError, Keyring, Secret
from models.stored import account

LEASE_POLL_SECONDS = 0.05

log = structlog.get_logger()


class Consents:
    """The stored consents, as whoever fetches access tokens needs them."""

    def __init__(self, database: Database, keyring: Keyring) -> None:
        self._database = database
        self._keyring = keyring

    @asynccontextmanager
    async def alone(self, grant: Grant) -> AsyncIterator[Grant]:
        """Gives the grant with the refresh token that is stored by now. No other process asks for a token meanwhile.

        Where the database can't be written, nobody waits: what would be stored could not be stored either.
        """
        if grant.origin is None:
            yield grant
            return
        lease_id, holder = f"consent-{grant.origin.consent_id}", random_id()
        try:
            await self._take(lease_id, holder)
        except Unavailable:
            log.warning("access token fetched without a lease")
        try:
            yield await self._newest(grant, grant.origin)
        finally:
            with suppress(Unavailable):  # it ends by itself
                await self._database.write(lambda transaction: lease.give_back(transaction, lease_id, holder))

    async def keep(self, grant: Grant, rotated: Secret) -> None:
        """Stores a new refresh token wherever the one of the grant is stored."""
        if grant.origin is not None:
            consent, old = grant.origin.consent_id, grant.refresh_token
            await self._database.write(
                lambda transaction: inboxes.rotate_refresh_token(transaction, consent, old, rotated, self._keyring)
            )

    async def _take(self, lease_id: str, holder: str) -> None:
        while not await self._took(lease_id, holder):  # noqa: ASYNC110 - another process gives it back
            await asyncio.sleep(LEASE_POLL_SECONDS)

    async def _took(self, lease_id: str, holder: str) -> bool:
        if await self._database.find(lease.IS_HELD, lease=lease_id, moment=now()):
            return False
        return await self._database.write(lambda transaction: lease.take(transaction, lease_id, holder))

    async def _newest(self, grant: Grant, origin: StoredGrant) -> Grant:
        """What the inbox holds of the same consent by now. Nothing is taken from another inbox, with another server."""
        with suppress(Unavailable, DecryptionError):
            for inbox in await self._database.find(inboxes.BY_ID, id=origin.inbox_id):
                login = account(inbox, origin.protocol, self._keyring).login
                if isinstance(login, Grant) and login.origin == origin:
                    return replace(grant, refresh_token=login.refresh_token)
        return grant
