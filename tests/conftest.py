"""Fixtures: a server on a fresh database of each kind, and the API under test."""

import itertools
import os
import shutil
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import argon2
import pytest

from models import password
from server import prepare
from settings import Settings
from tests import postgresql
from tests.api import Api, GraphQLApi, RestApi
from tests.mail import dovecot as imap_servers
from tests.mail import postfix as smtp_servers
from tests.mail.certificates import Certificates
from tests.mail.dovecot import Dovecot
from tests.mail.postfix import Postfix
from tests.running import Running, rows_of, running, settings_for

DATABASES = ["sqlite", "postgresql"]
_NUMBERS = itertools.count()
IN_CI = bool(os.environ.get("CI"))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fails a run in CI that skipped tests."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if IN_CI and reporter and reporter.stats.get("skipped"):
        reporter.write_line("Tests were skipped, which CI does not allow.", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def _no_environment() -> None:
    """Removes the settings of the developer's environment."""
    for name in [name for name in os.environ if name.startswith("EMAIL_INBOX_")]:
        del os.environ[name]


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuses connections beyond this machine."""
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


@pytest.fixture(autouse=True)
def _cheap_hashing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes Argon2 fast in the tests' process, unless a test uses `costly_hashing`."""
    if "costly_hashing" not in request.fixturenames:
        monkeypatch.setattr(password, "_HASHER", argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        monkeypatch.setattr(password, "_UNKNOWN_USER_HASH", password._make_unknown_hash())


@pytest.fixture
def costly_hashing() -> None:
    """Hashes passwords as in production, with 64 MiB and 0.1 s of a processor each."""


@pytest.fixture(scope="session")
def cluster() -> Iterator[postgresql.Cluster]:
    """PostgreSQL, if it is installed; compulsory in CI."""
    _require("PostgreSQL", None if postgresql.programs() else "PostgreSQL is not installed")
    with postgresql.cluster() as started:
        yield started


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """A certificate authority and its certificates. Its file is for EMAIL_INBOX_CA_FILE."""
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def _dovecot(certificates: Certificates) -> Iterator[Dovecot]:
    _require("Dovecot", imap_servers.missing())
    with imap_servers.dovecot(certificates) as started:
        yield started


@pytest.fixture(scope="session")
def _postfix(certificates: Certificates, _dovecot: Dovecot) -> Iterator[Postfix]:
    _require("Postfix", smtp_servers.missing())
    with smtp_servers.postfix(certificates, _dovecot) as started:
        yield started


@pytest.fixture
def dovecot(_dovecot: Dovecot) -> Dovecot:
    """An IMAP server, if it is installed; compulsory in CI. Reset for every test."""
    _dovecot.tokens.forget()
    _dovecot.forgive()
    return _dovecot


@pytest.fixture
def postfix(_postfix: Postfix, dovecot: Dovecot) -> Postfix:
    """An SMTP server with the users of `dovecot`, if it is installed; compulsory in CI."""
    _postfix.forget()
    return _postfix


def _require(program: str, missing: str | None) -> None:
    if missing and IN_CI:
        pytest.fail(f"{program} is compulsory in CI: {missing}")
    if missing:
        pytest.skip(missing)


@pytest.fixture(scope="session")
async def sqlite_template(tmp_path_factory: pytest.TempPathFactory, anyio_backend: str) -> Path:
    """A data folder after the first start."""
    folder = tmp_path_factory.mktemp("template") / "data"
    await prepare(settings_for(folder))
    return folder


@pytest.fixture(scope="session")
async def postgresql_template(cluster: postgresql.Cluster, sqlite_template: Path, anyio_backend: str) -> str:
    """A database after the first start, with the key of the SQLite template."""
    url = cluster.create("template_inbox")
    await prepare(settings_for(sqlite_template, url))
    return "template_inbox"


@pytest.fixture(params=DATABASES)
def settings(request: pytest.FixtureRequest, tmp_path: Path, sqlite_template: Path) -> Iterator[Settings]:
    """The settings of a server after its first start, on SQLite and on PostgreSQL."""
    with _copy_templates(request, sqlite_template, tmp_path / "data") as made:
        yield made


@contextmanager
def _copy_templates(request: pytest.FixtureRequest, sqlite_template: Path, folder: Path) -> Iterator[Settings]:
    """Copies the templates to a new folder and database."""
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
    """A server in this process, with an administrator."""
    async with running(settings) as started:
        yield started


@pytest.fixture(scope="module", params=DATABASES)
def _shared_settings(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path
) -> Iterator[Settings]:
    with _copy_templates(request, sqlite_template, tmp_path_factory.mktemp("shared") / "data") as made:
        yield made


@pytest.fixture(scope="module")
async def _shared(_shared_settings: Settings, anyio_backend: str) -> AsyncIterator[Running]:
    async with running(_shared_settings) as started:
        yield started


@pytest.fixture
async def shared_server(_shared: Running) -> AsyncIterator[Running]:
    """A server that the tests of a module share, for tests that change no stored row.

    The throttle is not reset: tests of wrong credentials and logins use `server`.
    """
    before = await rows_of(_shared)
    yield _shared
    assert await rows_of(_shared) == before, "this test has changed what others read: let it take `server`"


@pytest.fixture(params=[GraphQLApi, RestApi], ids=["graphql", "rest"])
def api(request: pytest.FixtureRequest, server: Running) -> Api:
    """Each API of the server, for the operations of both."""
    found: Api = request.param(server.client)
    return found


@pytest.fixture(params=[GraphQLApi, RestApi], ids=["graphql", "rest"])
def shared_api(request: pytest.FixtureRequest, shared_server: Running) -> Api:
    """Each API of the shared server."""
    found: Api = request.param(shared_server.client)
    return found
