"""What an inbox may hold instead of a password, and the one certificate that it may trust."""

import sqlalchemy as sa
from alembic import op

from models.database.columns import json_object

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """An inbox of before has none of it. A password that gave way to a consent is empty, not NULL: SQLite could drop
    the constraint only by making the table anew, and with it the triggers that keep the search.
    """
    for protocol in ("smtp", "imap"):
        op.add_column("email_inbox", sa.Column(f"{protocol}_tls_fingerprint", sa.String(64)))
        op.add_column("email_inbox", sa.Column(f"{protocol}_oauth2", json_object()))
        op.add_column("email_inbox", sa.Column(f"{protocol}_refresh_token", sa.LargeBinary()))
        op.add_column("email_inbox", sa.Column(f"{protocol}_client_secret", sa.LargeBinary()))
