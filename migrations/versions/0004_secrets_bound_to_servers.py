"""Binds every stored secret to the server that it is sent to, adds ids of consents, and makes two filters of the list
fast.

The old and the new binding of a value are repeated here as of this revision, independent of later changes.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import orjson
import sqlalchemy as sa
import structlog
from alembic import context, op

from models.database.columns import Timestamp, json_object
from models.secrets import DecryptionError, Keyring

revision = "0004"
down_revision = "0003"

BATCH = 1_000
NAMED = 10
KEY_ID_BYTES = 8
FORM = b"\x02"
WHERE_TO = ("server", "port", "username", "secure", "tls_fingerprint")
SECRETS = ("password", "refresh_token", "client_secret")
PROTOCOLS = ("smtp", "imap")

INBOX = sa.table(
    "email_inbox",
    sa.column("id", sa.String),
    *(sa.column(f"{protocol}_{name}", sa.LargeBinary) for protocol, name in product(PROTOCOLS, SECRETS)),
    *(sa.column(f"{protocol}_oauth2", json_object()) for protocol in PROTOCOLS),
    *(sa.column(f"{protocol}_consent_id", sa.String) for protocol in PROTOCOLS),
    *(sa.column(f"{protocol}_secure", sa.Boolean) for protocol in PROTOCOLS),
    *(sa.column(f"{protocol}_{name}") for protocol, name in product(PROTOCOLS, WHERE_TO) if name != "secure"),
)

log = structlog.get_logger()


def upgrade() -> None:
    make_leases()
    bind_secrets(op.get_bind(), context.config.attributes["keyring"])
    make_indexes()


def make_leases() -> None:
    """Adds the table by which processes and inboxes share a consent whose refresh token is valid once."""
    op.create_table(
        "lease",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("holder", sa.String(64), nullable=False),
        sa.Column("ends_at", Timestamp(), nullable=False),
    )
    for protocol in PROTOCOLS:
        op.add_column("email_inbox", sa.Column(f"{protocol}_consent_id", sa.String(32)))


def make_indexes() -> None:
    """Adds indexes by name for a department and for inactive inboxes, which need no sort and no scan of other rows."""
    op.drop_index("ix_email_inbox_department", "email_inbox")
    op.create_index("ix_email_inbox_department", "email_inbox", ["department", "name_key", "id", "active"])
    inactive = sa.column("active", sa.Boolean).is_(False)
    op.create_index(
        "ix_email_inbox_inactive",
        "email_inbox",
        ["name_key", "id", "department"],
        sqlite_where=inactive,
        postgresql_where=inactive,
    )
    for column in (f"{protocol}_consent_id" for protocol in PROTOCOLS):
        there = sa.text(f"{column} IS NOT NULL")
        op.create_index(f"ix_email_inbox_{column}", "email_inbox", [column], sqlite_where=there, postgresql_where=there)


def bind_secrets(connection: sa.Connection, keyring: Keyring) -> None:
    """Encrypts every secret anew with its current key. Keeps values that no key decrypts, and logs them.

    The revision is committed in the same transaction, so that no value in the old form is ever accepted.
    """
    if connection.dialect.name == "postgresql":  # an old server that still runs must not add values meanwhile
        connection.execute(sa.text("LOCK TABLE email_inbox IN EXCLUSIVE MODE"))
    count, lost, named = 0, 0, list[str]()
    for rows in batches(connection):
        unknown: list[str] = []
        changes = [change for row in rows if len(change := change_of(row, keyring, unknown)) > 1]
        lost, named = lost + len(unknown), (named + unknown)[:NAMED]
        for columns in dict.fromkeys(map(tuple, changes)):
            connection.execute(update_of(columns), [change for change in changes if tuple(change) == columns])
        count += len(changes)
    if count:
        log.info("secrets bound to their servers", inboxes=count)
    if lost:
        log.warning("secrets not decrypted", count=lost, first=named, reason="set them again: they can't be used")


def batches(connection: sa.Connection) -> Iterator[Sequence[Any]]:
    after = ""
    while True:
        statement = sa.select(INBOX).where(INBOX.c.id > after).order_by(INBOX.c.id).limit(BATCH)
        rows = connection.execute(statement).mappings().all()
        if not rows:
            return
        yield rows
        after = rows[-1]["id"]


def change_of(row: Any, keyring: Keyring, lost: list[str]) -> dict[str, Any]:
    """Returns the row's id and the columns to change."""
    change = {"row": row["id"]}
    for protocol, name in product(PROTOCOLS, SECRETS):
        column = f"{protocol}_{name}"
        if not row[column]:
            continue
        try:
            key = keyring.key_of(row[column])
            text = key.unseal(row[column][KEY_ID_BYTES:], "\0".join(("email_inbox", row["id"], column)).encode())
        except DecryptionError:
            lost.append(f"{column} of {row['id']}")
            continue
        change[column] = key.id + FORM + key.seal(text, place_of(row, protocol, column))
        if name == "refresh_token":
            change[f"{protocol}_consent_id"] = consent_id(row[f"{protocol}_oauth2"] or {}, text.decode())
    return change


def place_of(row: Any, protocol: str, column: str) -> bytes:
    consent = row[f"{protocol}_oauth2"] or {}
    where_to = [row[f"{protocol}_{name}"] for name in WHERE_TO]
    place = [FORM[0], "email_inbox", row["id"], column, *where_to, consent.get("token_url"), consent.get("client_id")]
    return orjson.dumps(place)


def consent_id(consent: Mapping[str, Any], refresh_token: str) -> str:
    parts = ("consent", consent.get("token_url"), consent.get("client_id"), refresh_token)
    return hashlib.sha256(orjson.dumps(parts)).hexdigest()[:32]


def update_of(columns: Sequence[str]) -> Any:
    values = {name: sa.bindparam(name) for name in columns if name != "row"}
    return sa.update(INBOX).where(INBOX.c.id == sa.bindparam("row")).values(values)
