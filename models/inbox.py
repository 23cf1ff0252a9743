"""The table of inboxes, its statements, and the rules that compare an input with the stored inbox.

Checks no permission and opens no transaction.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, ClassVar

from sqlalchemy import ColumnElement, Index, Integer, Text, bindparam, insert, or_
from sqlalchemy import delete as sql_delete
from sqlalchemy import select as select_columns
from sqlalchemy import update as sql_update
from sqlmodel import Field, SQLModel, col, func, select
from sqlmodel.sql.expression import SelectOfScalar

from models.check import CheckConfig
from models.config import (
    EVERY_DEPARTMENT,
    IDENTITY,
    INBOX_FIELDS,
    SERVER_FIELDS,
    InboxConfig,
    MailProtocol,
    ServerConfig,
)
from models.database.columns import Timestamp, json_object, now, sortable
from models.database.prepared import Prepared
from models.database.transaction import Transaction
from models.errors import ErrorCode, FieldPath, Problem
from models.fields import address_key, folded, random_id
from models.oauth2 import CONSENT_ID, OAuth2Config, StoredOAuth2, consent_id, public_part
from models.paging import Order, Paged
from models.secrets import Keyring, Secret
from models.stored import (
    NO_SECRET,
    PROTOCOLS,
    SECRETS,
    StoredInbox,
    StoredServer,
    lost_secrets,
    secret_of,
    secret_place,
)
from models.validation import sentence

_EMPTY_COLUMNS: dict[str, Any] = dict.fromkeys(
    f"{protocol}_{name}" for protocol in PROTOCOLS for name in ("oauth2", "consent_id", *SECRETS)
)
"""The columns of a new inbox that its config may leave out, and its secrets before they are encrypted."""
_COLUMNS: Mapping[MailProtocol, Sequence[tuple[str, str]]] = {
    protocol: [(f"{protocol}_{name}", name) for name in SERVER_FIELDS[protocol]] for protocol in PROTOCOLS
}
"""The columns of a server, each with the field that sets it."""
_NO_CONSENT = {protocol: {f"{protocol}_oauth2": None, f"{protocol}_consent_id": None} for protocol in PROTOCOLS}
_NO_SECRETS: Mapping[str, bytes | None] = {"password": NO_SECRET, "refresh_token": None, "client_secret": None}
_INPUT_PATHS = {
    "password": ("password",),
    "refresh_token": ("oauth2", "refreshToken"),
    "client_secret": ("oauth2", "clientSecret"),
}
_MOVED = "when server, port, username, secure or the trusted certificate change"
_LOST = (
    "is stored, but can't be decrypted: it was set for another server, or its key is missing. Check the server, then "
    "set it again"
)


class EmailInbox(SQLModel, table=True):
    """The table. Its rows are read as `StoredInbox`; the `_key` columns are for comparing, searching and sorting."""

    __tablename__: ClassVar[str] = "email_inbox"
    # The index by name differs between the two databases: migration 0002. Partial indexes are in migration 0004:
    # declared here, they would make SQLAlchemy load the dialect of PostgreSQL.
    __table_args__ = (
        *(Index(f"ix_email_inbox_{name}", name, "id") for name in ("created_at", "updated_at")),
        Index("ix_email_inbox_department", "department", "name_key", "id", "active"),
    )

    id: str = Field(primary_key=True, sa_type=sortable(64))
    name: str = Field(max_length=200)
    name_key: str = Field(sa_type=sortable(800))
    email: str = Field(max_length=254)
    email_key: str = Field(sa_type=sortable(1_000), unique=True)
    search_key: str = Field(sa_type=Text)
    active: bool
    description: str | None = Field(default=None, max_length=2_000)
    sender_info: str | None = Field(default=None, max_length=200)
    department: str | None = Field(default=None, max_length=200)

    smtp_server: str = Field(max_length=253)
    smtp_port: int
    smtp_username: str = Field(max_length=1_000)
    smtp_password: bytes
    smtp_secure: bool
    smtp_tls_fingerprint: str | None = Field(default=None, max_length=64)
    smtp_oauth2: dict[str, Any] | None = Field(default=None, sa_type=json_object())
    smtp_refresh_token: bytes | None = None
    smtp_client_secret: bytes | None = None
    smtp_consent_id: str | None = Field(default=None, max_length=CONSENT_ID)

    imap_server: str = Field(max_length=253)
    imap_port: int
    imap_username: str = Field(max_length=1_000)
    imap_password: bytes
    imap_secure: bool
    imap_tls_fingerprint: str | None = Field(default=None, max_length=64)
    imap_oauth2: dict[str, Any] | None = Field(default=None, sa_type=json_object())
    imap_refresh_token: bytes | None = None
    imap_client_secret: bytes | None = None
    imap_consent_id: str | None = Field(default=None, max_length=CONSENT_ID)
    imap_max_retries: int

    version: int
    created_at: datetime = Field(sa_type=Timestamp)
    updated_at: datetime = Field(sa_type=Timestamp)
    created_by_id: str | None = Field(default=None, foreign_key="user.id", ondelete="SET NULL", index=True)

    read: ClassVar[Sequence[str]] = StoredInbox._fields

    @classmethod
    def of_row(cls, values: Iterable[Any]) -> StoredInbox:
        """Makes a `StoredInbox` from a row."""
        return StoredInbox._make(values)


class InboxOrder(Paged):
    """The orders in which inboxes are listed."""

    NAME = "name_key"
    EMAIL = "email_key"
    CREATED_AT = "created_at"
    UPDATED_AT = "updated_at"
    ACTIVE = "active"


# --------------------------------------------------------------------------------------------------------- statements

_TABLE: Any = SQLModel.metadata.tables["email_inbox"]
_ROW = _TABLE.c.id == bindparam("row")
_READ: Any = select_columns(*(_TABLE.c[name] for name in EmailInbox.read))

BY_ID: Prepared[StoredInbox] = Prepared(_READ.where(_TABLE.c.id == bindparam("id")), StoredInbox._make)
TO_CHANGE: Prepared[StoredInbox] = Prepared(
    _READ.where(_TABLE.c.id == bindparam("id")).with_for_update(), StoredInbox._make
)
"""The inbox with an id, locked until the transaction ends."""
NEXT_TO_CHANGE: Prepared[StoredInbox] = Prepared(
    _READ.where(_TABLE.c.id > bindparam("after"))
    .order_by(_TABLE.c.id)
    .limit(bindparam("size", type_=Integer()))
    .with_for_update(),
    StoredInbox._make,
)
"""The inboxes that follow an id, locked likewise."""

_HOLDS = or_(*(_TABLE.c[f"{protocol}_consent_id"] == bindparam("consent") for protocol in PROTOCOLS))
_OF_CONSENT: Prepared[StoredInbox] = Prepared(_READ.where(_HOLDS).with_for_update(), StoredInbox._make)


@lru_cache(256)
def seen(key: str, departments: tuple[str, ...] | None) -> Prepared[StoredInbox]:
    """Prepares the query by `id` or `email_key` for a caller with these departments. None: the caller sees every inbox.

    The database filters, so that a hidden inbox takes as long as one that does not exist.
    """
    found = _READ.where(_TABLE.c[key] == bindparam(key), *conditions(departments))
    return Prepared(found, StoredInbox._make)


_TAKEN: Prepared[Any] = Prepared(select_columns(_TABLE.c.id).where(_TABLE.c.email_key == bindparam("email_key")), tuple)
_INSERT: Prepared[Any] = Prepared(insert(_TABLE), tuple, columns=_TABLE.c.keys())
_DELETE: Prepared[Any] = Prepared(sql_delete(_TABLE).where(_ROW), tuple)


@lru_cache(256)
def _update(columns: tuple[str, ...]) -> Prepared[Any]:
    return Prepared(sql_update(_TABLE).where(_ROW), tuple, columns=columns)


@lru_cache(256)
def conditions(
    departments: tuple[str, ...] | None, active: bool | None = None, department: str | None = None
) -> tuple[ColumnElement[bool], ...]:
    """Returns the conditions for the inboxes of these departments and those without one, or for every inbox (None).

    `active` and `department` filter them further unless None. The same arguments return the same objects.
    """
    found: list[ColumnElement[bool]] = []
    of = col(EmailInbox.department)
    if departments is not None:
        found.append(or_(of.is_(None), *(of == each for each in departments)))
    if active is not None:
        found.append(col(EmailInbox.active).is_(active))
    if department is not None:
        found.append(of.is_not_distinct_from(_normalize_department(department)))
    return tuple(found)


def count() -> SelectOfScalar[int]:
    return select(func.count()).select_from(EmailInbox)


def sorted_by(orders: Sequence[tuple[InboxOrder, Order]]) -> Any:
    """Selects the columns of every inbox in these orders; the id makes the order total."""
    columns = [order.of(getattr(EmailInbox, field.value)) for field, order in orders]
    return _READ.order_by(*columns, col(EmailInbox.id))


# -------------------------------------------------------------------------------------- rules about the stored inbox


def password_problems(
    values: Mapping[str, Any], known: InboxConfig | CheckConfig, stored: StoredInbox | None, keyring: Keyring
) -> list[Problem]:
    """Returns the secrets that are missing: one may be left out only if the stored one was set for the same server.

    Decrypting the stored secret proves that, even if another program changed the database.
    `known` is the validated form of `values`, perhaps only in part (`as_far_as_valid`).
    """
    problems = []
    for protocol in PROTOCOLS:
        given = values.get(protocol)
        if isinstance(given, Mapping):
            server = stored.server(protocol) if stored else None
            found = _secret_problems(protocol, given, getattr(known, protocol), server)
            if stored and server and not found:
                lost = lost_secrets(stored, protocol, _kept_secrets(given, server), keyring)
                found = [lost_problem(protocol, name, "input") for name in lost]
            problems += found
    return problems


def lost_problem(protocol: MailProtocol, name: str, *path: str) -> Problem:
    """Returns the problem for one of the `SECRETS` that is needed but can't be decrypted."""
    field = (*path, protocol, *_INPUT_PATHS[name])
    return Problem(ErrorCode.PASSWORD_REQUIRED, sentence(field, _LOST), field)


