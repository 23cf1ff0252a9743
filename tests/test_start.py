"""Starting: what the first start makes and prints, and every start that must not be."""

import base64
import os
import re
import shutil
import socket
import sqlite3
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from models.database import Database
from models.database.postgresql import CONNECT_SECONDS
from models.keyfile import KeyFile
from tests import postgresql
from tests.conftest import IN_CI
from tests.inboxes import inbox_values
from tests.process import PLAIN, free_port, run, serving, start, until
from tests.running import settings_for
from tests.stored import DATABASE, fill, read_only, snapshot, sql

SECONDS = 5.0
GIVEN = {
    "EMAIL_INBOX_ADMIN_USER_ID": "provisioned_1",
    "EMAIL_INBOX_ADMIN_TOKEN": "given-token-ffQJ1m0yXw",
    "EMAIL_INBOX_ADMIN_EMAIL": "admin@example.org",
    "EMAIL_INBOX_ADMIN_PASSWORD": "given-password-7Yt",
}


@pytest.fixture
def fresh(tmp_path: Path) -> dict[str, str]:
    """Settings whose data folder does not exist yet."""
    return {"EMAIL_INBOX_DATA_DIR": str(tmp_path / "data")}


# ------------------------------------------------------------------------------------------------------- good starts


def test_the_first_start_makes_everything_and_says_so_once(fresh: dict[str, str], tmp_path: Path) -> None:
    with serving(fresh, tmp_path, {}, new_interpreter=True) as server:
        assert _modes(tmp_path / "data") == {".": 0o700, "secret.key": 0o600, DATABASE: 0o600}
        lines = server.out.splitlines()
        assert lines[:2] == [f"Serving on {server.address}", f"GraphiQL:  {server.address}/graphql"]
        user_id, token = (line.split(": ")[1].strip() for line in lines if line.startswith("X-"))
        assert server.out.count(token) == 2
        answer = _pasted(lines[-1])
        assert '"username":"admin"' in answer
        assert '"MANAGE_EMAIL_INBOX"' in answer
        headers = {"X-User-Id": user_id, "X-Auth-Token": token}
        assert server.client.get("/api/v1/me", headers=headers).json()["_id"] == user_id
        assert server.stop() == 0
        assert token not in server.err
    with serving(fresh, tmp_path, headers) as again:
        assert again.out.splitlines() == [f"Serving on {again.address}", f"GraphiQL:  {again.address}/graphql"]
        assert again.client.get("/api/v1/me").status_code == 200


def test_an_administrator_can_be_provisioned(fresh: dict[str, str], tmp_path: Path) -> None:
    with serving({**fresh, **GIVEN}, tmp_path, {}) as server:
        for secret in ("EMAIL_INBOX_ADMIN_TOKEN", "EMAIL_INBOX_ADMIN_PASSWORD"):
            assert GIVEN[secret] not in server.out + server.err
        assert '"username":"admin"' in _pasted(server.out.splitlines()[-1], GIVEN)
        for name in ("admin", GIVEN["EMAIL_INBOX_ADMIN_EMAIL"]):
            body = {"user": name, "password": GIVEN["EMAIL_INBOX_ADMIN_PASSWORD"]}
            answer = server.client.post("/api/v1/login", json=body).json()
            assert answer["data"]["userId"] == GIVEN["EMAIL_INBOX_ADMIN_USER_ID"]


def test_keys_may_be_given_instead_of_a_file(fresh: dict[str, str], tmp_path: Path) -> None:
    keys = {"EMAIL_INBOX_SECRET_KEYS": f"{_key(1)}, {_key(2)}"}
    with serving({**fresh, **keys}, tmp_path, {}):
        assert _modes(tmp_path / "data").keys() - {f"{DATABASE}-wal", f"{DATABASE}-shm"} == {".", DATABASE}


def test_an_ipv6_address_is_served_and_printed_so_that_it_works(fresh: dict[str, str], tmp_path: Path) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 on this machine")
    port = free_port()
    process = start([], {**fresh, "EMAIL_INBOX_HOST": "::1", "EMAIL_INBOX_PORT": str(port)}, tmp_path)
    try:
        until(lambda: "Try it" in process.out)
        until(lambda: _answers(f"http://[::1]:{port}/health/ready"))
        assert '"username":"admin"' in _pasted(process.out.splitlines()[-1])
    finally:
        process.kill()


def test_variables_of_other_servers_are_not_obeyed(fresh: dict[str, str], tmp_path: Path) -> None:
    with serving({**fresh, "WEB_CONCURRENCY": "auto"}, tmp_path, {}) as server:
        assert server.client.get("/health/live").status_code == 200


