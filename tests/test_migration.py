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
from sqlalchemy import Connection, func, insert, literal, select, update
from sqlalchemy import inspect as sqlalchemy_inspect
from sqlmodel import SQLModel, col, create_engine
from structlog.testing import capture_logs

import models.change
import models.database.migration
import models.inbox
import models.key
import models.token
import models.user
from migrations.structure import structure
from models.account import Grant
from models.database import open_database
from models.database.columns import json_list, json_object
from models.database.migration import HEAD, SCRIPTS, STRUCTURE, inspect, migrate, revisions, upgrade
from models.database.search import search_page
from models.database.sqlite import SqliteTransaction
from models.errors import StartError
from models.inbox import EmailInbox, InboxOrder
from models.observer import Observer
from models.paging import Order, Window
from models.secrets import FORM, DecryptionError, Key, Keyring
from models.stored import PROTOCOLS, SECRETS, StoredInbox, account, secret_of
from resolvers.inbox import set_in
from server import prepare
from settings import Settings
from tests import postgresql
from tests.api import GraphQLApi
from tests.inboxes import CLIENT_SECRET, FINGERPRINT, REFRESH_TOKEN, consent, consenting_values, inbox_values
from tests.process import environment_of, free_port, run, serving, start, until
from tests.running import ADMIN_ID, ADMIN_TOKEN, Running, running, settings_for
from tests.stored import box_values, fill, inboxes_of, keyring_of, passwords_of, stored_of

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
    async with open_database(url) as database:
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
    monkeypatch.setattr(models.database.migration, "STRUCTURE", tmp_path / "sqlite.sql")
    upgrades = Mock(wraps=upgrade)
    monkeypatch.setattr(models.database.migration, "upgrade", upgrades)
    async with open_database(f"sqlite:///{tmp_path / 'empty.sqlite3'}") as database:
        await migrate(database, NO_KEYS)
        async with database.engine.connect() as connection:
            assert await connection.run_sync(structure) == STRUCTURE.read_text("utf-8")
    assert upgrades.call_count == 1


async def test_the_migrations_make_the_tables_of_the_models(server: Running) -> None:
    def is_of_a_model(_item: Any, name: str | None, _kind: str, _reflected: bool, _other: Any) -> bool:
        return not re.search("_search(_|$)|^ix_email_inbox_(inactive|(smtp|imap)_consent_id)$", name or "")

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
    monkeypatch.setattr(models.database.migration, "SCRIPTS", copy)
    monkeypatch.setattr(models.database.migration, "HEAD", NEXT)


async def test_a_migration_that_fails_has_changed_nothing(empty_url: str, broken_scripts: None) -> None:
    async with open_database(empty_url) as database:
        with pytest.raises(StartError):
            await migrate(database, NO_KEYS)
        assert await tables_of(database.engine) == set()
        assert (await inspect(database)).revision is None


