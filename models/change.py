"""The log of changes of inboxes, written in the transaction of the change and read by subscriptions.

Knows no subscriber. `seq` grows in the order of the commits, because writers take turns: a sequence alone would let a
later number be seen before an earlier one.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from operator import itemgetter
from typing import Any, ClassVar

from sqlalchemy import BigInteger, Integer, delete, insert
from sqlalchemy import select as select_columns
from sqlmodel import Field, SQLModel, col, func

from models.database.columns import Timestamp, now
from models.database.prepared import Prepared
from models.database.transaction import Transaction
from models.inbox import EmailInbox
from models.stored import StoredInbox

CHANNEL = "email_inbox_change"
RETENTION = timedelta(hours=24)
MAX_CHANGES = 1_000_000


class ChangeKind(StrEnum):
    """What happened to an inbox."""

    CREATED = "CREATED"
    UPDATED = "UPDATED"
    DELETED = "DELETED"


class EmailInboxChange(SQLModel, table=True):
    """One committed change. The departments tell who may know of it: who served the inbox before, and after."""

    __tablename__: ClassVar[str] = "email_inbox_change"
    __table_args__ = ({"sqlite_autoincrement": True},)

    seq: int | None = Field(
        default=None,
        primary_key=True,
        sa_type=BigInteger().with_variant(Integer(), "sqlite"),
    )
    inbox_id: str = Field(max_length=64)
    kind: str = Field(max_length=16)
    department: str | None = Field(default=None, max_length=200)
    previous_department: str | None = Field(default=None, max_length=200)
    changed_at: datetime = Field(sa_type=Timestamp, index=True)
    changed_by_id: str | None = Field(default=None, max_length=64)


_INSERT: Prepared[Any] = Prepared(
    insert(EmailInboxChange),
    tuple,
    columns=("inbox_id", "kind", "department", "previous_department", "changed_at", "changed_by_id"),
)


def record(
    transaction: Transaction, kind: ChangeKind, inbox: StoredInbox, previous: str | None, by: str | None
) -> None:
    """Adds the change to the transaction; on PostgreSQL, wakes every replica once it is committed."""
    transaction.notify(CHANNEL)
    transaction.run(
        _INSERT,
        inbox_id=inbox.id,
        kind=kind,
        department=inbox.department,
        previous_department=previous,
        changed_at=now(),
        changed_by_id=by,
    )


def _end(of: Any) -> Prepared[int]:
    """The first or last number of the log; 0 where it is empty."""
    return Prepared(select_columns(func.coalesce(of(EmailInboxChange.seq), 0)), itemgetter(0))


FIRST_SEQ, LAST_SEQ = _end(func.min), _end(func.max)


def since(seq: int, up_to: int | None, limit: int) -> Any:
    """The changes after `seq`, in order, each with the columns of its inbox as it is stored now, or with NULLs."""
    statement = (
        select_columns(EmailInboxChange, *(getattr(EmailInbox, name) for name in EmailInbox.read))
        .join(EmailInbox, col(EmailInbox.id) == EmailInboxChange.inbox_id, isouter=True)
        .where(col(EmailInboxChange.seq) > seq)
        .order_by(col(EmailInboxChange.seq))
        .limit(limit)
    )
    return statement if up_to is None else statement.where(col(EmailInboxChange.seq) <= up_to)


def prune(transaction: Transaction) -> None:
    """Deletes the changes that are older than what a subscriber may catch up on, never the newest one.

    Whoever changes inboxes without pause fills no disk: of more than so many, the oldest go earlier.
    """
    [newest] = transaction.run(LAST_SEQ)
    for old in (
        col(EmailInboxChange.changed_at) < now() - RETENTION,
        col(EmailInboxChange.seq) <= newest - MAX_CHANGES,
    ):
        transaction.connection().execute(delete(EmailInboxChange).where(old, col(EmailInboxChange.seq) < newest))
