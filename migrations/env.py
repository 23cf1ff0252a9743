"""Alembic's entry: runs the migrations on the connection, and in the transaction, of `models/database/migration.py`."""

from alembic import context
from sqlmodel import SQLModel

import models.change
import models.inbox
import models.key
import models.lease
import models.token
import models.user  # noqa: F401 - the import registers the tables

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    render_as_batch=True,
    compare_type=False,
)
context.run_migrations()
