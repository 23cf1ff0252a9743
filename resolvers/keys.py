"""Encrypts every stored secret with a new key while the server runs."""

from contextlib import nullcontext

from models import key
from models.database import Database
from models.keyfile import KeyFile
from models.secrets import Keyring
from resolvers.context import Context


async def rotate_keys(context: Context, key_file: KeyFile | None) -> int:
    """Encrypts every mail password with a new key and returns the number of changed inboxes.

    With a key file, adds a new key at its beginning; without one (EMAIL_INBOX_SECRET_KEYS), the first given key is the
    new one. The process may be killed at any time: the old key stays, and the next call continues. The next rotation
    removes old keys that no value needs, so that no running server loses the key that it is using.
    Raises Unavailable if another rotation is running.
    """
    with key_file.changing() if key_file else nullcontext():
        return await _rotate(context.database, context.keyring, key_file)


async def _rotate(database: Database, keyring: Keyring, key_file: KeyFile | None) -> int:
    await database.write(lambda session: key.register(session, keyring))
    needed = await database.write(lambda session: key.retire(session, keyring))
    if key_file:
        key_file.keep(needed)
        if await _is_finished(database, keyring):
            key_file.add()
    await database.write(lambda session: key.register(session, keyring))
    return await _reencrypt_all(database, keyring)


async def _reencrypt_all(database: Database, keyring: Keyring) -> int:
    changed, after = 0, ""
    while True:
        batch, following = await _write_batch(database, keyring, after)
        changed += batch
        if following is None:
            return changed
        after = following


async def _write_batch(database: Database, keyring: Keyring, after: str) -> tuple[int, str | None]:
    return await database.write(lambda session: key.reencrypt(session, keyring, after))


async def _is_finished(database: Database, keyring: Keyring) -> bool:
    """Whether the last rotation is complete: only then is another new key added."""
    return not await database.write(lambda session: key.unfinished(session, keyring))