def test_the_folder_may_have_an_odd_name(tmp_path: Path) -> None:
    odd = {"EMAIL_INBOX_DATA_DIR": str(tmp_path / "50% of #data é")}
    for _ in range(2):
        with serving(odd, tmp_path):
            pass
    assert run(["backup", "backup"], odd, tmp_path)[0] == 0


def test_tls_is_asked_for_in_the_words_of_libpq() -> None:
    database = Database("postgresql://u@h/d?sslmode=require&host=/x")
    assert dict(database.engine.url.query) == {"ssl": "require", "host": "/x"}


def test_a_misspelt_setting_is_warned_of(fresh: dict[str, str], tmp_path: Path) -> None:
    with serving({**fresh, "EMAIL_INBOX_PROT": "1"}, tmp_path) as server:
        assert '"name":"EMAIL_INBOX_PROT","event":"unknown setting"' in server.err


@pytest.mark.parametrize(
    ("more", "warned"),
    [
        ({}, False),
        ({"EMAIL_INBOX_HOST": "0.0.0.0"}, True),
        ({"EMAIL_INBOX_HOST": "0.0.0.0", "EMAIL_INBOX_HOSTS": "*"}, False),
    ],
)
def test_a_server_that_does_not_know_its_names_warns(
    more: dict[str, str], warned: bool, fresh: dict[str, str], tmp_path: Path
) -> None:
    with serving({**fresh, **more}, tmp_path) as process:
        assert ("every Host is accepted" in process.err) is warned


def _modes(folder: Path) -> dict[str, int]:
    found = {".": folder, **{path.name: path for path in folder.iterdir() if not path.name.endswith(("-wal", "-shm"))}}
    return {name: stat.S_IMODE(path.stat().st_mode) for name, path in found.items()}


def _pasted(line: str, variables: dict[str, str] | None = None) -> str:
    """What a shell prints when the line is typed into it."""
    if shutil.which("curl") is None:
        assert not IN_CI, "curl is compulsory in CI"
        pytest.skip("curl is not installed")
    environment = {"PATH": os.environ["PATH"], **(variables or {})}
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, env=environment, check=True)
    return done.stdout


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, verify=PLAIN).status_code == 200
    except httpx.TransportError:
        return False


def _key(number: int) -> str:
    return base64.b64encode(bytes([number]) * 32).decode()


