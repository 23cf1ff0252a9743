"""The schema of the database: that migrations make what the tables say, and are never half done."""

import asyncio
import functools
import itertools
import os
import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, func, insert, literal, select
from sqlalchemy import inspect as sqlalchemy_inspect
from sqlmodel import SQLModel, create_engine

import models.change
import models.inbox
import models.key
import models.migration
import models.token
import models.user
from migrations.structure import structure
from models.account import Grant
from models.columns import json_list, json_object
from models.database import opened
from models.errors import StartError
from models.inbox import EmailInbox, InboxOrder
from models.migration import HEAD, SCRIPTS, STRUCTURE, inspect, migrate, revisions, upgrade
from models.observer import Observer
from models.paging import Order, Window
from models.search import listing
from models.secrets import Keyring
from models.stored import PROTOCOLS, account
from models.transaction import SqliteTransaction
from resolvers.inbox import set_in
from server import prepare
from settings import Settings
from tests import postgresql
from tests.api import GraphQLApi
from tests.inboxes import FINGERPRINT, consent, inbox_values
from tests.process import environment_of, free_port, run, serving, start, until
from tests.running import ADMIN_ID, ADMIN_TOKEN, Running, running, settings_for
from tests.stored import box_values, inboxes_of, keyring_of, passwords_of

NUMBERS = itertools.count()
NEXT = f"{int(HEAD) + 1:04}"
NO_KEYS = Keyring(list)


def test_the_newest_revision_is_the_one_the_code_asks_for() -> None:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]
    assert revisions()[-1] == HEAD


def test_a_list_and_an_object_that_may_be_null_are_kept_apart_by_the_cache() -> None:
    with create_engine("sqlite://").connect() as connection:
        kinds = [connection.scalar(select(func.typeof(literal(None, of())))) for of in (json_list, json_object)]
    assert kinds == ["text", "null"]


# An empty SQLite database is made from a file, which is printed from what the migrations make.


def test_the_structure_is_what_the_migrations_make() -> None:
    with create_engine("sqlite://").begin() as connection:
        upgrade(connection, NO_KEYS)
        assert structure(connection) == STRUCTURE.read_text("utf-8"), "run make schema"


async def test_an_empty_sqlite_database_is_made_from_the_structure(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'empty.sqlite3'}"
    async with opened(url) as database:
        await migrate(database, NO_KEYS)
        async with database.engine.connect() as connection:
            assert await connection.run_sync(structure) == STRUCTURE.read_text("utf-8")
        assert (await inspect(database)).revision == HEAD


