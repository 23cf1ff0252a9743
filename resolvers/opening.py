"""Opens the context of the resolvers: database, keys and mail. Knows no environment variable."""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Protocol

import structlog

from mail.service import Mail
from models import key
from models.database import open_database
from models.database.migration import inspect, migrate
from models.files import is_open_to_all
from models.keyfile import KeyFile, open_keyring
from models.observer import Observer
from models.secrets import Key
from resolvers.consent import Consents
from resolvers.context import Context
from resolvers.events import Events
from resolvers.mail_limits import MailQuota
from resolvers.throttle import Throttle

TOKEN_GRACE_SECONDS = 1.0
"""How long fetches of access tokens may go on at shutdown: a response may hold a new refresh token to store."""

log = structlog.get_logger()


class Configuration(Protocol):
    """The settings that a context is opened with."""

    @property
    def url(self) -> str: ...
    @property
    def data_dir(self) -> Path: ...
    @property
    def own_folder(self) -> Path | None: ...
    @property
    def keys(self) -> list[Key]: ...
    @property
    def key_file(self) -> KeyFile | None: ...
    @property
    def mail_hosts_allow(self) -> Sequence[str]: ...
    @property
    def mail_ports(self) -> Collection[int] | None: ...
    @property
    def ca_file(self) -> Path | None: ...


@asynccontextmanager
async def open_context(
    settings: Configuration, observer: Observer | None = None, *, makes: bool = True
) -> AsyncIterator[Context]:
    """Yields the context of every request, with the database migrated and the keys loaded. Raises StartError.

    `makes`: whether a missing database is made. Nothing on disk is changed before the database proves to be intact, of
    a known version, and encrypted with these keys.
    """
    observer, keys = observer or Observer(), settings.keys
    mail = Mail.of(settings.mail_hosts_allow, settings.mail_ports, settings.ca_file)
    async with open_database(settings.url, observer) as database:
        state = await inspect(database)
        if not makes:
            state.must_exist(settings.url, settings.data_dir)
        keyring = open_keyring(keys, settings.key_file, settings.own_folder, first_start=not state.keys)
        key.verify(state.keys, keyring)
        await migrate(database, keyring)
        await database.write(lambda transaction: key.register(transaction, keyring))
        if database.path and is_open_to_all(database.path):
            log.warning("database open to every user", path=str(database.path), fix=f"chmod 600 {database.path}")
        consents = Consents(database, keyring)
        mail.tokens.alone, mail.tokens.on_rotation = consents.alone, consents.keep
        try:
            yield Context(
                database, keyring, Events(database, observer), Throttle(observer), mail, MailQuota(), observer
            )
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(TOKEN_GRACE_SECONDS):
                    await mail.tokens.finish()


async def existing_database(settings: Configuration) -> str:
    """Returns the URL of the database. Raises StartError if it does not exist."""
    async with open_database(settings.url) as database:
        (await inspect(database)).must_exist(settings.url, settings.data_dir)
    return settings.url
