"""Adds the consent that may replace a password, and the one certificate that an inbox may trust."""

import sqlalchemy as sa
from alembic import op

from models.database.columns import json_object

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Existing inboxes have NULL. A password that a consent replaced is empty, not NULL: SQLite could drop the
    constraint only by making the table anew, and with it the triggers that maintain the search.
    """
    for protocol in ("smtp", "imap"):
        op.add_column("email_inbox", sa.Column(f"{protocol}_tls_fingerprint", sa.String(64)))
        op.add_column("email_inbox", sa.Column(f"{protocol}_oauth2", json_object()))
        op.add_column("email_inbox", sa.Column(f"{protocol}_refresh_token", sa.LargeBinary()))
        op.add_column("email_inbox", sa.Column(f"{protocol}_client_secret", sa.LargeBinary()))
