"""Stores the refresh tokens with which a provider replaces stored ones: the old one may be invalid from then on.

Several inboxes may share a consent, and several processes may serve them. Only one at a time requests a token, and the
new refresh token replaces the old one in every inbox before the next request. Knows no provider.
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
    """The stored consents, as `mail/oauth2.py` uses them to fetch access tokens."""

    def __init__(self, database: Database, keyring: Keyring) -> None:
        self._database = database
        self._keyring = keyring

    @asynccontextmanager
    async def alone(self, grant: Grant) -> AsyncIterator[Grant]:
        """Yields the grant with the refresh token stored now. No other process requests a token meanwhile.

        If the database can't be written, goes on without the lease: a new refresh token could not be stored either.
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
            yield await self._read_newest(grant, grant.origin)
        finally:
            with suppress(Unavailable):  # the lease expires
                await self._database.write(lambda transaction: lease.give_back(transaction, lease_id, holder))

    async def keep(self, grant: Grant, rotated: Secret) -> None:
        """Replaces the refresh token of the grant by a new one, in every inbox that holds it."""
        if grant.origin is not None:
            consent, old = grant.origin.consent_id, grant.refresh_token
            await self._database.write(
                lambda transaction: inboxes.rotate_refresh_token(transaction, consent, old, rotated, self._keyring)
            )

    async def _take(self, lease_id: str, holder: str) -> None:
        while not await self._try_to_take(lease_id, holder):  # noqa: ASYNC110 - another process gives it back
            await asyncio.sleep(LEASE_POLL_SECONDS)

    async def _try_to_take(self, lease_id: str, holder: str) -> bool:
        if await self._database.find(lease.IS_HELD, lease=lease_id, moment=now()):
            return False
        return await self._database.write(lambda transaction: lease.take(transaction, lease_id, holder))

    async def _read_newest(self, grant: Grant, origin: StoredGrant) -> Grant:
        """Reads the consent's current refresh token, only from its own inbox: others may name another server."""
        with suppress(Unavailable, DecryptionError):
            for inbox in await self._database.find(inboxes.BY_ID, id=origin.inbox_id):
                login = account(inbox, origin.protocol, self._keyring).login
                if isinstance(login, Grant) and login.origin == origin:
                    return replace(grant, refresh_token=login.refresh_token)
        return grant
