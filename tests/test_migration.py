"""The schema of the database: that migrations make what the tables say, and are never half done."""

import itertools
import os
import re
import shutil
from collections.abc import Callable
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
from tests.inboxes import inbox_values
from tests.process import environment_of, free_port, run, serving, start, until
from tests.running import ADMIN_ID, ADMIN_TOKEN, Running, settings_for


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


@pytest.fixture(params=["sqlite", "postgresql"])
def untouched(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Settings]:
    """The settings of a server that was never started; others at each call."""
    numbers = itertools.count()
    if request.param == "sqlite":
        return lambda: settings_for(tmp_path / str(next(numbers)))
    cluster: postgresql.Cluster = request.getfixturevalue("cluster")

    def fresh() -> Settings:
        number = next(numbers)
        return settings_for(tmp_path / str(number), cluster.create(f"untouched_{os.getpid()}_{number}"))

    return fresh


def test_a_first_start_that_is_killed_at_any_step_is_made_good_by_the_next(
    untouched: Callable[[], Settings], tmp_path: Path
) -> None:
    administrator = {"EMAIL_INBOX_ADMIN_USER_ID": ADMIN_ID, "EMAIL_INBOX_ADMIN_TOKEN": ADMIN_TOKEN}
    for step in itertools.count():
        environment = environment_of(untouched(), **administrator)
        killed = start([], {"EMAIL_INBOX_PORT": str(free_port()), **environment}, tmp_path, dies_at=step)
        served = until(lambda process=killed: process.poll() or "Serving" in process.out)  # type: ignore[misc]
        if served is True:
            killed.kill()
            break
        assert (killed.wait(), killed.err) == (-9, "")
        with serving(environment, tmp_path) as process:
            assert process.client.get("/api/v1/me").json()["username"] == "admin"
            assert process.client.post("/api/v1/email-inbox", json=inbox_values()).status_code == 200
        assert run(["user", "list"], environment, tmp_path)[1].count("\n") == 2
    assert step >= 5
