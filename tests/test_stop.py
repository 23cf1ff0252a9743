"""Stopping: what is under way is answered, and nothing keeps the server from ending."""

import json
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NoReturn

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from settings import Settings
from tests import postgresql
from tests.api import JSON_TYPE
from tests.inboxes import inbox_values
from tests.process import PLAIN, Process, environment_of, free_port, run, serving, start, subscribed, until
from tests.running import ADMIN_HEADERS, settings_for
from tests.stored import DATABASE, inboxes_of, locked

SECONDS = 10.0
QUICK = {"edge.serving.GRACE_SECONDS": 1}


@pytest.fixture
def process(settings: Settings, tmp_path: Path) -> Iterator[Process]:
    with serving(environment_of(settings), tmp_path) as started:
        yield started


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_requests_under_way_are_answered(process: Process, settings: Settings, number: int) -> None:
    with ExitStack() as stack:
        async with locked(settings):
            requests = [stack.enter_context(Request(process, _create(turn))) for turn in range(20)]
            process.signal(number)
            until(lambda: _refuses(process))
            assert process.poll() is None
        assert [request.answer() for request in requests] == [200] * 20
        assert process.wait(SECONDS) == 0
    assert len(await inboxes_of(settings)) == 20
    assert "Traceback" not in process.err


async def test_a_server_of_several_processes_answers_what_is_under_way(
    cluster: postgresql.Cluster, postgresql_template: str, tmp_path: Path, sqlite_template: Path
) -> None:
    settings = settings_for(sqlite_template, cluster.create("workers", postgresql_template))
    environment = environment_of(settings, EMAIL_INBOX_WORKERS=2)
    with serving(environment, tmp_path, new_interpreter=True) as process, ExitStack() as stack:
        until(lambda: _listening(settings) == 2)
        async with locked(settings):
            requests = [stack.enter_context(Request(process, _create(turn))) for turn in range(8)]
            process.signal(signal.SIGTERM)
            until(lambda: _refuses(process))
        assert [request.answer() for request in requests] == [200] * 8
        assert process.wait(SECONDS) == 0
    lines = [json.loads(line) for line in process.err.splitlines()]
    assert sum(line["event"] == "request" and line["method"] == "POST" for line in lines) == 8


def _listening(settings: Settings) -> int:
    """How many server processes follow the changes that others make."""
    asked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query ILIKE 'listen %'"
    command = ["psql", "--no-align", "--tuples-only", "--command", asked, settings.url]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def test_open_connections_and_subscriptions_do_not_keep_it(process: Process) -> None:
    process.client.get("/health/live")
    with subscribed(process) as subscription:
        started = time.monotonic()
        assert process.stop() == 0
        assert time.monotonic() - started < SECONDS
        with pytest.raises(ConnectionClosed) as closed:
            _read_on(subscription)
        assert closed.value.rcvd
        assert closed.value.rcvd.code == 1012


def test_a_request_that_never_ends_does_not_keep_it(settings: Settings, tmp_path: Path) -> None:
    with (
        serving(environment_of(settings), tmp_path, patched=QUICK) as process,
        Request(process, _create(1)[:20], length=1_000) as request,
    ):
        assert process.stop() == 0
        assert request.answer() == 503


def test_a_mail_server_that_is_silent_does_not_keep_it(settings: Settings, tmp_path: Path) -> None:
    values = {"server": "127.0.0.1", "username": "u", "password": "p", "secure": True}
    query = "mutation ($input: CheckEmailInboxInput!) { checkEmailInbox(input: $input) { success } }"
    with socket.create_server(("127.0.0.1", 0)) as silent, ThreadPoolExecutor() as threads:
        port = silent.getsockname()[1]
        allowed = {"EMAIL_INBOX_MAIL_HOSTS_ALLOW": "127.0.0.1", "EMAIL_INBOX_MAIL_PORTS": f"{port},"}
        with serving(environment_of(settings, **allowed), tmp_path, patched=QUICK) as process:
            body = {"query": query, "variables": {"input": {"imap": {**values, "port": port}}}}
            asked = threads.submit(process.client.post, "/graphql", json=body)
            silent.settimeout(SECONDS)
            with silent.accept()[0]:
                started = time.monotonic()
                assert process.stop() == 0
                assert time.monotonic() - started < SECONDS
            assert asked.result(SECONDS).status_code == 503
        assert "Traceback" not in process.err


async def test_a_lock_that_never_ends_does_not_keep_it(settings: Settings, tmp_path: Path) -> None:
    patched = {**QUICK, "models.database.backend.LOCK_SECONDS": 60}
    with serving(environment_of(settings), tmp_path, patched=patched) as process, ExitStack() as stack:
        async with locked(settings):
            requests = [stack.enter_context(Request(process, _create(turn))) for turn in range(3)]
            started = time.monotonic()
            assert process.stop() == 0
            assert time.monotonic() - started < SECONDS
            assert [request.answer() for request in requests] == [503] * 3
    assert await inboxes_of(settings) == []


def test_it_may_be_stopped_at_any_moment_of_its_start(tmp_path: Path) -> None:
    environment = {"EMAIL_INBOX_DATA_DIR": str(tmp_path / "data")}
    for step in range(10):
        process = start([], {"EMAIL_INBOX_PORT": str(free_port()), **environment}, tmp_path)
        time.sleep(step * 0.03)
        process.signal(signal.SIGTERM)
        assert process.wait() in (0, -signal.SIGTERM), process.err
        assert process.err == ""
    assert run(["user", "list"], environment, tmp_path)[0] == 0
    with closing(sqlite3.connect(tmp_path / "data" / DATABASE)) as connection:
        assert connection.execute('SELECT count(*) FROM "user"').fetchone()[0] <= 1


class Request:
    """A request to set an inbox that is known to be under way: the server has asked for its body."""

    def __init__(self, process: Process, body: bytes, length: int | None = None) -> None:
        url = httpx.URL(process.address)
        self._socket = socket.create_connection((url.host, url.port), timeout=30)
        headers = {**ADMIN_HEADERS, **JSON_TYPE, "Host": "localhost", "Expect": "100-continue"}
        headers["Content-Length"] = str(length or len(body))
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._socket.sendall(f"POST /api/v1/email-inbox HTTP/1.1\r\n{head}\r\n".encode())
        assert self.answer() == 100
        self._socket.sendall(body)

    def __enter__(self) -> "Request":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def answer(self) -> int:
        """The status of the next answer."""
        return int(self._socket.recv(65_536).split()[1])


def _read_on(connection: ClientConnection) -> NoReturn:
    while True:
        connection.recv(timeout=5)


def _create(turn: int) -> bytes:
    return json.dumps(inbox_values(email=f"a{turn}@example.org")).encode()


def _refuses(process: Process) -> bool:
    try:
        httpx.get(f"{process.address}/health/live", verify=PLAIN)
    except httpx.ConnectError:
        return True
    except httpx.TransportError:
        return False
    return False
