"""The log of changes of inboxes, written in the transaction of the change and read by subscriptions.

`seq` grows in the order of the commits, because transactions that write run one at a time: with a sequence alone, a
later number could become visible before an earlier one.
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
    """One committed change. The inbox's departments before and after it decide who may see it."""

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
    """Adds the change to the transaction; on PostgreSQL, the commit notifies every replica."""
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


def _prepare_end(aggregate: Any) -> Prepared[int]:
    """Prepares the query for the first or last `seq` of the log; 0 if the log is empty."""
    return Prepared(select_columns(func.coalesce(aggregate(EmailInboxChange.seq), 0)), itemgetter(0))


FIRST_SEQ, LAST_SEQ = _prepare_end(func.min), _prepare_end(func.max)


def since(seq: int, up_to: int | None, limit: int) -> Any:
    """Selects the changes after `seq`, in order, each with the columns of its inbox as stored now, or NULLs."""
    statement = (
        select_columns(EmailInboxChange, *(getattr(EmailInbox, name) for name in EmailInbox.read))
        .join(EmailInbox, col(EmailInbox.id) == EmailInboxChange.inbox_id, isouter=True)
        .where(col(EmailInboxChange.seq) > seq)
        .order_by(col(EmailInboxChange.seq))
        .limit(limit)
    )
    return statement if up_to is None else statement.where(col(EmailInboxChange.seq) <= up_to)


def prune(transaction: Transaction) -> None:
    """Deletes the changes older than RETENTION, but never the newest one.

    Above MAX_CHANGES, the oldest are deleted earlier, so that a client that writes all the time does not fill the disk.
    """
    [newest] = transaction.run(LAST_SEQ)
    for is_old in (
        col(EmailInboxChange.changed_at) < now() - RETENTION,
        col(EmailInboxChange.seq) <= newest - MAX_CHANGES,
    ):
        transaction.connection().execute(delete(EmailInboxChange).where(is_old, col(EmailInboxChange.seq) < newest))
