"""Inboxes, their changes, users, access tokens and the keys of the encryption."""

import sqlalchemy as sa
from alembic import op

from models.database.columns import Timestamp, json_list, sortable

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_user()
    create_access_token()
    create_email_inbox()
    create_email_inbox_change()
    create_encryption_key()


def create_user() -> None:
    op.create_table(
        "user",
        sa.Column("id", sortable(64), primary_key=True),
        sa.Column("username", sa.String(200), nullable=False),
        sa.Column("username_key", sortable(800), nullable=False, unique=True),
        sa.Column("name", sa.String(200)),
        sa.Column("email", sa.String(254)),
        sa.Column("email_key", sortable(1_000), unique=True),
        sa.Column("search_key", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.String(200)),
        sa.Column("permission_names", json_list(), nullable=False),
        sa.Column("departments", json_list(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("created_at", Timestamp(), nullable=False),
    )


def create_access_token() -> None:
    op.create_table(
        "access_token",
        sa.Column("id", sortable(64), primary_key=True),
        sa.Column("user_id", sortable(64), sa.ForeignKey("user.id", ondelete="CASCADE"), nullable=False, index=True),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False, unique=True),
        sa.Column("permission_names", json_list()),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.Column("last_used_at", Timestamp()),
        sa.Column("expires_at", Timestamp(), index=True),
    )


def create_email_inbox() -> None:
    op.create_table(
        "email_inbox",
        sa.Column("id", sortable(64), primary_key=True),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("name_key", sortable(800), nullable=False, index=True),
        sa.Column("email", sa.String(254), nullable=False),
        sa.Column("email_key", sortable(1_000), nullable=False, unique=True),
        sa.Column("search_key", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("description", sa.String(2_000)),
        sa.Column("sender_info", sa.String(200)),
        sa.Column("department", sa.String(200), index=True),
        *server_columns("smtp"),
        *server_columns("imap"),
        sa.Column("imap_max_retries", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", Timestamp(), nullable=False, index=True),
        sa.Column("updated_at", Timestamp(), nullable=False, index=True),
        sa.Column("created_by_id", sortable(64), sa.ForeignKey("user.id", ondelete="SET NULL"), index=True),
    )


def server_columns(protocol: str) -> list[sa.Column]:
    return [
        sa.Column(f"{protocol}_server", sa.String(253), nullable=False),
        sa.Column(f"{protocol}_port", sa.Integer(), nullable=False),
        sa.Column(f"{protocol}_username", sa.String(1_000), nullable=False),
        sa.Column(f"{protocol}_password", sa.LargeBinary(), nullable=False),
        sa.Column(f"{protocol}_secure", sa.Boolean(), nullable=False),
    ]


def create_email_inbox_change() -> None:
    op.create_table(
        "email_inbox_change",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("inbox_id", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("department", sa.String(200)),
        sa.Column("previous_department", sa.String(200)),
        sa.Column("changed_at", Timestamp(), nullable=False, index=True),
        sa.Column("changed_by_id", sa.String(64)),
        sqlite_autoincrement=True,
    )


def create_encryption_key() -> None:
    op.create_table(
        "encryption_key",
        sa.Column("id", sa.String(16), primary_key=True),
        sa.Column("check_value", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", Timestamp(), nullable=False),
    )