def _kept_secrets(given: Mapping[str, Any], stored: StoredServer) -> list[str]:
    """Returns which of the stored `SECRETS` a valid input keeps."""
    consent = given.get("oauth2")
    if given.get("password") is not None:
        return []
    if stored.oauth2 is None:
        return stored.secrets if consent is None else []
    changes = consent if isinstance(consent, Mapping) else {}
    renewed = {"refresh_token": changes.get("refreshToken") is not None, "client_secret": "clientSecret" in changes}
    return [name for name in stored.secrets if not renewed.get(name)]


def _secret_problems(
    protocol: MailProtocol, given: Mapping[str, Any], known: ServerConfig, stored: StoredServer | None
) -> list[Problem]:
    path = ("input", protocol)
    consent, has_password = given.get("oauth2"), given.get("password") is not None
    if consent is not None and has_password:
        where = (*path, "oauth2")
        return [Problem(ErrorCode.INVALID, sentence(where, "can't be given together with password"), where)]
    stays = stored is not None and _has_same_destination(given, known, stored)
    if isinstance(consent, Mapping):
        is_of_stored = stays and stored and stored.oauth2 and stored.oauth2.is_client_of(consent, known.oauth2)
        return _consent_problems((*path, "oauth2"), consent, stored.oauth2 if stored else None, bool(is_of_stored))
    if has_password or consent is not None:
        return []
    if stored and stored.oauth2 and "oauth2" in given:
        return [_required_problem((*path, "password"), "when oauth2 is removed")]
    return [] if stays else [_required_problem((*path, "password"), _MOVED if stored else "")]


