"""Whose the files of a data folder are and who may read them, whoever starts the server or runs a command."""

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from models.files import make_file, make_folder, make_like
from tests.process import PATH, PLAIN, ROOT, Process, environment_of, free_port, run, serving, until
from tests.running import settings_for
from tests.stored import DATABASE, snapshot

NOBODY = 65_534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root works in the folders of other users")


@pytest.fixture
def folder(sqlite_template: Path, tmp_path: Path) -> Path:
    """A data folder."""
    found: Path = shutil.copytree(sqlite_template, tmp_path / "data")
    return found


def environment(folder: Path) -> dict[str, str]:
    return environment_of(settings_for(folder))


def give(folder: Path, owner: int) -> None:
    for path in (folder, *folder.iterdir()):
        os.chown(path, owner, owner)


def owners(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Owner, group and mode of the folder and of everything in it."""
    found = {".": folder.stat(), **{path.name: path.stat() for path in folder.iterdir()}}
    return {name: (each.st_uid, each.st_gid, stat.S_IMODE(each.st_mode)) for name, each in found.items()}


# ------------------------------------------------------------------------------------------------------ root's commands


@as_root
@pytest.mark.parametrize("mode", [0o600, 0o640])
def test_a_rotation_by_root_leaves_the_key_file_to_its_owner(mode: int, folder: Path, tmp_path: Path) -> None:
    (folder / "secret.key").chmod(mode)
    give(folder, NOBODY)
    before = (folder / "secret.key").read_text()
    for _ in range(2):
        assert run(["keys", "rotate"], environment(folder), tmp_path)[0] == 0
    assert (folder / "secret.key").read_text() != before
    assert owners(folder)["secret.key"] == (NOBODY, NOBODY, mode)


@as_root
@pytest.mark.parametrize("call", ["keys rotate", "user add eve", "inbox list", "token add admin"])
def test_root_leaves_nothing_of_its_own_in_the_folder_of_another_user(call: str, folder: Path, tmp_path: Path) -> None:
    give(folder, NOBODY)
    assert run(call.split(), environment(folder), tmp_path, dies_at=2)[0] in (0, -9)  # what is there meanwhile
    assert run(call.split(), environment(folder), tmp_path)[0] == 0
    assert {found[:2] for found in owners(folder).values()} == {(NOBODY, NOBODY)}


@as_root
def test_what_root_makes_in_the_folder_of_another_user_is_of_that_user(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    os.chown(tmp_path / "home", NOBODY, NOBODY)
    folder = tmp_path / "home" / "state" / "data"
    assert run(["user", "add", "eve"], {"EMAIL_INBOX_DATA_DIR": str(folder)}, tmp_path)[0] == 0
    assert owners(folder) == {
        ".": (NOBODY, NOBODY, 0o700),
        "secret.key": (NOBODY, NOBODY, 0o600),
        DATABASE: (NOBODY, NOBODY, 0o600),
    }
    assert folder.parent.stat().st_uid == NOBODY


def test_a_file_that_can_not_be_given_away_is_not_replaced(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Of:
        st_uid, st_gid, st_mode = NOBODY, NOBODY, 0o600

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "fchown", refuse)
    with (tmp_path / "new").open("w") as file, pytest.raises(PermissionError):
        make_like(file.fileno(), Of())  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------ a folder of somebody else


@contextmanager
def closed(folder: Path) -> Iterator[list[str]]:
    """Makes the folder that of another user. Gives what is to stand before a command that shall not get into it."""
    if os.geteuid() != 0:
        folder.chmod(0)
        yield []
        folder.chmod(0o700)
        return
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed")
    give(folder, NOBODY)
    override = "-dac_override,-dac_read_search"  # root without the right to pass over permissions
    yield ["setpriv", f"--bounding-set={override}", f"--inh-caps={override}"]


@pytest.mark.parametrize("call", ["", "user list", "backup copy", "keys rotate", "user add eve"])
@pytest.mark.parametrize("is_url", [False, True])
def test_the_data_folder_of_another_user_is_one_line(call: str, is_url: bool, folder: Path, tmp_path: Path) -> None:
    variables = {"PATH": PATH, "EMAIL_INBOX_PORT": str(free_port()), **environment(folder)}
    if is_url:
        variables["EMAIL_INBOX_DATABASE_URL"] = f"sqlite:///{folder / DATABASE}"
    before = snapshot(folder)
    with closed(folder) as prefix:
        command = [*prefix, sys.executable, str(ROOT / "server.py"), *call.split()]
        done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    assert str(folder) in done.stderr
    assert "Permission denied" in done.stderr
    assert "Run this as the user" in done.stderr
    assert snapshot(folder) == before


@pytest.mark.parametrize("wrong", ["data_dir", "ca_file", "trusted_documents", "env"])
def test_whatever_can_not_be_read_is_one_line(wrong: str, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o700)
    (tmp_path / "closed" / "file").write_text("")
    variables = {"PATH": PATH, "EMAIL_INBOX_PORT": str(free_port()), **environment(folder)}
    arguments = ["--env-file", str(tmp_path / "closed" / "file")] if wrong == "env" else []
    if not arguments:
        variables[f"EMAIL_INBOX_{wrong.upper()}"] = str(tmp_path / "closed" / "file")
    with closed(tmp_path / "closed") as prefix:
        command = [*prefix, sys.executable, str(ROOT / "server.py"), *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    assert "Permission denied" in done.stderr


# --------------------------------------------------------------------------------------------------------------- modes


@pytest.mark.parametrize("is_url", [False, True])
def test_under_another_server_nothing_is_readable_by_others(is_url: bool, tmp_path: Path) -> None:
    folder, port = tmp_path / "data", free_port()
    folder.mkdir(mode=0o755)
    variables = {"PATH": PATH, "PYTHONPATH": str(ROOT), "EMAIL_INBOX_DATA_DIR": str(folder)}
    if is_url:
        variables["EMAIL_INBOX_DATABASE_URL"] = f"sqlite:///{folder / 'mine.sqlite3'}"
    command = [sys.executable, "-m", "uvicorn", "--factory", "server:create_app", "--port", str(port)]
    with (tmp_path / "err").open("w") as err:
        served = subprocess.Popen(command, cwd=tmp_path, env=variables, stderr=err, umask=0o022)
    try:
        until(lambda: _is_ready(port), 30)
        files = {name: found[2] for name, found in owners(folder).items() if name != "."}
        database = "mine.sqlite3" if is_url else DATABASE
        assert {"secret.key", database, f"{database}-wal", f"{database}-shm"} == files.keys()
        assert set(files.values()) == {0o600}
    finally:
        served.kill()
        served.wait()


def _is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health/ready", verify=PLAIN).status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o777])
@pytest.mark.parametrize("call", [[], ["user", "list"], ["keys", "rotate"]])
def test_a_key_file_that_is_open_to_everybody_is_refused(
    mode: int, call: list[str], folder: Path, tmp_path: Path
) -> None:
    (folder / "secret.key").chmod(mode)
    before = snapshot(folder)
    status, out, err = run(call, {**environment(folder), "EMAIL_INBOX_PORT": str(free_port())}, tmp_path)
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert f"(mode {mode:04o})" in err
    assert f"chmod 600 {folder / 'secret.key'}" in err
    assert snapshot(folder) == before


def test_a_database_that_is_open_to_everybody_is_warned_of(folder: Path, tmp_path: Path) -> None:
    def warned(process: Process) -> bool:
        return '"event":"database open to every user"' in process.err

    with serving(environment(folder), tmp_path) as process:
        assert not warned(process)
    (folder / DATABASE).chmod(0o644)
    with serving(environment(folder), tmp_path) as process:
        assert warned(process)
        assert f"chmod 600 {folder / DATABASE}" in process.err


@pytest.mark.parametrize("make", [make_file, make_folder])
def test_a_name_that_is_taken_is_left_alone(make: Callable[[Path], None], tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir(mode=0o755)
    make(tmp_path / "folder")
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o755


def test_a_database_behind_a_link_is_made_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("real")
    before = os.umask(0)
    try:
        make_file(tmp_path / "link")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "real").stat().st_mode) == 0o600
    with sqlite3.connect(tmp_path / "link") as connection:
        connection.execute("CREATE TABLE t (a)")
    connection.close()
