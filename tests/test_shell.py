"""The commands: each does its work on the database of a server that runs, and complains in one line."""

import json
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.terminal import printable
from server import commands
from settings import Settings
from tests.inboxes import inbox_values
from tests.process import PATH, ROOT, Process, environment_of, run, serving, subscribed
from tests.running import ADMIN_ID, settings_for

COMMANDS = [
    "user",
    "user add",
    "user list",
    "user disable",
    "user set-password",
    "token",
    "token add",
    "token list",
    "token revoke",
    "inbox",
    "inbox list",
    "inbox check",
    "keys",
    "keys rotate",
    "backup",
    "import-rocketchat",
    "schema",
    "serve",
]
PASSWORD = "shell-password-3"


@pytest.fixture
def process(settings: Settings, tmp_path: Path) -> Iterator[Process]:
    with serving(environment_of(settings), tmp_path) as started:
        yield started


class Shell:
    """A shell on the machine of the server."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._environment, self._folder = environment_of(settings), folder

    def __call__(self, *arguments: str, typed: str = "") -> str:
        """What the command prints."""
        status, out, err = run([*arguments], self._environment, self._folder, typed=typed)
        assert (status, err) == (0, "")
        return out.rstrip("\n")

    def refuses(self, *arguments: str, typed: str = "") -> str:
        """What the command complains of."""
        status, out, err = run([*arguments], self._environment, self._folder, typed=typed)
        assert (status, out, err.count("\n")) == (1, "", 1), (status, out, err)
        return err


@pytest.fixture
def shell(settings: Settings, tmp_path: Path) -> Shell:
    return Shell(settings, tmp_path)


def test_every_command_explains_itself(tmp_path: Path) -> None:
    status, out, err = run(["--help"], {}, tmp_path)
    assert (status, err) == (0, "")
    assert "Usage: email-inbox " in out
    assert "Without a command, it serves" in " ".join(out.split())
    for command in COMMANDS:
        helped = CliRunner().invoke(commands(), [*command.split(), "--help"], prog_name="email-inbox")
        assert helped.exit_code == 0
        assert f"Usage: email-inbox {command}".strip() in helped.output
    assert {path.suffix for path in tmp_path.iterdir()} == {".in", ".out", ".err"}


def test_the_schema_is_printed(tmp_path: Path) -> None:
    status, out, err = run(["schema"], {}, tmp_path)
    assert (status, err) == (0, "")
    assert out == (ROOT / "schema" / "schema.graphql").read_text("utf-8")


def test_users_are_managed_while_the_server_runs(process: Process, shell: Shell) -> None:
    made = ["--permission", "manage-email-inbox", "--department", "Help", "--email", "eve@example.org", "--password"]
    user_id = shell("user", "add", "eve", *made, typed=f"{PASSWORD}\n")
    row = f"{user_id}\teve\t\teve@example.org\tmanage-email-inbox\tHelp\tyes"
    assert row in shell("user", "list").splitlines()

    token = _login(process, "eve", PASSWORD)
    assert token
    assert _me(process, user_id, token) == 200
    shell("user", "set-password", "eve@example.org", typed="another-password-4\n")
    assert _me(process, user_id, token) == 401
    assert _login(process, "eve", PASSWORD) is None

    token = _login(process, "eve", "another-password-4")
    assert token
    shell("user", "disable", "eve")
    assert _me(process, user_id, token) == 401
    assert _login(process, "eve", "another-password-4") is None
    assert row.replace("yes", "no") in shell("user", "list").splitlines()


def test_tokens_are_managed_while_the_server_runs(process: Process, shell: Shell) -> None:
    token = shell("token", "add", "admin", "--name", "cron", "--days", "3", "--permission", "read-email")
    assert _me(process, ADMIN_ID, token) == 200
    headers = {"X-User-Id": ADMIN_ID, "X-Auth-Token": token}
    assert process.client.get("/api/v1/email-inbox.list", headers=headers).status_code == 403

    row = next(line for line in shell("token", "list", ADMIN_ID).splitlines() if "\tcron\t" in line)
    shell("token", "revoke", row.split("\t")[0])
    assert _me(process, ADMIN_ID, token) == 401
    assert "\tcron\t" not in shell("token", "list", "admin")


def test_a_subscription_ends_when_its_token_is_revoked(settings: Settings, shell: Shell, tmp_path: Path) -> None:
    quick = {"resolvers.inbox.RECHECK_SECONDS": 0.1, "schema.http.endpoint.REMEMBERED_SECONDS": 0.1}
    with serving(environment_of(settings), tmp_path, patched=quick) as process:
        token = shell("token", "add", "admin")
        with subscribed(process, {"X-User-Id": ADMIN_ID, "X-Auth-Token": token}) as subscription:
            row = shell("token", "list", "admin").splitlines()[1]
            assert row.split("\t")[1] == "shell"
            shell("token", "revoke", row.split("\t")[0])
            ended, completed = (json.loads(subscription.recv(timeout=5)) for _ in range(2))
            assert ended["payload"]["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
            assert completed["type"] == "complete"


def test_inboxes_are_listed_whole(process: Process, shell: Shell) -> None:
    name = "[bold]" + "x" * 150 + "[/red]"
    for number in range(60):
        values = inbox_values(id=f"box-{number:02}", name=name, email=f"box-{number:02}@example.org")
        assert process.client.post("/api/v1/email-inbox", json=_as_rest(values)).status_code == 200
    lines = shell("inbox", "list").splitlines()
    assert len(lines) == 1 + 60
    servers = "smtp.example.org:465\timap.example.org:993"
    assert lines[60] == f"box-59\t{name}\tbox-59@example.org\tyes\tAll\t{servers}\t1"


def test_at_a_terminal_a_list_is_a_table(sqlite_template: Path, tmp_path: Path) -> None:
    settings = settings_for(shutil.copytree(sqlite_template, tmp_path / "data"))
    Shell(settings, tmp_path)("user", "add", "eve", "--name", "[bold]Eve[/red]")
    command = f"stty columns 200; {sys.executable} {ROOT}/server.py user list"
    environment = {**environment_of(settings), "PATH": PATH, "TERM": "xterm"}
    done = subprocess.run(
        ["script", "--quiet", "--command", command, "/dev/null"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "[bold]Eve[/red]" in done.stdout
    assert "│" in done.stdout


def test_a_complaint_is_one_line(shell: Shell, tmp_path: Path) -> None:
    assert "nobody" in shell.refuses("user", "disable", "nobody")
    assert "last active user" in shell.refuses("user", "disable", "admin")
    assert "another user" in shell.refuses("user", "add", "ADMIN")
    assert "username" in shell.refuses("user", "add", "two words")
    assert "password" in shell.refuses("user", "set-password", "admin")
    assert "no token" in shell.refuses("token", "revoke", "unknown")
    assert "nobody" in shell.refuses("token", "add", "nobody")
    (tmp_path / "backup").write_text("mine")
    assert "exists" in shell.refuses("backup", str(tmp_path / "backup"))
    assert "written" in shell.refuses("backup", str(tmp_path / "missing" / "backup"))


def test_what_is_read_no_further_ends_a_command_without_a_word(tmp_path: Path) -> None:
    command = f"{shlex.join([sys.executable, str(ROOT / 'server.py')])} schema | true"
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, env={"PATH": PATH}, capture_output=True, check=True)
    assert done.stderr == b""


def test_what_is_printed_from_data_is_safe_at_a_terminal(process: Process, shell: Shell, tmp_path: Path) -> None:
    values = inbox_values(name="a\u200eb\u061c", description="fine")
    assert process.client.post("/api/v1/email-inbox", json=_as_rest(values)).status_code == 200
    assert r"a\u200eb\u061c" in shell("inbox", "list")
    file = tmp_path / "copy\x1b[2J\u202e"
    assert r"copy\x1b[2J\u202e" in shell("backup", str(file))
    assert r"copy\x1b[2J\u202e already exists" in shell.refuses("backup", str(file))
    assert r"\x1b[2J" in shell.refuses("token", "add", "nobody\x1b[2J")


@pytest.mark.parametrize("text", ["Ada Lovelace", "Zoë", "م\u200cن", "👩\u200d👩\u200d👧", "日本", "[bold]", r"\x"])
def test_what_a_terminal_does_not_obey_is_printed_as_it_is(text: str) -> None:
    assert printable(text) == text


def test_a_wrong_call_is_exit_status_2(tmp_path: Path) -> None:
    for call in (
        ["--prot", "1"],
        ["user", "lst"],
        ["user", "list", "--all"],
        ["backup"],
        ["--port", "9", "user", "list"],
    ):
        status, out, err = run(call, {}, tmp_path)
        assert (status, out) == (2, ""), call
        assert "--help" in err


def test_a_command_is_refused_where_a_server_would_be(settings: Settings, tmp_path: Path) -> None:
    shell = Shell(settings, tmp_path)
    (settings.data_dir / "secret.key").unlink()
    assert "secret.key" in shell.refuses("inbox", "list")


def test_a_change_by_another_process_is_seen_by_subscribers(settings: Settings, shell: Shell, tmp_path: Path) -> None:
    """On SQLite by looking, on PostgreSQL by being told: there, it looks too seldom to see it."""
    exported = tmp_path / "export.json"
    exported.write_text(json.dumps({"_id": "JdVkn_dkOlms_", **inbox_values()}))
    patched = {"resolvers.events.POLL_SECONDS": 100.0} if settings.database_url else {}
    with serving(environment_of(settings), tmp_path, patched=patched) as process, subscribed(process) as subscription:
        shell("import-rocketchat", str(exported))
        stored = time.monotonic()
        event = json.loads(subscription.recv(timeout=5))["payload"]["data"]["emailInboxChanged"]
        assert time.monotonic() - stored < 2
    assert event == {"kind": "CREATED", "id": "JdVkn_dkOlms_", "emailInbox": {"name": "Support"}}


def _login(process: Process, name: str, password: str) -> str | None:
    answer = process.client.post("/api/v1/login", json={"user": name, "password": password})
    return answer.json()["data"]["authToken"] if answer.status_code == 200 else None


def _me(process: Process, user_id: str, token: str) -> int:
    headers = {"X-User-Id": user_id, "X-Auth-Token": token}
    return process.client.get("/api/v1/me", headers=headers).status_code


def _as_rest(values: dict[str, Any]) -> dict[str, Any]:
    return {("_id" if name == "id" else name): value for name, value in values.items()}
