"""A disk, a lock or a database in the way: 503 over both APIs, nothing half done, and work resumes by itself."""

import itertools
import json
import os
import pwd
import sqlite3
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn

import pytest
from sqlalchemy import make_url
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

import models.inbox
from settings import Settings
from tests import postgresql
from tests.api import SET
from tests.inboxes import inbox_values
from tests.process import Process, environment_of, serving, subscribed, until
from tests.running import Running
from tests.stored import DATABASE, fill_up, immutable, locked, small_disk

LIST = "{ emailInboxes { totalCount } }"
on_sqlite = pytest.mark.parametrize("settings", ["sqlite"], indirect=True)


def values(inbox_id: str, **changes: Any) -> dict[str, Any]:
    return inbox_values(id=inbox_id, email=f"{inbox_id}@example.org", **changes)


def document(inbox_id: str) -> dict[str, Any]:
    """The same, as REST takes it."""
    return {("_id" if name == "id" else name): value for name, value in values(inbox_id).items()}


def write(process: Process, inbox_id: str) -> list[int]:
    """Tries to set an inbox over both APIs, and gives the statuses. A refusal says when to come back."""
    rest = process.client.post("/api/v1/email-inbox", json=document(f"rest-{inbox_id}"))
    request = {"query": SET, "variables": {"input": values(f"graphql-{inbox_id}")}}
    graphql = process.client.post("/graphql", json=request)
    for answer in (rest, graphql):
        assert (answer.status_code == 503) == ("Retry-After" in answer.headers)
    if graphql.status_code == 503:
        assert graphql.json()["errors"][0]["extensions"]["code"] == "SERVICE_UNAVAILABLE"
        assert rest.json()["success"] is False
    return [rest.status_code, graphql.status_code]


def count(process: Process) -> int:
    total: int = process.client.get("/api/v1/email-inbox.list").json()["total"]
    assert process.graphql(LIST) == {"data": {"emailInboxes": {"totalCount": total}}}
    return total


def readiness_is(process: Process, status: int) -> Callable[[], bool]:
    """A condition to wait for, because an answer is kept for a second."""

    def asked() -> bool:
        answer = process.client.get("/health/ready")
        assert (answer.status_code == 503) == ("Retry-After" in answer.headers)
        return answer.status_code == status

    return asked


def resumes(process: Process) -> Callable[[], bool]:
    return lambda: write(process, "after") == [200, 200]


@on_sqlite
def test_a_full_disk(settings: Settings, tmp_path: Path) -> None:
    with small_disk(settings.data_dir, "3m"), serving(environment_of(settings), tmp_path) as process:
        assert write(process, "before") == [200, 200]
        ballast = fill_up(settings.data_dir)
        numbers = itertools.count()
        # Some room may be left within the pages of the write-ahead log.
        until(lambda: 503 in write(process, f"full-{next(numbers)}"), 20)
        found = count(process)
        until(readiness_is(process, 503))
        assert process.client.get("/health/live").status_code == 200
        ballast.unlink()
        until(resumes(process))
        assert count(process) == found + 2
        until(readiness_is(process, 200))
        process.stop()
        assert is_whole(settings)


def is_whole(settings: Settings) -> bool:
    """Whether the database is sound, and every inbox in it has the row of its change."""
    with closing(sqlite3.connect(settings.data_dir / DATABASE)) as connection:
        sound: tuple[str] = connection.execute("PRAGMA integrity_check").fetchone()
        odd = connection.execute(
            "SELECT count(*) FROM email_inbox WHERE version != "
            "(SELECT count(*) FROM email_inbox_change WHERE inbox_id = email_inbox.id)"
        ).fetchone()
    return (sound, odd) == (("ok",), (0,))


async def test_a_lock_that_another_process_holds(settings: Settings, tmp_path: Path) -> None:
    patched = {"models.database.backend.LOCK_SECONDS": 0.2}
    with serving(environment_of(settings), tmp_path, patched=patched) as process:
        async with locked(settings):
            assert write(process, "locked") == [503, 503]
            assert count(process) == 0
            until(readiness_is(process, 503))
        assert write(process, "free") == [200, 200]
        until(readiness_is(process, 200))
        assert count(process) == 2


async def test_many_writers_that_wait_for_a_lock_do_not_keep_readers(settings: Settings, tmp_path: Path) -> None:
    with serving(environment_of(settings), tmp_path) as process, ThreadPoolExecutor(12) as pool:
        async with locked(settings):
            waiting = [pool.submit(write, process, f"waiting-{number}") for number in range(12)]
            for _ in range(30):
                assert count(process) == 0
            assert not any(answer.done() for answer in waiting)
        assert [answer.result() for answer in waiting] == [[200, 200]] * 12


@on_sqlite
def test_files_that_cannot_be_written(settings: Settings, tmp_path: Path) -> None:
    with serving(environment_of(settings), tmp_path) as process:
        assert write(process, "before") == [200, 200]
        files = [settings.data_dir / f"{DATABASE}{ending}" for ending in ("", "-wal")]
        with immutable(*files):
            assert write(process, "meanwhile") == [503, 503]
            assert count(process) == 2
            until(readiness_is(process, 503))
            assert process.client.get("/health/live").status_code == 200
        until(resumes(process))
        until(readiness_is(process, 200))
        process.stop()
        assert is_whole(settings)


