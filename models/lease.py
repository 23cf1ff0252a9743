"""Leases in the database: only the process that holds a lease does the work that it names.

A lease expires, so that a killed process does not block the others for long.
"""

from datetime import datetime, timedelta
from typing import Any, ClassVar

from sqlalchemy import bindparam, delete, insert, select
from sqlmodel import Field, SQLModel

from models.database.columns import Timestamp, now
from models.database.prepared import Prepared
from models.database.transaction import Transaction

LEASE_SECONDS = timedelta(seconds=15)


class Lease(SQLModel, table=True):
    """A lease with its holder and the time when it expires."""

    __tablename__: ClassVar[str] = "lease"

    id: str = Field(primary_key=True, max_length=64)
    holder: str = Field(max_length=64)
    ends_at: datetime = Field(sa_type=Timestamp)


_TABLE: Any = SQLModel.metadata.tables["lease"]
_OF_ID = _TABLE.c.id == bindparam("lease")
_HELD: Prepared[Any] = Prepared(select(_TABLE.c.id).where(_OF_ID), tuple)
_INSERT: Prepared[Any] = Prepared(insert(_TABLE), tuple, columns=_TABLE.c.keys())
_END: Prepared[Any] = Prepared(delete(_TABLE).where(_OF_ID, _TABLE.c.holder == bindparam("by")), tuple)
_END_OLD: Prepared[Any] = Prepared(delete(_TABLE).where(_TABLE.c.ends_at <= bindparam("moment")), tuple)
IS_HELD: Prepared[Any] = Prepared(
    select(_TABLE.c.id).where(_OF_ID, _TABLE.c.ends_at > bindparam("moment", type_=Timestamp())), tuple
)
"""The lease with an id, if it is held at a moment."""


def take(transaction: Transaction, lease_id: str, holder: str) -> bool:
    """Takes the lease; False if it is held. Safe, because the units of all processes run one after the other."""
    moment = now()
    transaction.run(_END_OLD, moment=moment)
    if transaction.run(_HELD, lease=lease_id):
        return False
    transaction.run(_INSERT, id=lease_id, holder=holder, ends_at=moment + LEASE_SECONDS)
    return True


def give_back(transaction: Transaction, lease_id: str, holder: str) -> None:
    transaction.run(_END, lease=lease_id, by=holder)
