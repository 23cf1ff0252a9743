"""The inbox as it is stored: its table, its statements, and the rules that need the stored one to be judged.

Knows no caller's permission and opens no transaction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Literal

from sqlalchemy import ColumnElement, Index, Text, false, or_
from sqlmodel import Field, Session, SQLModel, col, func, select
from sqlmodel.sql.expression import SelectOfScalar

from models.columns import Timestamp, now, sortable
from models.config import EVERY_DEPARTMENT, IDENTITY, ImapConfig, InboxConfig, ServerConfig, SmtpConfig
from models.errors import ErrorCode, Problem
from models.fields import address_key, folded, random_id
from models.paging import Order, Paged
from models.secrets import Keyring, Place, Secret
from models.validation import accepted, sentence

Protocol = Literal["smtp", "imap"]
PROTOCOLS: tuple[Protocol, ...] = ("smtp", "imap")
_CONFIGS: Mapping[Protocol, type[ServerConfig]] = {"smtp": SmtpConfig, "imap": ImapConfig}


@dataclass(frozen=True, slots=True)
class StoredServer:
    """A server config as it may be shown: without the password."""

    server: str
    port: int
    username: str
    secure: bool
    has_password: bool
    max_retries: int


class EmailInbox(SQLModel, table=True):
    """One shared inbox. The `_key` columns hold what is compared, searched and sorted."""

    __tablename__: ClassVar[str] = "email_inbox"
    # The index by name is not the same on both databases: migration 0002.
    __table_args__ = tuple(Index(f"ix_email_inbox_{name}", name, "id") for name in ("created_at", "updated_at"))

    id: str = Field(primary_key=True, sa_type=sortable(64))
    name: str = Field(max_length=200)
    name_key: str = Field(sa_type=sortable(800))
    email: str = Field(max_length=254)
    email_key: str = Field(sa_type=sortable(1_000), unique=True)
    search_key: str = Field(sa_type=Text)
    active: bool
    description: str | None = Field(default=None, max_length=2_000)
    sender_info: str | None = Field(default=None, max_length=200)
    department: str | None = Field(default=None, max_length=200, index=True)

    smtp_server: str = Field(max_length=253)
    smtp_port: int
    smtp_username: str = Field(max_length=1_000)
    smtp_password: bytes
    smtp_secure: bool

    imap_server: str = Field(max_length=253)
    imap_port: int
    imap_username: str = Field(max_length=1_000)
    imap_password: bytes
    imap_secure: bool
    imap_max_retries: int

    version: int
    created_at: datetime = Field(sa_type=Timestamp)
    updated_at: datetime = Field(sa_type=Timestamp)
    created_by_id: str | None = Field(default=None, foreign_key="user.id", ondelete="SET NULL", index=True)

    @property
    def smtp(self) -> StoredServer:
        return self._server("smtp", max_retries=0)

    @property
    def imap(self) -> StoredServer:
        return self._server("imap", max_retries=self.imap_max_retries)

    def _server(self, protocol: Protocol, max_retries: int) -> StoredServer:
        identity: dict[str, Any] = {name: getattr(self, f"{protocol}_{name}") for name in IDENTITY}
        return StoredServer(
            **identity, has_password=bool(getattr(self, f"{protocol}_password")), max_retries=max_retries
        )

    def as_values(self) -> dict[str, Any]:
        """The input that would set this inbox again, passwords left out."""
        return {
            "id": self.id,
            "name": self.name,
            "email": self.email,
            "active": self.active,
            "description": self.description,
            "senderInfo": self.sender_info,
            "department": self.department,
            "smtp": {name: getattr(self.smtp, name) for name in IDENTITY},
            "imap": {name: getattr(self.imap, name) for name in IDENTITY} | {"maxRetries": self.imap_max_retries},
        }


class InboxOrder(Paged):
    """The orders in which inboxes are listed."""

    NAME = "name_key"
    EMAIL = "email_key"
    CREATED_AT = "created_at"
    UPDATED_AT = "updated_at"
    ACTIVE = "active"


def password_place(inbox_id: str, protocol: Protocol) -> Place:
    """What the encryption of a mail password is bound to."""
    return Place("email_inbox", inbox_id, f"{protocol}_password")


# --------------------------------------------------------------------------------------------------------- statements


def by_id(inbox_id: str) -> SelectOfScalar[EmailInbox]:
    return select(EmailInbox).where(EmailInbox.id == inbox_id)


def by_email(address: str) -> SelectOfScalar[EmailInbox]:
    """The inbox with this address. Raises EmailNotValidError where it is none."""
    return select(EmailInbox).where(EmailInbox.email_key == address_key(address))


def seen_by(departments: Sequence[str] | None) -> ColumnElement[bool]:
    """The inboxes of these departments and those without one; None: every inbox."""
    if departments is None:
        return ~false()
    department = col(EmailInbox.department)
    return or_(department.is_(None), department.in_(departments))


def matching(active: bool | None, department: str | None) -> list[ColumnElement[bool]]:
    """The conditions of a filter; what is None does not filter."""
    conditions: list[ColumnElement[bool]] = []
    if active is not None:
        conditions.append(col(EmailInbox.active).is_(active))
    if department is not None:
        conditions.append(col(EmailInbox.department).is_not_distinct_from(_department(department)))
    return conditions


def inboxes(*conditions: ColumnElement[bool]) -> SelectOfScalar[EmailInbox]:
    return select(EmailInbox).where(*conditions)


def count(*conditions: ColumnElement[bool]) -> SelectOfScalar[int]:
    return select(func.count()).select_from(EmailInbox).where(*conditions)


def sorted_by(statement: SelectOfScalar[EmailInbox], orders: Sequence[tuple[InboxOrder, Order]]) -> Any:
    """The statement in these orders, made total by the id."""
    columns = [order.of(getattr(EmailInbox, field.value)) for field, order in orders]
    return statement.order_by(*columns, col(EmailInbox.id))


# -------------------------------------------------------------------------------------- rules about the stored inbox


def password_problems(values: Mapping[str, Any], stored: EmailInbox | None) -> list[Problem]:
    """A password may be left out only where a stored one would go to the very server that it was set for."""
    problems = []
    for protocol in PROTOCOLS:
        given = values.get(protocol)
        if isinstance(given, Mapping) and given.get("password") is None and not _unchanged(protocol, given, stored):
            path = ("input", protocol, "password")
            why = "is required" if stored is None else "is required when server, port, username or secure change"
            problems.append(Problem(ErrorCode.PASSWORD_REQUIRED, sentence(path, why), path))
    return problems


def address_problems(session: Session, values: Mapping[str, Any], stored: EmailInbox | None) -> list[Problem]:
    """The address must not belong to another inbox."""
    email = accepted(InboxConfig, "email", values.get("email"))
    if not isinstance(email, str) or (stored and stored.email_key == address_key(email)):
        return []
    if session.exec(select(EmailInbox.id).where(EmailInbox.email_key == address_key(email))).first() is None:
        return []
    path = ("input", "email")
    return [Problem(ErrorCode.TAKEN, sentence(path, "belongs to another inbox already"), path)]


def version_problems(values: Mapping[str, Any], stored: EmailInbox | None) -> list[Problem]:
    """Where the caller names a version, the stored one must be that one."""
    wanted = accepted(InboxConfig, "if_version", values.get("ifVersion"))
    actual = stored.version if stored else None
    if wanted is None or wanted == actual:
        return []
    path = ("input", "ifVersion")
    now_at = f"is not the stored version, {actual}" if stored else "was given, but no inbox has this id"
    return [Problem(ErrorCode.CONFLICT, sentence(path, f"{now_at}: read the inbox again"), path)]


def _unchanged(protocol: Protocol, given: Mapping[str, Any], stored: EmailInbox | None) -> bool:
    if stored is None:
        return False
    config = _CONFIGS[protocol]
    return all(
        accepted(config, name, given[name]) == getattr(stored, f"{protocol}_{name}")
        for name in IDENTITY
        if name in given
    )


# ------------------------------------------------------------------------------------------------------------ writing


def store(
    session: Session, config: InboxConfig, stored: EmailInbox | None, keyring: Keyring, by: str | None
) -> EmailInbox:
    """Writes a valid config over the stored inbox, or as a new one, and returns what is stored now."""
    moment = now()
    inbox_id = stored.id if stored else config.id or random_id()
    columns = {
        "name": config.name,
        "name_key": folded(config.name),
        "email": config.email,
        "email_key": address_key(config.email),
        "search_key": folded("\n".join((config.name, config.email, config.description or ""))),
        "active": config.active,
        "description": config.description,
        "sender_info": config.sender_info,
        "department": _department(config.department),
        "imap_max_retries": config.imap.max_retries,
        **_server_columns("smtp", config.smtp, inbox_id, keyring),
        **_server_columns("imap", config.imap, inbox_id, keyring),
        "version": stored.version + 1 if stored else 1,
        "updated_at": moment,
    }
    if stored is None:
        stored = EmailInbox(**columns, id=inbox_id, created_at=moment, created_by_id=by)
    else:
        stored.sqlmodel_update(columns)
    session.add(stored)
    session.flush()
    return stored


def _server_columns(protocol: Protocol, config: ServerConfig, inbox_id: str, keyring: Keyring) -> dict[str, Any]:
    """The columns of a server; that of the password is left alone where none is given."""
    columns = {f"{protocol}_{name}": getattr(config, name) for name in IDENTITY}
    if config.password is not None:
        password = keyring.encrypt(Secret(config.password), password_place(inbox_id, protocol))
        columns[f"{protocol}_password"] = password
    return columns


def _department(name: str | None) -> str | None:
    return None if name in ("", EVERY_DEPARTMENT) else name