@pytest.mark.parametrize(
    ("there", "instead"),
    [(f"up to {HEAD}", "up to 0000"), ("CREATE VIRTUAL TABLE user_search_grams", "CREATE VIRTUAL TABLE else")],
    ids=["of another revision", "that fails when it is half done"],
)
async def test_instead_of_a_structure_the_migrations_are_run(
    there: str, instead: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sqlite.sql").write_text(STRUCTURE.read_text("utf-8").replace(there, instead))
    monkeypatch.setattr(models.migration, "STRUCTURE", tmp_path / "sqlite.sql")
    upgrades = Mock(wraps=upgrade)
    monkeypatch.setattr(models.migration, "upgrade", upgrades)
    async with opened(f"sqlite:///{tmp_path / 'empty.sqlite3'}") as database:
        await migrate(database, NO_KEYS)
        async with database.engine.connect() as connection:
            assert await connection.run_sync(structure) == STRUCTURE.read_text("utf-8")
    assert upgrades.call_count == 1


async def test_the_migrations_make_the_tables_of_the_models(server: Running) -> None:
    def is_of_a_model(_item: Any, name: str | None, _kind: str, _reflected: bool, _other: Any) -> bool:
        return not re.search("_search(_|$)", name or "")

    def differences(connection: Connection) -> list[Any]:
        opts = {"compare_type": True, "include_object": is_of_a_model}
        context = MigrationContext.configure(connection, opts=opts)
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
    (copy / "versions" / f"{NEXT}_broken.py").write_text(
        "from alembic import op\n"
        "import sqlalchemy as sa\n"
        f"revision, down_revision = '{NEXT}', '{HEAD}'\n"
        "def upgrade():\n"
        "    op.add_column('email_inbox', sa.Column('half', sa.Integer()))\n"
        "    op.execute('SELECT nothing FROM nowhere')\n"
    )
    monkeypatch.setattr(models.migration, "SCRIPTS", copy)
    monkeypatch.setattr(models.migration, "HEAD", NEXT)


async def test_a_migration_that_fails_has_changed_nothing(empty_url: str, broken_scripts: None) -> None:
    async with opened(empty_url) as database:
        with pytest.raises(StartError):
            await migrate(database, NO_KEYS)
        assert await tables_of(database.engine) == set()
        assert (await inspect(database)).revision is None


async def test_a_failed_upgrade_leaves_the_database_as_it_was(
    empty_url: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    async with opened(empty_url) as database:
        await migrate(database, NO_KEYS)
        before = await tables_of(database.engine)
        request.getfixturevalue("broken_scripts")
        with pytest.raises(StartError):
            await migrate(database, NO_KEYS)
        assert await tables_of(database.engine) == before
        assert (await inspect(database)).revision == HEAD


async def test_migrating_twice_is_migrating_once(settings: Settings) -> None:
    async with opened(settings.url) as database:
        before = await tables_of(database.engine)
        await migrate(database, NO_KEYS)
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
    if request.param == "sqlite":
        return lambda: settings_for(tmp_path / str(next(NUMBERS)))
    cluster: postgresql.Cluster = request.getfixturevalue("cluster")

    def fresh() -> Settings:
        number = next(NUMBERS)
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


# ---------------------------------------------------------------------------------------------- from 0001 to 0002


async def make_older(settings: Settings, revision: str, count: int = 2) -> None:
    """What a server of this revision leaves: an administrator and inboxes, in the columns that it knows."""
    with pytest.MonkeyPatch.context() as older:
        older.setattr(models.migration, "HEAD", revision)
        await prepare(settings)
    rows = rows_of_now(settings, count)

    def insert_what_is_known(connection: Connection) -> None:
        known = {column["name"] for column in sqlalchemy_inspect(connection).get_columns("email_inbox")}
        older_rows = [{name: value for name, value in row.items() if name in known} for row in rows]
        connection.execute(insert(EmailInbox), older_rows)

    async with opened(settings.url) as database, database.engine.begin() as connection:
        await connection.run_sync(insert_what_is_known)


def rows_of_now(settings: Settings, count: int) -> list[dict[str, Any]]:
    """The rows of inboxes, as this version writes them: `box-0000` and on."""
    engine = create_engine("sqlite://")
    SQLModel.metadata.create_all(engine)
    with engine.begin() as connection:
        driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        session = SqliteTransaction(connection, driver, Observer())
        saved = [set_in(session, box_values(number), keyring_of(settings), None).inbox for number in range(count)]
        rows = [inbox._asdict() | {"search_key": inbox.search_key} for inbox in saved]
    engine.dispose()
    return rows


SEARCH = """
    query ($search: String!) {
        emailInboxes(filter: { search: $search }) { nodes { id } } users(search: $search) { nodes { username } }
    }
"""
FOUND_IN_0001 = {"BOX-0001@": (["box-0001"], []), "01": (["box-0001"], []), "adm": ([], ["admin"]), "@@": ([], [])}


def found_by(search: Callable[[str], dict[str, Any]]) -> dict[str, tuple[list[str], list[str]]]:
    answers = {text: search(text)["data"] for text in FOUND_IN_0001}
    return {
        text: (
            [inbox["id"] for inbox in data["emailInboxes"]["nodes"]],
            [user["username"] for user in data["users"]["nodes"]],
        )
        for text, data in answers.items()
    }


def test_an_upgrade_that_is_killed_at_any_step_is_made_good_by_the_next_start(
    untouched: Callable[[], Settings], tmp_path: Path
) -> None:
    for step in itertools.count():
        settings = untouched()
        asyncio.run(make_older(settings, "0001"))
        environment = environment_of(settings)
        killed = start([], {"EMAIL_INBOX_PORT": str(free_port()), **environment}, tmp_path, dies_at=step)
        served = until(lambda process=killed: process.poll() or "Serving" in process.out)  # type: ignore[misc]
        killed.kill()
        with serving(environment, tmp_path, patched={"models.search.COMMON": 2}) as process:
            search = functools.partial(process.graphql, SEARCH)
            assert found_by(lambda text, search=search: search(search=text)) == FOUND_IN_0001  # type: ignore[misc]
        if served is True:
            break
        assert killed.wait() == -9
    assert step >= 1


# ---------------------------------------------------------------------------------------------- from 0002 to 0003


async def test_inboxes_of_before_keep_their_passwords_and_take_a_consent(untouched: Callable[[], Settings]) -> None:
    settings = untouched()
    await make_older(settings, "0002")
    await prepare(settings)
    async with running(settings) as server:
        shown = await GraphQLApi(server.client).inbox("box-0001")
        assert shown
        for protocol in PROTOCOLS:
            assert shown[protocol]["hasPassword"]
            assert (shown[protocol]["tlsFingerprint"], shown[protocol]["oauth2"]) == (None, None)
        [inbox, _] = await inboxes_of(settings)
        assert passwords_of(inbox, keyring_of(settings)) == ("smtp-box-0000", "imap-box-0000")
        values = box_values(0)
        for protocol in PROTOCOLS:
            values[protocol] |= {"password": None, "oauth2": consent(), "tlsFingerprint": FINGERPRINT}
        assert (await GraphQLApi(server.client).set_inbox(values)).inbox_id == "box-0000"
        [inbox, _] = await inboxes_of(settings)
        assert isinstance(
            account(
                EmailInbox.of_row(getattr(inbox, name) for name in EmailInbox.read), "imap", keyring_of(settings)
            ).login,
            Grant,
        )
        found = (await server.graphql(SEARCH, search="BOX-0000@"))["data"]["emailInboxes"]["nodes"]
        assert found == [{"id": "box-0000"}]


@pytest.fixture
def poor(cluster: postgresql.Cluster) -> Any:
    """The URL of an empty database in which the login may make tables, but no extensions; and what a superuser does."""
    name = f"poor_{os.getpid()}"

    def as_superuser(statement: str) -> None:
        cluster.run("psql", f"--dbname={name}", "--quiet", f"--command={statement}")

    url = cluster.create(name)
    as_superuser("CREATE ROLE poor LOGIN; GRANT ALL ON SCHEMA public TO poor")
    yield url.replace(f"//{postgresql.USER}@", "//poor@"), as_superuser
    cluster.drop(name)
    cluster.run("dropuser", "poor")


async def test_an_extension_that_is_missing_is_named_and_nothing_is_changed(poor: Any) -> None:
    url, as_superuser = poor
    async with opened(url) as database:
        with pytest.raises(StartError, match="run CREATE EXTENSION pg_trgm in it as a superuser") as refused:
            await migrate(database, NO_KEYS)
        assert "\n" not in str(refused.value)
        assert await tables_of(database.engine) == set()
    as_superuser("CREATE SCHEMA extensions; GRANT USAGE ON SCHEMA extensions TO poor")
    as_superuser("CREATE EXTENSION pg_trgm SCHEMA extensions")
    async with opened(url) as database:
        await migrate(database, NO_KEYS)
        assert (await inspect(database)).revision == HEAD
        await listing(database, EmailInbox, "abc", (), Window(), InboxOrder.NAME, Order.ASC)
