"""Several server processes on one database: a race has one winner, the others are told so, and none gets in the way."""

import asyncio
import os
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from models.database import open_database
from settings import Settings
from tests import postgresql
from tests.api import Api, GraphQLApi, RestApi
from tests.inboxes import IMAP_PASSWORD, SMTP_PASSWORD, inbox_values
from tests.process import Process, environment_of, free_port, serving, start, wait_until_ready
from tests.running import ADMIN_HEADERS, settings_for
from tests.stored import inboxes_of, keyring_of, passwords_of

CREATES = 50
PROCESSES, CHAINS, WRITES = 4, 5, 5
INTRODUCTION = "The first administrator was made"
TAKEN = {("input.email", "TAKEN")}
SCHEMA = {
    "sqlite": "SELECT type, name, sql FROM sqlite_master ORDER BY name",
    "postgresql": "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns"
    " WHERE table_schema = 'public' ORDER BY 1, 2",
}


@asynccontextmanager
async def apis_of(processes: list[Process], statuses: set[int]) -> AsyncIterator[list[Api]]:
    """GraphQL and REST of each process. The status of every answer is added to `statuses`."""

    async def note(answer: httpx.Response) -> None:
        statuses.add(answer.status_code)

    async with AsyncExitStack() as stack:
        apis: list[Api] = []
        for process in processes:
            client = httpx.AsyncClient(
                base_url=process.address, headers=ADMIN_HEADERS, timeout=30, event_hooks={"response": [note]}
            )
            await stack.enter_async_context(client)
            apis += [GraphQLApi(client), RestApi(client)]
        yield apis


def _assert_calm(processes: list[Process]) -> None:
    for process in processes:
        assert "locked" not in process.err
        assert '"database unavailable"' not in process.err
        assert "Traceback" not in process.err


# ------------------------------------------------------------------------------------------------------------ writing


async def test_one_of_many_creates_of_one_address_wins(settings: Settings, tmp_path: Path) -> None:
    statuses: set[int] = set()
    with ExitStack() as stack:
        processes = [stack.enter_context(serving(environment_of(settings), tmp_path)) for _ in range(2)]
        async with apis_of(processes, statuses) as apis:
            creates = (apis[turn % len(apis)].set_inbox(inbox_values()) for turn in range(CREATES))
            outcomes = await asyncio.gather(*creates)
        _assert_calm(processes)
    won = [outcome.inbox_id for outcome in outcomes if outcome.inbox_id]
    lost = [outcome for outcome in outcomes if not outcome.inbox_id]
    assert len(won) == 1
    assert [inbox.id for inbox in await inboxes_of(settings)] == won
    assert [(outcome.problems, outcome.refused) for outcome in lost] == [(TAKEN, None)] * (CREATES - 1)
    assert statuses == {200, 400}


async def test_several_processes_write_to_one_file_at_once(sqlite_template: Path, tmp_path: Path) -> None:
    settings = settings_for(shutil.copytree(sqlite_template, tmp_path / "data"))
    statuses: set[int] = set()
    with ExitStack() as stack:
        processes = [stack.enter_context(serving(environment_of(settings), tmp_path)) for _ in range(PROCESSES)]
        async with apis_of(processes, statuses) as apis:
            names = [(api, f"box-{number}-{chain}") for number, api in enumerate(apis) for chain in range(CHAINS)]
            written = await asyncio.gather(*(_write_some(api, name) for api, name in names))
        _assert_calm(processes)
    assert statuses == {200}
    assert {inbox.id for inbox in await inboxes_of(settings)} == {inbox_id for some in written for inbox_id in some}


async def _write_some(api: Api, name: str) -> list[str]:
    """Makes inboxes one after the other."""
    ids = [f"{name}-{turn}" for turn in range(WRITES)]
    for inbox_id in ids:
        outcome = await api.set_inbox(inbox_values(id=inbox_id, email=f"{inbox_id}@example.org"))
        assert outcome.inbox_id == inbox_id, outcome
    return ids


# ----------------------------------------------------------------------------------------------------------- starting


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    """The settings of servers that were never started, which share an empty database and a data folder."""
    folder = tmp_path / "data"
    if request.param == "sqlite":
        yield settings_for(folder)
        return
    cluster: postgresql.Cluster = request.getfixturevalue("cluster")
    name = f"race_{os.getpid()}"
    yield settings_for(folder, cluster.create(name))
    cluster.drop(name)


@pytest.fixture
def made(request: pytest.FixtureRequest, empty: Settings, sqlite_template: Path) -> Iterator[Settings]:
    """The settings of a server on a database of the same kind, which it made on its own."""
    if empty.database_url is None:
        yield settings_for(sqlite_template)
        return
    cluster: postgresql.Cluster = request.getfixturevalue("cluster")
    name = f"made_{os.getpid()}"
    yield settings_for(sqlite_template, cluster.create(name, request.getfixturevalue("postgresql_template")))
    cluster.drop(name)


async def test_servers_that_start_at_once_make_one_world(empty: Settings, made: Settings, tmp_path: Path) -> None:
    with started_at_once(environment_of(empty), tmp_path, 2) as processes:
        introduced = [process.out for process in processes if INTRODUCTION in process.out]
        assert len(introduced) == 1
        headers = dict(re.findall(r"(?m)^(X-[^:]+): +(.+)$", introduced[0]))
        for number, process in enumerate(processes):
            body = inbox_values(email=f"box-{number}@example.org")
            answer = process.client.post("/api/v1/email-inbox", json=body, headers=headers)
            assert answer.status_code == 200, answer.text
        _assert_calm(processes)
    assert await _counts(empty) == {"alembic_version": 1, "encryption_key": 1, "user": 1, "access_token": 1}
    assert await _schema(empty) == await _schema(made)
    keyring = keyring_of(empty)
    stored = [passwords_of(inbox, keyring) for inbox in await inboxes_of(empty)]
    assert stored == [(SMTP_PASSWORD, IMAP_PASSWORD)] * 2


@contextmanager
def started_at_once(environment: dict[str, str], folder: Path, count: int) -> Iterator[list[Process]]:
    processes: list[Process] = []
    try:
        for _ in range(count):
            port = free_port()
            process = start([], {"EMAIL_INBOX_PORT": str(port), **environment}, folder)
            process.address = f"http://127.0.0.1:{port}"
            process.client = httpx.Client(base_url=process.address)
            processes.append(process)
        for process in processes:
            wait_until_ready(process)
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.client.close()


async def _counts(settings: Settings) -> dict[str, int]:
    """How many rows the tables have that a start writes to."""
    tables = ("alembic_version", "encryption_key", "user", "access_token")
    async with open_database(settings.url) as database, database.engine.connect() as connection:
        return {
            table: (await connection.execute(text(f'SELECT count(*) FROM "{table}"'))).scalar_one() for table in tables
        }


async def _schema(settings: Settings) -> list[Any]:
    async with open_database(settings.url) as database, database.engine.connect() as connection:
        return list((await connection.execute(text(SCHEMA[connection.dialect.name]))).all())