on_postgresql = pytest.mark.parametrize("settings", ["postgresql"], indirect=True)


def name_of(settings: Settings) -> str:
    return str(make_url(settings.url).database)


@on_postgresql
def test_postgresql_that_takes_no_connections(settings: Settings, cluster: postgresql.Cluster, tmp_path: Path) -> None:
    name = name_of(settings)

    def sql(statement: str) -> None:
        cluster.run("psql", "--dbname=postgres", f"--command={statement}")

    with serving(environment_of(settings), tmp_path) as process:
        assert write(process, "before") == [200, 200]
        sql(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false")
        sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        until(lambda: write(process, "gone") == [503, 503])
        until(readiness_is(process, 503))
        sql(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true")
        until(resumes(process))
        assert count(process) == 4
        until(readiness_is(process, 200))


@on_postgresql
def test_postgresql_that_only_reads(settings: Settings, cluster: postgresql.Cluster, tmp_path: Path) -> None:
    def set_read_only(value: str) -> None:
        """As in a replica, or on a full disk: connections are cut, and new ones only read."""
        name = name_of(settings)
        cut = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        for statement in (f"ALTER DATABASE {name} SET default_transaction_read_only = {value}", cut):
            cluster.run("psql", "--dbname=postgres", f"--command={statement}")

    with serving(environment_of(settings), tmp_path) as process:
        assert write(process, "before") == [200, 200]
        set_read_only("on")
        until(lambda: write(process, "meanwhile") == [503, 503])
        assert count(process) == 2
        until(readiness_is(process, 503))
        set_read_only("off")
        until(resumes(process))
        until(readiness_is(process, 200))


@on_postgresql
def test_postgresql_that_stops_and_starts_again(
    settings: Settings, cluster: postgresql.Cluster, tmp_path: Path
) -> None:
    with serving(environment_of(settings), tmp_path) as process, subscribed(process) as subscription:
        assert write(process, "before") == [200, 200]
        assert [json.loads(subscription.recv(timeout=5))["type"] for _ in range(2)] == ["next"] * 2
        try:
            control(cluster, "stop", "--mode=fast")
            assert write(process, "gone") == [503, 503]
            assert process.client.get("/api/v1/email-inbox.list").status_code == 503
            until(readiness_is(process, 503))
            assert process.client.get("/health/live").status_code == 200
        finally:
            control(cluster, "restart")
        until(resumes(process))
        assert json.loads(subscription.recv(timeout=5))["payload"]["data"]["emailInboxChanged"]["id"] == "rest-after"
        until(readiness_is(process, 200))
        assert "Traceback" not in process.err


def control(cluster: postgresql.Cluster, *command: str) -> None:
    """Runs pg_ctl as the owner of the cluster; `restart` remembers the options of the first start."""
    folder = postgresql.programs()
    assert folder
    owner = {"user": pwd.getpwnam(postgresql.USER).pw_uid} if os.geteuid() == 0 else {}
    data = ["--pgdata", str(cluster.folder / "data"), "--wait", "--silent", f"--log={cluster.folder / 'log'}"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": cluster.folder}
    subprocess.run([str(folder / "pg_ctl"), *data, *command], check=True, **quiet, **owner)  # type: ignore[call-overload]


@on_sqlite
def test_a_database_that_is_damaged_while_it_is_in_use(settings: Settings, tmp_path: Path) -> None:
    with serving(environment_of(settings), tmp_path) as process:
        assert write(process, "before") == [200, 200]
        for ending in ("", "-wal"):
            path = settings.data_dir / f"{DATABASE}{ending}"
            path.write_bytes(os.urandom(path.stat().st_size))
        statuses = {status for number in range(10) for status in write(process, f"damaged-{number}")}
        # What is in memory may go on for a while.
        assert 503 in statuses <= {200, 503}
        assert process.client.get("/health/live").status_code == 200


# ---------------------------------------------------------------------------------------------- what nobody foresaw


async def test_what_nobody_foresaw_is_masked(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> NoReturn:
        raise RuntimeError("inner text")

    monkeypatch.setattr(models.inbox, "store", fail)
    with capture_logs([merge_contextvars]) as lines:
        rest = await server.client.post("/api/v1/email-inbox", json=document("a"))
        answer = await server.client.post("/graphql", json={"query": SET, "variables": {"input": values("a")}})
    request_id = rest.headers["x-request-id"]
    assert (rest.status_code, rest.headers["cache-control"]) == (500, "no-store")
    assert rest.json() == {"success": False, "error": "Internal server error", "requestId": request_id}

    error = answer.json()["errors"][0]
    assert (answer.status_code, error["message"], error["path"]) == (200, "Internal server error", ["setEmailInbox"])
    graphql_id = answer.headers["x-request-id"]
    assert error["extensions"] == {"code": "INTERNAL_SERVER_ERROR", "requestId": graphql_id}

    assert "inner text" not in rest.text + answer.text + repr(lines)
    failures = [line for line in lines if line["log_level"] == "error"]
    assert [line["request_id"] for line in failures] == [request_id, graphql_id]
    for line in failures:
        assert line["error"] == "RuntimeError"
        assert "test_faults.py" in line["where"]
