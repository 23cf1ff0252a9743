"""Fixtures: a server on a fresh database of each kind, and the API under test. Ten at most."""

import itertools
import os
import shutil
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from server import Settings, prepare
from tests import postgresql
from tests.api import Api, GraphQLApi, RestApi
from tests.running import Running, running, settings_for

_NUMBERS = itertools.count()
IN_CI = bool(os.environ.get("CI"))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI nothing may be skipped."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if IN_CI and reporter and reporter.stats.get("skipped"):
        reporter.write_line("Tests were skipped, which CI does not allow.", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def _no_environment() -> None:
    """No setting of the person who runs the tests gets in."""
    for name in [name for name in os.environ if name.startswith("EMAIL_INBOX_")]:
        del os.environ[name]


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reaches beyond this machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        if (
            isinstance(address, tuple)
            and not str(address[0]).startswith("127.")
            and address[0] not in ("::1", "localhost")
        ):
            raise AssertionError(f"a test connects to {address}")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(scope="session")
def cluster() -> Iterator[postgresql.Cluster]:
    """PostgreSQL, where it is installed; compulsory in CI."""
    if postgresql.programs() is None:
        if IN_CI:
            pytest.fail("PostgreSQL is compulsory in CI")
        pytest.skip("PostgreSQL is not installed")
    with postgresql.cluster() as started:
        yield started


@pytest.fixture(scope="session")
async def sqlite_template(tmp_path_factory: pytest.TempPathFactory, anyio_backend: str) -> Path:
    """A data folder as the first start leaves it."""
    folder = tmp_path_factory.mktemp("template") / "data"
    await prepare(settings_for(folder))
    return folder


@pytest.fixture(scope="session")
async def postgresql_template(cluster: postgresql.Cluster, sqlite_template: Path, anyio_backend: str) -> str:
    """A database as the first start leaves it, with the key of the SQLite template."""
    url = cluster.create("template_inbox")
    await prepare(settings_for(sqlite_template, url))
    return "template_inbox"


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path, sqlite_template: Path) -> Iterator[Settings]:
    """The settings of a server that was started once, on SQLite and on PostgreSQL."""
    folder = tmp_path / "data"
    shutil.copytree(sqlite_template, folder)
    if request.param == "sqlite":
        yield settings_for(folder)
        return
    cluster: postgresql.Cluster = request.getfixturevalue("cluster")
    template: str = request.getfixturevalue("postgresql_template")
    name = f"test_{os.getpid()}_{next(_NUMBERS)}"
    yield settings_for(folder, cluster.create(name, template))
    cluster.drop(name)


@pytest.fixture
async def server(settings: Settings) -> AsyncIterator[Running]:
    """A server within this process, with an administrator."""
    async with running(settings) as started:
        yield started


@pytest.fixture(params=[GraphQLApi, RestApi], ids=["graphql", "rest"])
def api(request: pytest.FixtureRequest, server: Running) -> Api:
    """Either API of the server, for what both can do."""
    found: Api = request.param(server.client)
    return found
