"""The keys that this database's values are encrypted with, and the rotation to a new key.

Every key that was ever first has a check value here, so that a missing key is found at startup and not at the first
mail. Knows no key file.
"""

from collections.abc import Sequence
from datetime import datetime
from itertools import product
from typing import Any, ClassVar

from sqlalchemy import text
from sqlmodel import Field, Session, SQLModel, col, func, or_, select
from sqlmodel.sql.expression import SelectOfScalar

from models.database.columns import Timestamp, now
from models.database.transaction import Transaction
from models.errors import ProductError, StartError
from models.inbox import NEXT_TO_CHANGE, EmailInbox, change
from models.secrets import KEY_ID_BYTES, DecryptionError, Key, Keyring, Place, Secret
from models.stored import PROTOCOLS, SECRETS, StoredInbox, secret_place

ROTATION_BATCH_SIZE = 200
_CHECK = b"the key fits"


class RotationError(ProductError):
    """A stored secret can't be decrypted."""


class EncryptionKey(SQLModel, table=True):
    """A key that encrypted values of this database: its id, and a text that only this key decrypts."""

    __tablename__: ClassVar[str] = "encryption_key"

    id: str = Field(primary_key=True, max_length=2 * KEY_ID_BYTES)
    check_value: bytes
    created_at: datetime = Field(sa_type=Timestamp)


def known_keys() -> SelectOfScalar[EncryptionKey]:
    return select(EncryptionKey).order_by(col(EncryptionKey.created_at))


def verify(known: Sequence[tuple[str, bytes]], keyring: Keyring) -> None:
    """Raises StartError if a key that this database needs, given by id and check value, is not in the keyring."""
    for key_id, check_value in known:
        try:
            keyring.key_of(check_value).unseal(check_value[KEY_ID_BYTES:], _associated_data(key_id))
        except DecryptionError:
            raise StartError(
                f"The database was encrypted with key {key_id}, which is not among the secret keys. Put it back into "
                "EMAIL_INBOX_SECRET_KEYS or the key file."
            ) from None


def register(session: Session, keyring: Keyring) -> None:
    """Stores the check value of the key that encrypts. Raises StartError as `verify` does.

    If two servers with different keys start on an empty database, the second one is refused.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.connection().execute(text("LOCK TABLE encryption_key IN SHARE ROW EXCLUSIVE MODE"))
    verify([(key.id, key.check_value) for key in session.exec(known_keys())], keyring)
    first = keyring.first
    if session.get(EncryptionKey, first.id.hex()) is None:
        session.add(EncryptionKey(id=first.id.hex(), check_value=_seal_check_value(first), created_at=now()))
        session.flush()


def reencrypt(transaction: Transaction, keyring: Keyring, after: str) -> tuple[int, str | None]:
    """Encrypts the next batch of old values anew. Returns the number of changed inboxes and the id to continue after.

    The id is None after the last batch. The rotation may stop at any time: a batch is all or nothing, and values under
    the first key are skipped. Raises RotationError.
    """
    inboxes = transaction.run(NEXT_TO_CHANGE, after=after, size=ROTATION_BATCH_SIZE)
    changed = sum(_reencrypt(transaction, inbox, keyring) for inbox in inboxes)
    return changed, inboxes[-1].id if len(inboxes) == ROTATION_BATCH_SIZE else None


def retire(session: Session, keyring: Keyring) -> list[bytes]:
    """Deletes the keys that no value needs any more, and returns the ids of the remaining ones."""
    first = keyring.first.id
    for key in session.exec(known_keys()).all():
        if key.id != first.hex() and not _is_in_use(session, bytes.fromhex(key.id)):
            session.delete(key)
    session.flush()
    return [bytes.fromhex(key.id) for key in session.exec(known_keys())]


def unfinished(session: Session, keyring: Keyring) -> bool:
    """Whether any value is still encrypted with a key other than the first."""
    first = keyring.first.id.hex()
    return any(
        key.id != first and _is_in_use(session, bytes.fromhex(key.id)) for key in session.exec(known_keys()).all()
    )


def _reencrypt(transaction: Transaction, inbox: StoredInbox, keyring: Keyring) -> bool:
    columns: dict[str, Any] = {}
    for protocol, name in product(PROTOCOLS, SECRETS):
        column, place = f"{protocol}_{name}", secret_place(inbox, protocol, name)
        stored: bytes | None = getattr(inbox, column)
        if stored and not stored.startswith(keyring.first.id):
            columns[column] = keyring.encrypt(_decrypt(stored, place, keyring), place)
    change(transaction, inbox, inbox._replace(**columns))
    return bool(columns)


def _decrypt(stored: bytes, place: Place, keyring: Keyring) -> Secret:
    try:
        return keyring.decrypt(stored, place)
    except DecryptionError:
        raise RotationError(
            f"The {place.column} of inbox {place.row} can't be decrypted: set it anew, then rotate again."
        ) from None


def _is_in_use(session: Session, key_id: bytes) -> bool:
    columns = [getattr(EmailInbox, f"{protocol}_{name}") for protocol, name in product(PROTOCOLS, SECRETS)]
    prefixes = [func.substr(column, 1, KEY_ID_BYTES) for column in columns]
    statement = select(EmailInbox.id).where(or_(*(prefix == key_id for prefix in prefixes))).limit(1)
    return session.exec(statement).first() is not None


def _seal_check_value(key: Key) -> bytes:
    """Seals the check text, bound to its place alone, since it is sent nowhere; in the form of the first version."""
    return key.id + key.seal(_CHECK, _associated_data(key.id.hex()))


def _associated_data(key_id: str) -> bytes:
    return "\0".join(("encryption_key", key_id, "check_value")).encode()