async def test_a_failed_upgrade_leaves_the_database_as_it_was(
    empty_url: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    async with open_database(empty_url) as database:
        await migrate(database, NO_KEYS)
        before = await tables_of(database.engine)
        request.getfixturevalue("broken_scripts")
        with pytest.raises(StartError):
            await migrate(database, NO_KEYS)
        assert await tables_of(database.engine) == before
        assert (await inspect(database)).revision == HEAD


async def test_migrating_twice_is_migrating_once(settings: Settings) -> None:
    async with open_database(settings.url) as database:
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


async def make_older(
    settings: Settings, revision: str, count: int = 2, of: Callable[[int], dict[str, Any]] = box_values
) -> None:
    """What a server of this revision leaves: an administrator and inboxes, in the columns that it knows."""
    with pytest.MonkeyPatch.context() as older:
        older.setattr(models.database.migration, "HEAD", revision)
        await prepare(settings)
    rows = [unbound(row, settings) for row in rows_of_now(settings, count, of)]

    def insert_what_is_known(connection: Connection) -> None:
        known = {column["name"] for column in sqlalchemy_inspect(connection).get_columns("email_inbox")}
        older_rows = [{name: value for name, value in row.items() if name in known} for row in rows]
        connection.execute(insert(EmailInbox), older_rows)

    async with open_database(settings.url) as database, database.engine.begin() as connection:
        await connection.run_sync(insert_what_is_known)


def unbound(row: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """The row as it was before 0004, when a secret was bound to its row and column alone."""
    inbox, keyring = StoredInbox(**{name: row[name] for name in StoredInbox._fields}), keyring_of(settings)
    secrets = {
        f"{protocol}_{name}": secret_of(inbox, protocol, name, keyring)
        for protocol, name in itertools.product(PROTOCOLS, SECRETS)
        if row[f"{protocol}_{name}"]
    }
    return row | {name: sealed_of_before(secret.reveal(), inbox.id, name, keyring) for name, secret in secrets.items()}


def sealed_of_before(text: str, inbox_id: str, column: str, keyring: Keyring) -> bytes:
    place = "\0".join(("email_inbox", inbox_id, column))
    return keyring.first.id + keyring.first.seal(text.encode(), place.encode())


def rows_of_now(settings: Settings, count: int, of: Callable[[int], dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of inboxes, as this version writes them: `box-0000` and on."""
    engine = create_engine("sqlite://")
    SQLModel.metadata.create_all(engine)
    with engine.begin() as connection:
        driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        session = SqliteTransaction(connection, driver, Observer())
        saved = [set_in(session, of(number), keyring_of(settings), None).inbox for number in range(count)]
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
        with serving(environment, tmp_path, patched={"models.database.search.COMMON_SHARE": 2}) as process:
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
        assert isinstance(account(stored_of(inbox), "imap", keyring_of(settings)).login, Grant)
        found = (await server.graphql(SEARCH, search="BOX-0000@"))["data"]["emailInboxes"]["nodes"]
        assert found == [{"id": "box-0000"}]


# ---------------------------------------------------------------------------------------------- from 0003 to 0004


def either_values(number: int) -> dict[str, Any]:
    """An inbox with passwords, or with consents and one certificate that is trusted."""
    if number % 2 == 0:
        return box_values(number)
    name = f"box-{number:04}"
    values = consenting_values(id=name, email=f"{name}@example.org", smtp__tlsFingerprint=FINGERPRINT)
    values["imap"]["oauth2"]["clientSecret"] = None
    return values


async def secrets_of(settings: Settings) -> dict[str, dict[str, str]]:
    """Every secret that is stored, in clear, by inbox and column. Raises DecryptionError."""
    keyring = keyring_of(settings)
    return {
        inbox.id: {
            f"{protocol}_{name}": secret_of(stored_of(inbox), protocol, name, keyring).reveal()
            for protocol, name in itertools.product(PROTOCOLS, SECRETS)
            if getattr(inbox, f"{protocol}_{name}")
        }
        for inbox in await inboxes_of(settings)
    }


PASSWORDS = {"smtp_password": "smtp-box-0000", "imap_password": "imap-box-0000"}
CONSENTS = {
    "smtp_refresh_token": REFRESH_TOKEN,
    "smtp_client_secret": CLIENT_SECRET,
    "imap_refresh_token": f"{REFRESH_TOKEN}-imap",
}


async def test_secrets_of_before_are_bound_to_their_servers(untouched: Callable[[], Settings]) -> None:
    """In batches, of which there are two."""
    settings = untouched()
    await make_older(settings, "0003", 1_002, either_values)
    with capture_logs() as logs:
        await prepare(settings)
    assert {"event": "secrets bound to their servers", "inboxes": 1_002, "log_level": "info"} in logs
    found = await secrets_of(settings)
    assert len(found) == 1_002
    assert (found["box-0000"], found["box-0001"]) == (PASSWORDS, CONSENTS)
    assert found["box-1001"] == CONSENTS
    for inbox in await inboxes_of(settings):
        for protocol, name in itertools.product(PROTOCOLS, SECRETS):
            if value := getattr(inbox, f"{protocol}_{name}"):
                assert value[8:9] == FORM
                elsewhere = stored_of(inbox)._replace(smtp_port=2526, imap_port=2526)
                with pytest.raises(DecryptionError):
                    secret_of(elsewhere, protocol, name, keyring_of(settings))
    before = await inboxes_of(settings)
    await prepare(settings)
    assert [stored_of(inbox) for inbox in await inboxes_of(settings)] == [stored_of(inbox) for inbox in before]


async def test_what_does_not_decrypt_stays_as_it_is_and_is_told(untouched: Callable[[], Settings]) -> None:
    settings = untouched()
    await make_older(settings, "0003", 4, either_values)
    strange = sealed_of_before("x", "box-0002", "smtp_password", Keyring(lambda: [Key(bytes(32))]))
    moved = sealed_of_before("x", "elsewhere", "imap_refresh_token", keyring_of(settings))
    async with open_database(settings.url) as database, database.engine.begin() as connection:
        for inbox_id, column, value in (
            ("box-0002", "smtp_password", strange),
            ("box-0003", "imap_refresh_token", moved),
        ):
            changed = update(EmailInbox).where(col(EmailInbox.id) == inbox_id).values({column: value})
            await connection.execute(changed)
    with capture_logs() as logs:
        await prepare(settings)
    [told] = [entry for entry in logs if entry["log_level"] == "warning"]
    assert told["count"] == 2
    assert sorted(told["first"]) == ["imap_refresh_token of box-0003", "smtp_password of box-0002"]
    inboxes = {inbox.id: inbox for inbox in await inboxes_of(settings)}
    assert (inboxes["box-0002"].smtp_password, inboxes["box-0003"].imap_refresh_token) == (strange, moved)
    keyring = keyring_of(settings)
    assert secret_of(stored_of(inboxes["box-0002"]), "imap", "password", keyring).reveal() == "imap-box-0002"
    assert secret_of(stored_of(inboxes["box-0003"]), "smtp", "refresh_token", keyring).reveal() == REFRESH_TOKEN
    async with running(settings) as server:
        given = {"id": "box-0002", "name": "another"}
        answer = await server.graphql(UPDATE, input=given)
        [problem] = answer["data"]["updateEmailInbox"]["userErrors"]
        assert problem == {"code": "PASSWORD_REQUIRED", "field": ["input", "smtp", "password"]}


UPDATE = "mutation ($input: UpdateEmailInboxInput!) { updateEmailInbox(input: $input) { userErrors { code field } } }"


async def test_a_value_of_before_is_not_accepted_afterwards(settings: Settings) -> None:
    """Or whoever has an old copy of the database would write it over the new one."""
    await fill(settings, 1)
    keyring = keyring_of(settings)
    [inbox] = await inboxes_of(settings)
    old = sealed_of_before("smtp-box-0000", inbox.id, "smtp_password", keyring)
    dressed_up = old[:8] + FORM + old[8:]
    for value in (old, dressed_up):
        with pytest.raises(DecryptionError):
            secret_of(stored_of(inbox)._replace(smtp_password=value), "smtp", "password", keyring)


def test_binding_that_is_killed_at_any_step_is_made_good_by_the_next_start(
    untouched: Callable[[], Settings], tmp_path: Path
) -> None:
    for step in itertools.count():
        settings = untouched()
        asyncio.run(make_older(settings, "0003", 2, either_values))
        environment = environment_of(settings)
        killed = start([], {"EMAIL_INBOX_PORT": str(free_port()), **environment}, tmp_path, dies_at=step)
        served = until(lambda process=killed: process.poll() or "Serving" in process.out)  # type: ignore[misc]
        killed.kill()
        with serving(environment, tmp_path):
            assert asyncio.run(secrets_of(settings)) == {"box-0000": PASSWORDS, "box-0001": CONSENTS}
        if served is True:
            break
        assert killed.wait() == -9
    assert step >= 1


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
    async with open_database(url) as database:
        with pytest.raises(StartError, match="run CREATE EXTENSION pg_trgm in it as a superuser") as refused:
            await migrate(database, NO_KEYS)
        assert "\n" not in str(refused.value)
        assert await tables_of(database.engine) == set()
    as_superuser("CREATE SCHEMA extensions; GRANT USAGE ON SCHEMA extensions TO poor")
    as_superuser("CREATE EXTENSION pg_trgm SCHEMA extensions")
    async with open_database(url) as database:
        await migrate(database, NO_KEYS)
        assert (await inspect(database)).revision == HEAD
        await search_page(database, EmailInbox, "abc", (), Window(), InboxOrder.NAME, Order.ASC)
