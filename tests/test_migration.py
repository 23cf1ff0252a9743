"""The schema of the database: that migrations make what the tables say, and are never half done."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy import inspect as sqlalchemy_inspect
from sqlmodel import SQLModel

import models.change
import models.inbox
import models.key
import models.migration
import models.token
import models.user
from models.database import opened
from models.errors import StartError
from models.migration import HEAD, SCRIPTS, inspect, migrate, revisions
from server import Settings
from tests import postgresql
from tests.running import Running


def test_the_newest_revision_is_the_one_the_code_asks_for() -> None:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]
    assert revisions()[-1] == HEAD


async def test_the_migrations_make_the_tables_of_the_models(server: Running) -> None:
    def differences(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, SQLModel.metadata))

    async with server.context.database.engine.connect() as connection:
        assert await connection.run_sync(differences) == []


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """The URL of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.sqlite3'}"
        return
    cluster: postgresql.Cluster = request.getfixturevalue("cluster")
    name = "empty_" + re.sub("[^a-z0-9]", "_", tmp_path.name.lower())[:40]
    yield cluster.create(name)
    cluster.drop(name)


@pytest.fixture
def broken_scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The migrations of this code, and a newer one that fails when it is half done."""
    copy = tmp_path / "migrations"
    shutil.copytree(SCRIPTS, copy)
    (copy / "versions" / "0002_broken.py").write_text(
        "from alembic import op\n"
        "import sqlalchemy as sa\n"
        f"revision, down_revision = '0002', '{HEAD}'\n"
        "def upgrade():\n"
        "    op.add_column('email_inbox', sa.Column('half', sa.Integer()))\n"
        "    op.execute('SELECT nothing FROM nowhere')\n"
    )
    monkeypatch.setattr(models.migration, "SCRIPTS", copy)
    monkeypatch.setattr(models.migration, "HEAD", "0002")


async def test_a_migration_that_fails_has_changed_nothing(empty_url: str, broken_scripts: None) -> None:
    async with opened(empty_url) as database:
        with pytest.raises(StartError):
            await migrate(database)
        assert await tables_of(database.engine) == set()
        assert (await inspect(database)).revision is None


async def test_a_failed_upgrade_leaves_the_database_as_it_was(
    empty_url: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    async with opened(empty_url) as database:
        await migrate(database)
        before = await tables_of(database.engine)
        request.getfixturevalue("broken_scripts")
        with pytest.raises(StartError):
            await migrate(database)
        assert await tables_of(database.engine) == before
        assert (await inspect(database)).revision == HEAD


async def test_migrating_twice_is_migrating_once(settings: Settings) -> None:
    async with opened(settings.url) as database:
        before = await tables_of(database.engine)
        await migrate(database)
        assert await tables_of(database.engine) == before


async def tables_of(engine: Any) -> set[str]:
    """Tables and columns."""

    def names(connection: Connection) -> set[str]:
        inspector = sqlalchemy_inspect(connection)
        tables = [name for name in inspector.get_table_names() if name != "alembic_version"]
        return {f"{table}.{column['name']}" for table in tables for column in inspector.get_columns(table)}

    async with engine.connect() as connection:
        found: set[str] = await connection.run_sync(names)
    return found
