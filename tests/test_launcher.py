"""`./email-inbox`: from whatever folder it is called, and which settings it goes by."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from edge.version import VERSION
from tests.process import PATH, PLAIN, ROOT, free_port, run, start, until
from tests.stored import DATABASE

LINKED = ("server.py", "settings.py", "interpreter.py")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with a copy of the launcher, and an environment that is this one."""
    folder = tmp_path / "it's a checkout"
    (folder / ".venv" / "bin").mkdir(parents=True)
    shutil.copy(ROOT / "email-inbox", folder)
    for name in LINKED:
        (folder / name).symlink_to(ROOT / name)
    python = folder / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    return folder


def called(launcher: Path | str, *arguments: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    command, environment = [str(launcher), *arguments], {"PATH": PATH, **variables}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    (tmp_path / "elsewhere").mkdir()
    return tmp_path / "elsewhere"


def test_it_works_from_any_folder_and_through_links(checkout: Path, elsewhere: Path) -> None:
    (elsewhere / "bin").mkdir()
    (elsewhere / "bin" / "inbox").symlink_to("../relative")
    (elsewhere / "relative").symlink_to(checkout / "email-inbox")
    made = called(checkout / "email-inbox", "user", "add", "eve", folder=elsewhere)
    assert (made.returncode, made.stderr) == (0, "")
    assert (checkout / "data" / DATABASE).exists()
    for launcher, folder in (
        (checkout / "email-inbox", elsewhere),
        ("./email-inbox", checkout),
        ("../email-inbox", checkout / "data"),
        (elsewhere / "bin" / "inbox", elsewhere),
        ("bin/inbox", elsewhere),
    ):
        listed = called(launcher, "user", "list", folder=folder)
        assert (listed.returncode, listed.stderr) == (0, ""), launcher
        assert "\teve\t" in listed.stdout
    found = called("inbox", "--version", folder=elsewhere, PATH=f"{elsewhere}/bin:{PATH}", CDPATH=str(checkout))
    assert (found.returncode, found.stdout) == (0, f"email-inbox {VERSION}\n")


def test_files_are_those_of_the_folder_it_is_called_in(checkout: Path, elsewhere: Path) -> None:
    (elsewhere / "settings.env").write_text(f"EMAIL_INBOX_DATA_DIR={elsewhere / 'data'}\n")
    for arguments in (("user", "add", "eve"), ("backup", "copy")):
        done = called(checkout / "email-inbox", *arguments, "--env-file", "settings.env", folder=elsewhere)
        assert (done.returncode, done.stderr) == (0, "")
    assert {path.name for path in elsewhere.iterdir()} == {"settings.env", "data", "copy"}
    assert not (checkout / "data").exists()


def test_without_an_environment_it_says_what_to_do(checkout: Path, elsewhere: Path) -> None:
    shutil.rmtree(checkout / ".venv")
    done = called(checkout / "email-inbox", "user", "list", folder=elsewhere)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"email-inbox is not set up: run `make install` in {checkout}.\n"


def test_outside_the_environment_python_says_what_to_do(elsewhere: Path) -> None:
    command = [sys.executable, "-S", str(ROOT / "server.py"), "user", "list"]
    done = subprocess.run(command, cwd=elsewhere, env={"PATH": PATH}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert f"run `make install` in {ROOT}, then {ROOT}/email-inbox" in done.stderr


@pytest.mark.parametrize("arguments", [[], ["serve"], ["--port"], ["serve", "--port"]])
def test_without_a_command_it_serves(arguments: list[str], checkout: Path, elsewhere: Path) -> None:
    port = str(free_port())
    given = [*arguments, port] if "--port" in arguments else arguments
    environment = {"PATH": PATH, **({} if "--port" in arguments else {"EMAIL_INBOX_PORT": port})}
    with (elsewhere / "out").open("w") as out:
        served = subprocess.Popen([checkout / "email-inbox", *given], cwd=elsewhere, env=environment, stdout=out)
    try:
        until(lambda: "Try it" in (elsewhere / "out").read_text(), 30)
        until(lambda: _is_ready(port))
        served.terminate()
        assert served.wait(15) == 0
    finally:
        served.kill()
        served.wait()
    assert (checkout / "data" / DATABASE).exists()
    assert {path.name for path in elsewhere.iterdir()} == {"out"}


def _is_ready(port: str) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health/ready", verify=PLAIN).status_code == 200
    except httpx.TransportError:
        return False


# --------------------------------------------------------------------------------------------------------- settings


def test_a_command_makes_no_database(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (tmp_path / "export.json").write_text("")
    for call in (
        "user list", "user disable a", "user set-password a", "token add a", "token list a", "token revoke a",
        "inbox list", "inbox check a", "keys rotate", "backup copy",
    ):  # fmt: skip
        for before in (None, b""):
            shutil.rmtree(folder, ignore_errors=True)
            if before is not None:
                folder.mkdir(mode=0o700)
                (folder / DATABASE).write_bytes(before)
            status, out, err = run(call.split(), {}, tmp_path, typed="a password\n")
            assert (status, out, err.count("\n")) == (1, "", 1), (call, out, err)
            for said in (
                f"{folder / DATABASE} is {'missing' if before is None else 'empty'}",
                f"(data folder: {folder})",
            ):
                assert said in err, call
            assert all(name in err for name in ("EMAIL_INBOX_DATA_DIR", "EMAIL_INBOX_DATABASE_URL", "--env-file"))
            assert not folder.exists() if before is None else [path.name for path in folder.iterdir()] == [DATABASE]
            assert not (tmp_path / "copy").exists()


def test_a_command_makes_no_tables_on_postgresql(cluster, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    name = f"launcher_{os.getpid()}"
    url = cluster.create(name)
    try:
        for call in ("user list", "keys rotate", "backup copy"):
            status, out, err = run(call.split(), {"EMAIL_INBOX_DATABASE_URL": f"{url}&password=canary"}, tmp_path)
            assert (status, out, err.count("\n")) == (1, "", 1), err
            assert f"the PostgreSQL database {name} " in err
            assert "canary" not in err
        listed = subprocess.run(["psql", "-At", "-c", r"\dt", url], capture_output=True, text=True, check=True)
        assert listed.stdout == ""
        assert not (tmp_path / "data").exists()
    finally:
        cluster.drop(name)


@pytest.fixture
def three(tmp_path: Path) -> list[str]:
    """The names of three data folders, each with a database whose only user has the name of the folder."""
    names = ["one", "two", "three"]
    for name in names:
        assert run(["user", "add", name], {"EMAIL_INBOX_DATA_DIR": str(tmp_path / name)}, tmp_path)[0] == 0
        (tmp_path / f"{name}.env").write_text(f"# the settings of {name}\nEMAIL_INBOX_DATA_DIR={name}\n\nOTHER=1\n")
    return names


def test_which_setting_wins(three: list[str], tmp_path: Path) -> None:
    def listed(*arguments: str, **variables: str) -> str:
        status, out, err = run([*arguments], variables, tmp_path)
        assert (status, err) == (0, "")
        return out.splitlines()[1].split("\t")[1]

    (tmp_path / ".env").write_text("EMAIL_INBOX_DATA_DIR=three\n")
    assert listed("user", "list") == "three"
    assert listed("--env-file", "one.env", "user", "list") == "one"
    assert listed("user", "list", "--env-file=two.env", "--env-file", "one.env") == "one"
    assert listed("--env-file", "one.env", "user", "--env-file", "two.env", "list") == "two"
    assert listed("user", "list", "--env-file", "two.env", EMAIL_INBOX_DATA_DIR="one") == "one"
    assert listed("user", "list", "--env-file", "two.env", email_inbox_data_dir="one") == "one"
    assert listed("user", "list", "--env-file", "two.env", EMAIL_INBOX_DATA_DIR="") == "two"


@pytest.mark.parametrize(
    ("content", "said"), [(None, "there is no file"), (b"EMAIL_INBOX_PORT=\xff\xfe", "not text in UTF-8")]
)
def test_a_file_of_settings_that_is_none(content: bytes | None, said: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "a.env").write_bytes(content)
    for arguments in (["user", "list"], []):
        status, out, err = run(["--env-file", "a.env", *arguments], {}, tmp_path)
        assert (status, out, err.count("\n")) == (1, "", 1)
        assert str(tmp_path / "a.env") in err
        assert said in err


def test_a_server_and_its_workers_go_by_the_files_and_options(cluster, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Its workers are processes of their own, which read the settings again."""
    name, port = f"workers_{os.getpid()}", str(free_port())
    (tmp_path / "a.env").write_text(f"EMAIL_INBOX_DATABASE_URL={cluster.create(name)}\nEMAIL_INBOX_WORKERS=2\n")
    variables = {"EMAIL_INBOX_PORT": "1", "EMAIL_INBOX_LOG_LEVEL": "warning"}
    process = start(["serve", "--port", port, "--env-file", "a.env"], variables, tmp_path, new_interpreter=True)
    try:
        until(lambda: _is_ready(port), 30)
        assert process.out.startswith(f"Serving on http://127.0.0.1:{port}\n")
        assert "Traceback" not in process.err
        assert process.stop() == 0
    finally:
        process.kill()
        cluster.drop(name)