def _consent_problems(
    path: FieldPath, given: Mapping[str, Any], stored: StoredOAuth2 | None, stays: bool
) -> list[Problem]:
    """Returns the missing secrets. A client secret is missing only if one is stored and the input leaves it out."""
    if stays:
        return []
    why = _MOVED.replace("secure", "secure, tokenUrl, clientId") if stored else ""
    problems = [] if given.get("refreshToken") is not None else [_required_problem((*path, "refreshToken"), why)]
    if stored and stored.has_client_secret and "clientSecret" not in given:
        problems.append(_required_problem((*path, "clientSecret"), f"{why}; null: the application has none"))
    return problems


def _required_problem(path: FieldPath, why: str) -> Problem:
    return Problem(ErrorCode.PASSWORD_REQUIRED, sentence(path, f"is required {why}".rstrip()), path)


def address_problems(transaction: Transaction, email: object, stored: StoredInbox | None) -> list[Problem]:
    """Returns a problem if a valid address belongs to another inbox."""
    key = address_key(email) if isinstance(email, str) else None
    if key is None or (stored and stored.email_key == key) or not transaction.run(_TAKEN, email_key=key):
        return []
    path = ("input", "email")
    return [Problem(ErrorCode.TAKEN, sentence(path, "is already used by another inbox"), path)]


