"""The inbox as it is stored: its table, its statements, and the rules that need the stored one to be judged.

Knows no caller's permission and opens no transaction.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import ColumnElement, Index, Text, false, or_
from sqlmodel import Field, Session, SQLModel, col, func, select
from sqlmodel.sql.expression import SelectOfScalar

from models.account import Account, Grant
from models.columns import Timestamp, json_object, now, sortable
from models.config import EVERY_DEPARTMENT, IDENTITY, ImapConfig, InboxConfig, Protocol, ServerConfig, SmtpConfig
from models.errors import ErrorCode, FieldPath, Problem
from models.fields import address_key, folded, random_id
from models.oauth2 import StoredOAuth2, public_part
from models.paging import Order, Paged
from models.secrets import DecryptionError, Keyring, Place, Secret
from models.validation import accepted, sentence

PROTOCOLS: tuple[Protocol, ...] = ("smtp", "imap")
SECRETS = ("password", "refresh_token", "client_secret")
"""The columns of a server that are encrypted; empty or NULL where there is no such secret."""

_CONFIGS: Mapping[Protocol, type[ServerConfig]] = {"smtp": SmtpConfig, "imap": ImapConfig}
_MOVED = "when server, port, username, secure or the trusted certificate change"
_NONE = b""


@dataclass(frozen=True, slots=True)
class StoredServer:
    """A server config as it may be shown: without its secrets."""

    server: str
    port: int
    username: str
    secure: bool
    has_password: bool
    max_retries: int
    tls_fingerprint: str | None
    oauth2: StoredOAuth2 | None

    def as_values(self) -> dict[str, Any]:
        """The input that would set it again, secrets left out."""
        values = {name: getattr(self, name) for name in IDENTITY} | {"tlsFingerprint": self.tls_fingerprint}
        return values | {"oauth2": self.oauth2.as_values()} if self.oauth2 else values


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
    smtp_tls_fingerprint: str | None = Field(default=None, max_length=64)
    smtp_oauth2: dict[str, Any] | None = Field(default=None, sa_type=json_object())
    smtp_refresh_token: bytes | None = None
    smtp_client_secret: bytes | None = None

    imap_server: str = Field(max_length=253)
    imap_port: int
    imap_username: str = Field(max_length=1_000)
    imap_password: bytes
    imap_secure: bool
    imap_tls_fingerprint: str | None = Field(default=None, max_length=64)
    imap_oauth2: dict[str, Any] | None = Field(default=None, sa_type=json_object())
    imap_refresh_token: bytes | None = None
    imap_client_secret: bytes | None = None
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
            **identity,
            has_password=bool(getattr(self, f"{protocol}_password")),
            max_retries=max_retries,
            tls_fingerprint=getattr(self, f"{protocol}_tls_fingerprint"),
            oauth2=self._oauth2(protocol),
        )

    def _oauth2(self, protocol: Protocol) -> StoredOAuth2 | None:
        stored: dict[str, Any] | None = getattr(self, f"{protocol}_oauth2")
        has_secret = bool(getattr(self, f"{protocol}_client_secret"))
        return StoredOAuth2.of(stored, has_client_secret=has_secret) if stored else None

    def as_values(self) -> dict[str, Any]:
        """The input that would set this inbox again, secrets left out."""
        return {
            "id": self.id,
            "name": self.name,
            "email": self.email,
            "active": self.active,
            "description": self.description,
            "senderInfo": self.sender_info,
            "department": self.department,
            "smtp": self.smtp.as_values(),
            "imap": self.imap.as_values() | {"maxRetries": self.imap_max_retries},
        }


class InboxOrder(Paged):
    """The orders in which inboxes are listed."""

    NAME = "name_key"
    EMAIL = "email_key"
    CREATED_AT = "created_at"
    UPDATED_AT = "updated_at"
    ACTIVE = "active"


def secret_place(inbox_id: str, protocol: Protocol, name: str) -> Place:
    """What the encryption of one of the `SECRETS` is bound to."""
    return Place("email_inbox", inbox_id, f"{protocol}_{name}")


# ----------------------------------------------------------------------------------------------- the account, to log in


def account(inbox: EmailInbox, protocol: Protocol, keyring: Keyring) -> Account:
    """The account at the server, its secrets in clear. Raises DecryptionError."""
    server = inbox.smtp if protocol == "smtp" else inbox.imap
    consent = server.oauth2
    login: Secret | Grant
    if consent:
        client_secret = _secret(inbox, protocol, "client_secret", keyring) if consent.has_client_secret else None
        refresh_token = _secret(inbox, protocol, "refresh_token", keyring)
        login = Grant(consent.token_url, consent.client_id, client_secret, refresh_token, consent.scope)
    else:
        login = _secret(inbox, protocol, "password", keyring)
    return Account(server.server, server.port, server.username, server.secure, login, server.tls_fingerprint)


def _secret(inbox: EmailInbox, protocol: Protocol, name: str, keyring: Keyring) -> Secret:
    stored: bytes | None = getattr(inbox, f"{protocol}_{name}")
    return keyring.decrypt(stored or _NONE, secret_place(inbox.id, protocol, name))


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
    """A secret may be left out only where a stored one would go to the very place that it was set for."""
    problems = []
    for protocol in PROTOCOLS:
        given = values.get(protocol)
        if isinstance(given, Mapping):
            server = (stored.smtp if protocol == "smtp" else stored.imap) if stored else None
            problems += _secret_problems(protocol, given, server)
    return problems


def _secret_problems(protocol: Protocol, given: Mapping[str, Any], stored: StoredServer | None) -> list[Problem]:
    path = ("input", protocol)
    consent, has_password = given.get("oauth2"), given.get("password") is not None
    if consent is not None and has_password:
        where = (*path, "oauth2")
        return [Problem(ErrorCode.INVALID, sentence(where, "can't be given together with password"), where)]
    stays = stored is not None and _stays(protocol, given, stored)
    if isinstance(consent, Mapping):
        return _consent_problems((*path, "oauth2"), consent, stored.oauth2 if stored else None, stays)
    if has_password or consent is not None:
        return []
    if stored and stored.oauth2 and "oauth2" in given:
        return [_required((*path, "password"), "when oauth2 is removed")]
    return [] if stays else [_required((*path, "password"), _MOVED if stored else "")]


def _consent_problems(
    path: FieldPath, given: Mapping[str, Any], stored: StoredOAuth2 | None, stays: bool
) -> list[Problem]:
    """A client secret that is null is none: it is missing only where it is left out, and one is stored."""
    if stored and stays and stored.is_client_of(given):
        return []
    why = _MOVED.replace("secure", "secure, tokenUrl, clientId") if stored else ""
    problems = [] if given.get("refreshToken") is not None else [_required((*path, "refreshToken"), why)]
    if stored and stored.has_client_secret and "clientSecret" not in given:
        problems.append(_required((*path, "clientSecret"), f"{why}; null: the application has none"))
    return problems


def _required(path: FieldPath, why: str) -> Problem:
    return Problem(ErrorCode.PASSWORD_REQUIRED, sentence(path, f"is required {why}".rstrip()), path)


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


def _stays(protocol: Protocol, given: Mapping[str, Any], stored: StoredServer) -> bool:
    """Whether a secret would go where it goes now. To trust one more certificate is to let somebody else read it."""
    config = _CONFIGS[protocol]
    trusted = given.get("tlsFingerprint")
    if trusted is not None and accepted(config, "tls_fingerprint", trusted) != stored.tls_fingerprint:
        return False
    return all(accepted(config, name, given[name]) == getattr(stored, name) for name in IDENTITY if name in given)


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


def rotate_refresh_token(session: Session, inbox_id: str, old: Secret, new: Secret, keyring: Keyring) -> None:
    """Stores the refresh token that a provider gave in place of `old`, wherever the inbox still holds that one.

    The version stays, and no change is recorded: nobody set anything, and nothing that can be read is another.
    """
    inbox = session.get(EmailInbox, inbox_id, with_for_update=True)
    if inbox is None:
        return
    for protocol in PROTOCOLS:
        with suppress(DecryptionError):
            if _secret(inbox, protocol, "refresh_token", keyring).reveal() == old.reveal():
                place = secret_place(inbox_id, protocol, "refresh_token")
                setattr(inbox, f"{protocol}_refresh_token", keyring.encrypt(new, place))
    session.flush()


def _server_columns(protocol: Protocol, config: ServerConfig, inbox_id: str, keyring: Keyring) -> dict[str, Any]:
    columns = {name: getattr(config, name) for name in (*IDENTITY, "tls_fingerprint")}
    columns |= _secret_columns(protocol, config, inbox_id, keyring)
    return {f"{protocol}_{name}": value for name, value in columns.items()}


def _secret_columns(protocol: Protocol, config: ServerConfig, inbox_id: str, keyring: Keyring) -> dict[str, Any]:
    """The columns of the secrets: those of what is left out are left alone."""

    def encrypted(name: str, value: str | None) -> bytes | None:
        return keyring.encrypt(Secret(value), secret_place(inbox_id, protocol, name)) if value is not None else None

    if config.oauth2:
        columns: dict[str, Any] = {"password": _NONE, "oauth2": public_part(config.oauth2)}
        if config.oauth2.refresh_token is not None:
            columns["refresh_token"] = encrypted("refresh_token", config.oauth2.refresh_token)
        if "client_secret" in config.oauth2.model_fields_set:
            columns["client_secret"] = encrypted("client_secret", config.oauth2.client_secret)
        return columns
    if config.password is not None:
        password = encrypted("password", config.password)
        return {"password": password, "oauth2": None, "refresh_token": None, "client_secret": None}
    return {}


def _department(name: str | None) -> str | None:
    return None if name in ("", EVERY_DEPARTMENT) else name
