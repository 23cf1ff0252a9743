"""`backup`: a copy of one moment, taken while the server writes, from which a server starts again."""

import os
import re
import shutil
import sqlite3
import stat
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from models.database.backup import BackupError, back_up
from settings import Settings
from tests import postgresql
from tests.process import environment_of, run, serving, until
from tests.running import settings_for
from tests.stored import DATABASE, fill, inboxes_of, keyring_of, passwords_of, small_disk
from tests.test_keys import writing


async def test_a_backup_is_of_one_moment_and_starts_a_server_again(
    settings: Settings, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    await fill(settings, 200)
    target = tmp_path / "backup"
    with serving(environment_of(settings), tmp_path) as process, writing(process) as acknowledged:
        before = until(lambda: len(_new(acknowledged)) >= 5 and len(_new(acknowledged)))
        status, out, err = run(["backup", str(target)], environment_of(settings), tmp_path)
        after = len(_new(acknowledged)) + 1
    assert (status, out, err) == (0, f"{target}: {target.stat().st_size:,} bytes\n", "")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert _partial(tmp_path) == []

    restored = _restored(settings, target, tmp_path / "restored", request)
    inboxes = await inboxes_of(restored)
    assert 200 + before <= len(inboxes) <= 200 + after
    for inbox in inboxes:
        assert passwords_of(inbox, keyring_of(restored)) == (f"smtp-{inbox.id}", f"imap-{inbox.id}")
    with serving(environment_of(restored), tmp_path) as process:
        assert process.client.get("/api/v1/email-inbox.list").json()["total"] == len(inboxes)


def _partial(folder: Path) -> list[Path]:
    return list(folder.glob(".backup*"))


def _new(acknowledged: list[str]) -> list[str]:
    return [name for name in acknowledged if name.startswith("new-")]


def _restored(settings: Settings, backup: Path, folder: Path, request: pytest.FixtureRequest) -> Settings:
    """What `docs/operation.md` says to do with a backup, and with the key file that is kept elsewhere."""
    folder.mkdir(mode=0o700)
    shutil.copy2(settings.data_dir / "secret.key", folder)
    if settings.database_url is None:
        shutil.copy2(backup, folder / DATABASE)
        with closing(sqlite3.connect(folder / DATABASE)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return settings_for(folder)
    cluster: postgresql.Cluster = request.getfixturevalue("cluster")
    url = cluster.create(f"restored_{os.getpid()}")
    subprocess.run(["pg_restore", f"--dbname={url}", str(backup)], check=True)
    return settings_for(folder, url)


def test_nothing_is_overwritten(settings: Settings, tmp_path: Path) -> None:
    target = tmp_path / "backup"
    target.write_text("mine")
    with pytest.raises(BackupError, match="already exists"):
        back_up(settings.url, target)
    assert target.read_text() == "mine"
    assert _partial(tmp_path) == []


def test_a_file_that_appears_meanwhile_is_not_overwritten(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "backup"
    target.write_text("mine")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "exists", lambda _: False)
        with pytest.raises(BackupError, match="already exists"):
            back_up(settings.url, target)
    assert target.read_text() == "mine"


def test_a_disk_without_links_gets_a_backup_too(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    back_up(settings.url, tmp_path / "backup")
    assert [path.name for path in tmp_path.glob("*backup*")] == ["backup"]


async def test_a_backup_that_does_not_fit_leaves_nothing(settings: Settings, tmp_path: Path) -> None:
    await fill(settings, 200)
    disk = tmp_path / "disk"
    disk.mkdir()
    with small_disk(disk, "16k"):
        status, out, err = run(["backup", str(disk / "backup")], environment_of(settings), tmp_path)
        assert (status, out, err.count("\n")) == (1, "", 1)
        assert "The backup" in err
        assert list(disk.iterdir()) == []


DRIVER = "postgresql+asyncpg://u:canary%2F@db.example:5433/inboxes"


@pytest.mark.parametrize(
    ("url", "variables"),
    [
        (DRIVER, {"HOST": "db.example", "PORT": "5433", "USER": "u", "PASSWORD": "canary/", "DATABASE": "inboxes"}),
        (
            "postgresql://u@h/d?password=canary&sslmode=require",
            {"HOST": "h", "PASSWORD": "canary", "SSLMODE": "require"},
        ),
        ("postgresql://u:canary@/d?host=a:1&host=b:2", {"HOST": "a,b", "PORT": "1,2", "PASSWORD": "canary"}),
        ("postgresql://u@/d?host=/run/x&passfile=/canary", {"HOST": "/run/x", "PASSFILE": "/canary"}),
    ],
)
def test_nothing_of_the_address_of_postgresql_is_an_argument(
    url: str, variables: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "pg_dump"
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\nenv > {tmp_path}/variables\n')
    program.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("PGSERVICE", "elsewhere")
    back_up(url, tmp_path / "backup")
    assert re.fullmatch(r"--format=custom --file=\S+\n", (tmp_path / "arguments").read_text())
    lines = (tmp_path / "variables").read_text().splitlines()
    found = dict(line.split("=", 1) for line in lines if line.startswith("PG"))
    assert {f"PG{name}": value for name, value in variables.items()}.items() <= found.items()
    assert "PGSERVICE" not in found


def test_a_complaint_of_pg_dump_is_passed_on(cluster: postgresql.Cluster, tmp_path: Path) -> None:
    url = make_url(cluster.url("missing")).render_as_string(hide_password=False)
    with pytest.raises(BackupError, match='database "missing" does not exist'):
        back_up(url, tmp_path / "backup")
    assert list(tmp_path.iterdir()) == []