def version_problems(wanted: int | None, stored: StoredInbox | None) -> list[Problem]:
    """Returns a problem if the caller names a version other than the stored one."""
    actual = stored.version if stored else None
    if wanted is None or wanted == actual:
        return []
    path = ("input", "ifVersion")
    now_at = f"is not the stored version, {actual}" if stored else "was given, but no inbox has this id"
    return [Problem(ErrorCode.CONFLICT, sentence(path, f"{now_at}: read the inbox again"), path)]


def _has_same_destination(given: Mapping[str, Any], known: ServerConfig, stored: StoredServer) -> bool:
    """Whether a secret would still be sent to the same server. Another trusted certificate may let another read it."""
    if given.get("tlsFingerprint") is not None and known.tls_fingerprint != stored.tls_fingerprint:
        return False
    return all(_is_as_stored(name, given[name], known, stored) for name in IDENTITY if name in given)


def _is_as_stored(name: str, given: object, known: ServerConfig, stored: StoredServer) -> bool:
    """Whether the field is unchanged. An empty username of a relay is invalid on its own, but may be the stored one."""
    wanted = getattr(stored, name)
    return getattr(known, name, None) == wanted or (type(given) is type(wanted) and given == wanted)


# ------------------------------------------------------------------------------------------------------------ writing


def store(
    transaction: Transaction, config: InboxConfig, stored: StoredInbox | None, keyring: Keyring, by: str | None
) -> StoredInbox:
    """Writes a valid config over the stored inbox, or as a new one, and returns the stored result."""
    moment = now()
    if stored:
        inbox = stored._replace(version=stored.version + 1, updated_at=moment, **_columns(config, stored.id))
        return change(transaction, stored, inbox._replace(**_encrypt_secrets(inbox, config, stored, keyring)))
    columns = _EMPTY_COLUMNS | _columns(config, config.id or random_id())
    columns |= {"version": 1, "created_at": moment, "updated_at": moment, "created_by_id": by}
    columns |= _encrypt_secrets(StoredInbox(**columns), config, None, keyring)
    inbox = StoredInbox(**columns)
    transaction.run(_INSERT, search_key=inbox.search_key, **columns)
    return inbox


def delete(transaction: Transaction, inbox_id: str) -> None:
    transaction.run(_DELETE, row=inbox_id)


def change(transaction: Transaction, stored: StoredInbox, inbox: StoredInbox) -> StoredInbox:
    """Writes only the columns whose values changed, so that no index is updated needlessly."""
    both = zip(StoredInbox._fields, stored, inbox, strict=True)
    changed = {name: value for name, before, value in both if value != before}
    if inbox.search_key != stored.search_key:
        changed["search_key"] = inbox.search_key
    if changed:
        transaction.run(_update(tuple(changed)), row=stored.id, **changed)
    return inbox