# -------------------------------------------------------------------------------------------------------- bad starts


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"EMAIL_INBOX_PORT": "x"}, "EMAIL_INBOX_PORT"),
        ({"EMAIL_INBOX_PORT": "65536"}, "EMAIL_INBOX_PORT"),
        ({"EMAIL_INBOX_PORT": "0", "EMAIL_INBOX_LOG_LEVEL": "loud"}, "EMAIL_INBOX_LOG_LEVEL"),
        ({"EMAIL_INBOX_HOST": "192.0.2.1"}, "192.0.2.1"),
        ({"EMAIL_INBOX_HOST": "a" * 70}, "EMAIL_INBOX_HOST"),
        ({"EMAIL_INBOX_WORKERS": "2"}, "EMAIL_INBOX_WORKERS"),
        ({"EMAIL_INBOX_DATABASE_URL": "nonsense"}, "EMAIL_INBOX_DATABASE_URL"),
        ({"EMAIL_INBOX_DATABASE_URL": "mysql://u:canary@h/d"}, "EMAIL_INBOX_DATABASE_URL"),
        ({"EMAIL_INBOX_DATABASE_URL": "sqlite://"}, "EMAIL_INBOX_DATABASE_URL"),
        ({"EMAIL_INBOX_DATABASE_URL": "postgresql://u:canary@h:port/d"}, "EMAIL_INBOX_DATABASE_URL"),
        ({"EMAIL_INBOX_DATABASE_URL": "postgresql://u:canary@127.0.0.1:1/d"}, "out of reach"),
        ({"EMAIL_INBOX_DATABASE_URL": "postgresql://u:canary@/d?host=/nowhere"}, "out of reach"),
        ({"EMAIL_INBOX_DATABASE_URL": "postgresql://u:canary@127.0.0.1:1/d?colour=red"}, "colour"),
        ({"EMAIL_INBOX_DATABASE_URL": "postgresql://u:canary@127.0.0.1:1/d?sslmode=perhaps"}, "out of reach"),
        ({"EMAIL_INBOX_DATABASE_URL": "sqlite:////nowhere/at/all.sqlite3"}, "/nowhere/at/all.sqlite3"),
        ({"EMAIL_INBOX_SECRET_KEYS": "Y2FuYXJ5"}, "EMAIL_INBOX_SECRET_KEYS"),
        ({"EMAIL_INBOX_SECRET_KEYS": f"{_key(1)};{_key(2)}"}, "EMAIL_INBOX_SECRET_KEYS"),
        ({"EMAIL_INBOX_SECRET_KEYS": " , "}, "EMAIL_INBOX_SECRET_KEYS"),
        ({"EMAIL_INBOX_ADMIN_USER_ID": "no blanks"}, "EMAIL_INBOX_ADMIN_USER_ID"),
        ({"EMAIL_INBOX_ADMIN_EMAIL": "nobody"}, "EMAIL_INBOX_ADMIN_EMAIL"),
        ({"EMAIL_INBOX_ADMIN_PASSWORD": "canary\tcanary"}, "EMAIL_INBOX_ADMIN_PASSWORD"),
        ({"EMAIL_INBOX_ADMIN_TOKEN": "canary canary canary canary"}, "EMAIL_INBOX_ADMIN_TOKEN"),
        ({"EMAIL_INBOX_ADMIN_TOKEN": "a"}, "EMAIL_INBOX_ADMIN_TOKEN: must have 20 to 200 characters"),
        ({"EMAIL_INBOX_ADMIN_TOKEN": "canary-canary-canar"}, "EMAIL_INBOX_ADMIN_TOKEN: must have 20 to 200 characters"),
        ({"EMAIL_INBOX_ADMIN_TOKEN": "canary" * 40}, "EMAIL_INBOX_ADMIN_TOKEN: must have 20 to 200 characters"),
        ({"EMAIL_INBOX_MAIL_PORTS": "smtp"}, "EMAIL_INBOX_MAIL_PORTS"),
        ({"EMAIL_INBOX_MAIL_PORTS": "25,0"}, "EMAIL_INBOX_MAIL_PORTS"),
        ({"EMAIL_INBOX_MAIL_PORTS": "25,65530-65536"}, "EMAIL_INBOX_MAIL_PORTS"),
        ({"EMAIL_INBOX_MAIL_PORTS": "587-25"}, "EMAIL_INBOX_MAIL_PORTS"),
        ({"EMAIL_INBOX_MAIL_HOSTS_ALLOW": "10.0.0.0/33"}, "EMAIL_INBOX_MAIL_HOSTS_ALLOW"),
        ({"EMAIL_INBOX_MAIL_HOSTS_ALLOW": "127.0.0.1, imap://mail.internal"}, "EMAIL_INBOX_MAIL_HOSTS_ALLOW"),
        ({"EMAIL_INBOX_MAIL_HOSTS_ALLOW": "*"}, "EMAIL_INBOX_MAIL_HOSTS_ALLOW"),
        ({"EMAIL_INBOX_MAIL_HOSTS_ALLOW": "mail internal"}, "EMAIL_INBOX_MAIL_HOSTS_ALLOW"),
        ({"EMAIL_INBOX_CORS_ORIGINS": "app.example.org"}, "EMAIL_INBOX_CORS_ORIGINS: must be a scheme and a host"),
        ({"EMAIL_INBOX_CORS_ORIGINS": "https://app.example.org/"}, "without a path or trailing slash"),
        ({"EMAIL_INBOX_CORS_ORIGINS": "https://app.example.org,*"}, "EMAIL_INBOX_CORS_ORIGINS"),
        ({"EMAIL_INBOX_CORS_ORIGINS": "https://app.example.org:443"}, "must not contain the default port 443"),
        ({"EMAIL_INBOX_CORS_ORIGINS": "http://app.example.org:99999"}, "EMAIL_INBOX_CORS_ORIGINS"),
        ({"EMAIL_INBOX_CORS_ORIGINS": "null"}, "EMAIL_INBOX_CORS_ORIGINS"),
        ({"EMAIL_INBOX_PUBLIC_URL": "inbox.example.org"}, "EMAIL_INBOX_PUBLIC_URL"),
        ({"EMAIL_INBOX_PUBLIC_URL": "https://example.org/inbox"}, "EMAIL_INBOX_PUBLIC_URL"),
        ({"EMAIL_INBOX_HOSTS": "https://inbox.example.org"}, "EMAIL_INBOX_HOSTS"),
        ({"EMAIL_INBOX_HOSTS": "10.0.0.1:3000"}, "EMAIL_INBOX_HOSTS"),
        ({"EMAIL_INBOX_HOSTS": "a:80"}, "EMAIL_INBOX_HOSTS"),
        ({"EMAIL_INBOX_PROXIES": "proxy.internal"}, "EMAIL_INBOX_PROXIES"),
        ({"EMAIL_INBOX_PROXIES": "*"}, "EMAIL_INBOX_PROXIES"),
        ({"EMAIL_INBOX_PROXIES": "10.0.0.1/8"}, "EMAIL_INBOX_PROXIES"),
        ({"EMAIL_INBOX_RATE_LIMIT": "often"}, "EMAIL_INBOX_RATE_LIMIT"),
        ({"EMAIL_INBOX_PORT": "70000"}, "EMAIL_INBOX_PORT"),
        ({"EMAIL_INBOX_CA_FILE": "/nowhere/ca.pem"}, "EMAIL_INBOX_CA_FILE: /nowhere/ca.pem can't be read"),
        ({"EMAIL_INBOX_CA_FILE": "/"}, "EMAIL_INBOX_CA_FILE"),
        ({"EMAIL_INBOX_CA_FILE": __file__}, "holds no certificate"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_setting_ends_the_start(
    wrong: dict[str, str], said: str, fresh: dict[str, str], tmp_path: Path
) -> None:
    complaint = _refused({**fresh, **wrong}, tmp_path)
    assert said in complaint
    assert "canary" not in complaint
    assert not (tmp_path / "data").exists()


def test_a_port_in_use_ends_the_start(fresh: dict[str, str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        assert port in _refused({**fresh, "EMAIL_INBOX_PORT": port}, tmp_path)
    assert not (tmp_path / "data").exists()


def test_a_data_folder_that_is_a_file_ends_the_start(fresh: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "data").write_text("mine")
    assert str(tmp_path / "data") in _refused(fresh, tmp_path)
    assert (tmp_path / "data").read_text() == "mine"


def test_a_settings_file_that_is_no_text_ends_the_start(fresh: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"EMAIL_INBOX_PORT=\xff\xfe")
    assert ".env" in _refused(fresh, tmp_path)


def test_a_postgresql_that_says_nothing_ends_the_start(fresh: dict[str, str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://u@127.0.0.1:{silent.getsockname()[1]}/d"
        patched = {"models.database.postgresql.CONNECT_SECONDS": 0.3}
        assert "out of reach" in _refused({**fresh, "EMAIL_INBOX_DATABASE_URL": url}, tmp_path, patched=patched)
    assert CONNECT_SECONDS < SECONDS - 1


@pytest.fixture(scope="module")
async def filled_template(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path, anyio_backend: str) -> Path:
    folder = tmp_path_factory.mktemp("filled") / "data"
    shutil.copytree(sqlite_template, folder)
    await fill(settings_for(folder), 100)
    return folder


@pytest.fixture
def filled(tmp_path: Path, filled_template: Path) -> Path:
    """A data folder with a hundred inboxes."""
    folder: Path = shutil.copytree(filled_template, tmp_path / "data")
    return folder


def _overwrite(folder: Path, at: int, content: bytes) -> None:
    with (folder / DATABASE).open("r+b") as file:
        file.seek(at)
        file.write(content)


def _page_of(folder: Path, table: str) -> int:
    with closing(sqlite3.connect(folder / DATABASE)) as connection:
        root: int = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", [table]).fetchone()[0]
    return (root - 1) * 4096


def _truncate(folder: Path, keep: float) -> None:
    path = folder / DATABASE
    os.truncate(path, int(path.stat().st_size * keep) // 4096 * 4096)


def _set_revision(folder: Path, revision: str) -> None:
    with sql(folder) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", [revision])


def _make_foreign(folder: Path) -> None:
    (folder / DATABASE).unlink()
    with sql(folder) as connection:
        connection.execute("CREATE TABLE recipe (name TEXT)")


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "garbage header": (lambda folder: _overwrite(folder, 0, os.urandom(100)), "not a database"),
    "garbage": (lambda folder: (folder / DATABASE).write_bytes(os.urandom(10_000)), "not a database"),
    "truncated": (lambda folder: _truncate(folder, 0.5), "malformed"),
    "truncated within the header": (lambda folder: os.truncate(folder / DATABASE, 50), "malformed"),
    "root page overwritten": (
        lambda folder: _overwrite(folder, _page_of(folder, "email_inbox"), os.urandom(4096)),
        "damaged",
    ),
    "page in the middle overwritten": (
        lambda folder: _overwrite(folder, (folder / DATABASE).stat().st_size // 8192 * 4096, os.urandom(4096)),
        "",
    ),
    "newer": (lambda folder: _set_revision(folder, "9999"), "9999"),
    "something else": (_make_foreign, "another application"),
    "wrong key file": (lambda folder: (folder / "secret.key").write_text(_key(3)), "key"),
    "garbage key file": (lambda folder: (folder / "secret.key").write_bytes(os.urandom(45)), "secret.key"),
    "empty key file": (lambda folder: (folder / "secret.key").write_text(""), "secret.key"),
    "missing key file": (lambda folder: (folder / "secret.key").unlink(), "secret.key"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_database_or_key_ends_the_start(
    name: str, filled: Path, fresh: dict[str, str], tmp_path: Path
) -> None:
    do, said = BROKEN[name]
    do(filled)
    assert said in _refused(fresh, tmp_path)


def test_the_wrong_key_in_the_environment_ends_the_start(filled: Path, fresh: dict[str, str], tmp_path: Path) -> None:
    right = KeyFile(filled / "secret.key").keys()[0].id.hex()
    assert right in _refused({**fresh, "EMAIL_INBOX_SECRET_KEYS": _key(3)}, tmp_path)


def test_what_a_killed_server_left_is_not_folded_in_by_a_start_that_fails(
    filled: Path, fresh: dict[str, str], tmp_path: Path
) -> None:
    with serving(fresh, tmp_path) as server:
        assert server.client.post("/api/v1/email-inbox", json=inbox_values()).status_code == 200
        server.kill()
    log = filled / f"{DATABASE}-wal"
    before = (filled / DATABASE).read_bytes(), log.read_bytes()
    assert before[1]
    status, _, err = run([], {**fresh, "EMAIL_INBOX_SECRET_KEYS": _key(3)}, tmp_path)
    assert (status, err.count("\n")) == (1, 1)
    assert ((filled / DATABASE).read_bytes(), log.read_bytes()) == before
    with serving(fresh, tmp_path) as server:
        assert server.client.get("/api/v1/email-inbox.list").json()["total"] == 101


def test_a_read_only_folder_ends_the_start(filled: Path, fresh: dict[str, str], tmp_path: Path) -> None:
    with read_only(filled):
        assert str(filled) in _refused(fresh, tmp_path)


def test_a_read_only_empty_folder_ends_the_start(fresh: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    with read_only(tmp_path / "data"):
        assert str(tmp_path / "data") in _refused(fresh, tmp_path)


@pytest.fixture
def foreign(cluster: postgresql.Cluster) -> Iterator[str]:
    """An empty database on PostgreSQL."""
    name = f"start_{os.getpid()}"
    yield cluster.create(name)
    cluster.drop(name)


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("CREATE TABLE recipe (name text)", "another application"),
        ("CREATE TABLE alembic_version (version_num text); INSERT INTO alembic_version VALUES ('9999')", "9999"),
    ],
)
def test_a_database_of_something_else_on_postgresql_ends_the_start(
    statement: str, said: str, foreign: str, fresh: dict[str, str], tmp_path: Path
) -> None:
    subprocess.run(["psql", "--quiet", "--command", statement, foreign], check=True)
    before = _dump(foreign)
    assert said in _refused({**fresh, "EMAIL_INBOX_DATABASE_URL": foreign}, tmp_path)
    assert _dump(foreign) == before
    assert not (tmp_path / "data").exists()


def test_a_missing_database_on_postgresql_ends_the_start(
    cluster: postgresql.Cluster, fresh: dict[str, str], tmp_path: Path
) -> None:
    missing = {**fresh, "EMAIL_INBOX_DATABASE_URL": cluster.url("missing")}
    assert '"missing" does not exist' in _refused(missing, tmp_path)


def _dump(url: str) -> str:
    """What the database holds. The random word of `\\restrict` differs from dump to dump."""
    done = subprocess.run(["pg_dump", "--inserts", url], check=True, capture_output=True, text=True)
    return re.sub(r"(?m)^\\(un)?restrict .*$", "", done.stdout)


def _refused(environment: dict[str, str], folder: Path, **more: Any) -> str:
    """Starts a server that must not start, and returns its one line of complaint."""
    data = Path(environment["EMAIL_INBOX_DATA_DIR"])
    before, started = snapshot(data), time.monotonic()
    settings = {"EMAIL_INBOX_PORT": str(free_port()), **environment}
    status, out, err = run([], settings, folder, **more)
    assert time.monotonic() - started < SECONDS
    assert snapshot(data) == before
    assert (status, out, len(err.splitlines())) == (1, "", 1), err
    assert "Traceback" not in err
    return err
