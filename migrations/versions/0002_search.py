"""Adds indexes for substring searches of inboxes and users, and indexes with the whole order of a list."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.exc import DBAPIError

from models.errors import StartError

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Adds the id to each order, to make it total. On SQLite, the index by name has all columns that a search reads."""
    dialect = op.get_bind().dialect.name
    for column in ("name_key", "created_at", "updated_at"):
        op.drop_index(f"ix_email_inbox_{column}", "email_inbox")
    for column in ("created_at", "updated_at"):
        op.create_index(f"ix_email_inbox_{column}", "email_inbox", [column, "id"])
    searched = ["search_key"] if dialect == "sqlite" else []
    op.create_index("ix_email_inbox_search_by_name", "email_inbox", ["name_key", "id", *searched])
    if dialect == "postgresql":
        upgrade_postgresql()
    else:
        for table in ("email_inbox", "user"):
            upgrade_sqlite(table)


# ---------------------------------------------------------------------------------------------------------- PostgreSQL


def upgrade_postgresql() -> None:
    schema = trigram_schema()
    # All substrings of one and two characters. Those of two come from two passes, which begin at the first and the
    # second character; no text contains the character 1.
    op.execute(
        r"""
        CREATE FUNCTION search_grams(searched text) RETURNS text[]
        LANGUAGE sql IMMUTABLE STRICT AS $$
            SELECT pg_catalog.string_to_array(searched, NULL)
                || pg_catalog.string_to_array(pg_catalog.regexp_replace(searched, '(..)', '\1' || chr(1), 'g'), chr(1))
                || pg_catalog.string_to_array(
                    pg_catalog.regexp_replace(pg_catalog.substr(searched, 2), '(..)', '\1' || chr(1), 'g'), chr(1))
        $$
        """
    )
    for table in ("email_inbox", "user"):
        # A search scans the pending list: half of the default limit costs a writer almost nothing.
        for name, key in (
            ("trigrams", f"search_key {schema}.gin_trgm_ops"),
            ("grams", 'search_grams(search_key COLLATE "C")'),
        ):
            op.execute(
                f'CREATE INDEX ix_{table}_search_{name} ON "{table}" USING gin ({key}) '
                "WITH (gin_pending_list_limit = 2048)"
            )


def trigram_schema() -> str:
    """Returns the quoted schema of the extension pg_trgm. Raises StartError if it is missing and can't be created."""
    find = sa.text(
        "SELECT quote_ident(nspname) FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace "
        "WHERE extname = 'pg_trgm'"
    )
    found = op.get_bind().execute(find).scalar()
    if found is None:
        try:
            op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
        except DBAPIError:
            raise StartError(
                "The database needs PostgreSQL's extension pg_trgm, which this login may not add or which is not "
                "installed: run CREATE EXTENSION pg_trgm in it as a superuser."
            ) from None
        found = op.get_bind().execute(find).scalar()
    return str(found)


# -------------------------------------------------------------------------------------------------------------- SQLite

# A row has its own number in the index, because VACUUM may change rowids. The index stores neither the text nor
# positions, because a search compares the found rows anyway. With the two line ends, every character begins a trigram,
# so that a text of one or two characters can be found.
GRAMS = """
    CREATE VIRTUAL TABLE {table}_search_grams
    USING fts5(search_key, content='', columnsize=0, detail=none, tokenize='trigram case_sensitive 1')
"""
ADD = """
    INSERT INTO {table}_search_grams (rowid, search_key)
    SELECT number, search_key || char(10, 10) FROM {table}_search JOIN "{table}" ON id = row_id
"""
REMOVE = """
    INSERT INTO {table}_search_grams ({table}_search_grams, rowid, search_key)
    SELECT 'delete', number, old.search_key || char(10, 10) FROM {table}_search WHERE row_id = old.id
"""
STEPS = (
    "CREATE TABLE {table}_search (number INTEGER PRIMARY KEY, row_id VARCHAR(64) NOT NULL UNIQUE)",
    "CREATE VIRTUAL TABLE {table}_search_terms USING fts5vocab({table}_search_grams, instance)",
    'INSERT INTO {table}_search (row_id) SELECT id FROM "{table}"',
    ADD,
    """
    CREATE TRIGGER {table}_search_insert AFTER INSERT ON "{table}" BEGIN
        INSERT INTO {table}_search (row_id) VALUES (new.id);
        {add} WHERE row_id = new.id;
    END
    """,
    """
    CREATE TRIGGER {table}_search_delete AFTER DELETE ON "{table}" BEGIN
        {remove};
        DELETE FROM {table}_search WHERE row_id = old.id;
    END
    """,
    """
    CREATE TRIGGER {table}_search_update AFTER UPDATE OF id, search_key ON "{table}"
    WHEN old.id <> new.id OR old.search_key <> new.search_key BEGIN
        {remove};
        UPDATE {table}_search SET row_id = new.id WHERE row_id = old.id;
        {add} WHERE row_id = new.id;
    END
    """,
)


def upgrade_sqlite(table: str) -> None:
    """Adds triggers that maintain the index for every writer."""
    try:
        op.execute(GRAMS.format(table=table))
    except DBAPIError:
        raise StartError("SQLite must be 3.34 or newer and have FTS5: use a newer Python.") from None
    parts = {"table": table, "add": ADD.format(table=table), "remove": REMOVE.format(table=table)}
    for step in STEPS:
        op.execute(step.format(**parts))