def rotate_refresh_token(transaction: Transaction, consent: str, old: Secret, new: Secret, keyring: Keyring) -> None:
    """Replaces the refresh token `old` by the one that the provider issued, in every inbox that still holds `old`.

    The version stays and no change is recorded: no user changed anything, and no readable field differs.
    """
    for inbox in transaction.run(_OF_CONSENT, consent=consent):
        columns: dict[str, Any] = {}
        for protocol in PROTOCOLS:
            holds_consent = getattr(inbox, f"{protocol}_consent_id") == consent
            if not holds_consent or lost_secrets(inbox, protocol, ["refresh_token"], keyring):
                continue
            if secret_of(inbox, protocol, "refresh_token", keyring).reveal() == old.reveal():
                place = secret_place(inbox, protocol, "refresh_token")
                columns[f"{protocol}_refresh_token"] = keyring.encrypt(new, place)
        change(transaction, inbox, inbox._replace(**columns))


def _columns(config: InboxConfig, inbox_id: str) -> dict[str, Any]:
    """Returns the columns that the config sets, without its secrets."""
    columns = {name: getattr(config, name) for name in INBOX_FIELDS}
    columns |= {"id": inbox_id, "name_key": folded(config.name), "email_key": address_key(config.email)}
    columns["department"] = _normalize_department(config.department)
    for protocol in PROTOCOLS:
        server: ServerConfig = getattr(config, protocol)
        columns |= {place: getattr(server, name) for place, name in _COLUMNS[protocol]}
        if server.oauth2:
            columns |= _consent(protocol, server.oauth2)
        elif server.password is not None:
            columns |= _NO_CONSENT[protocol]
    return columns


def _consent(protocol: MailProtocol, config: OAuth2Config) -> dict[str, Any]:
    """Returns the columns of a consent that are stored in clear."""
    public, token = public_part(config), config.refresh_token
    columns: dict[str, Any] = {f"{protocol}_oauth2": public}
    return columns if token is None else columns | {f"{protocol}_consent_id": consent_id(public, token)}


def _encrypt_secrets(
    inbox: StoredInbox, config: InboxConfig, stored: StoredInbox | None, keyring: Keyring
) -> dict[str, Any]:
    """Encrypts the secrets that are given, and anew those that are kept if they are now sent to another server."""
    columns: dict[str, Any] = {}
    for protocol in PROTOCOLS:
        secrets = _given_secrets(getattr(config, protocol))
        if stored and secret_place(inbox, protocol, "") != secret_place(stored, protocol, ""):
            kept = stored.server(protocol).secrets
            for name in [name for name in SECRETS if name not in secrets]:
                secrets[name] = secret_of(stored, protocol, name, keyring) if name in kept else None
        for name, value in secrets.items():
            column = f"{protocol}_{name}"
            columns[column] = (
                keyring.encrypt(value, secret_place(inbox, protocol, name)) if value else _NO_SECRETS[name]
            )
    return columns


def _given_secrets(server: ServerConfig) -> dict[str, Secret | None]:
    """Returns the secrets that the input sets, without those that it leaves out; None removes one."""
    if server.oauth2:
        given: dict[str, Secret | None] = {"password": None}
        if server.oauth2.refresh_token is not None:
            given["refresh_token"] = Secret(server.oauth2.refresh_token)
        if "client_secret" in server.oauth2.model_fields_set:
            secret = server.oauth2.client_secret
            given["client_secret"] = None if secret is None else Secret(secret)
        return given
    if server.password is not None:
        return {"password": Secret(server.password), "refresh_token": None, "client_secret": None}
    return {}


def _normalize_department(name: str | None) -> str | None:
    return None if name in ("", EVERY_DEPARTMENT) else name
