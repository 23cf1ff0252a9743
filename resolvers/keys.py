"""Turning every stored secret over to a new key, while the server works. Knows no shell."""

from contextlib import nullcontext

from models import key
from models.database import Database
from models.keyfile import KeyFile
from models.secrets import Keyring
from resolvers.context import Context


async def rotate_keys(context: Context, key_file: KeyFile | None) -> int:
    """Encrypts every mail password with a new key and returns how many inboxes that changed.

    With a key file, a new key is put in front of it; without one (EMAIL_INBOX_SECRET_KEYS), the first key given is the
    new one. It may be killed at any time: the old key stays, and the next call goes on. Old keys are dropped by the
    next rotation, once nothing needs them, so that no running server is left without the key that it is using.
    Raises Unavailable where another rotation is under way.
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
    return await _turn_over(database, keyring)


async def _turn_over(database: Database, keyring: Keyring) -> int:
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
    """Whether the last rotation was not cut short: only then another new key makes sense."""
    return not await database.write(lambda session: key.unfinished(session, keyring))
