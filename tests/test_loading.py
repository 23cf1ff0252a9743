"""What a server loads when it starts, and where it loads what it left until somebody asks for it."""

import subprocess
import sys
from pathlib import Path

import argon2
import pytest

from models import password
from tests.process import ROOT, serving

LEFT = {
    "alembic",  # the database is up to date, or empty
    "cli.program",
    "typer",
    "rest.openapi",
    "email_validator",  # for addresses that are not plain
    "mail.check",
    "mail.settings.discovery",
    "mail.https",
    "aiosmtplib",
    "cryptography.x509",
    "defusedxml",
    "dns",
    "httpx",
    "imapclient",
    "pygments.lexers",
    "rich.traceback",
    "sqlalchemy.dialects.postgresql",  # the database is SQLite
    "strawberry.federation.schema_directives",
}
TALKS_TO_SERVERS = ("mail.", "aiosmtplib", "cryptography.x509", "defusedxml", "dns.", "httpx", "imapclient")

FIRST_REQUESTS = """
import asyncio, sys, threading
from pathlib import Path

from cli.context import shell
from resolvers.check import check_email_inbox
from resolvers.mail_settings import mail_server_settings
from resolvers.opening import open_context
from settings import Settings

class Watch:
    def find_spec(self, name, path=None, target=None):
        print("loop" if threading.current_thread() is threading.main_thread() else "thread", name)

async def main():
    config = {"server": "10.0.0.1", "port": 993, "username": "a", "password": "b", "secure": True}
    async with open_context(Settings(_env_file=None, data_dir=Path("data"))) as started:
        context = started.acting_as(shell)
        sys.meta_path.insert(0, Watch())
        print("failed", (await check_email_inbox(context, {"imap": config})).imap.failure.kind.value)
        print("found", (await mail_server_settings(context, "ada@gmail.com")).provider)

asyncio.run(main())
"""

MADE_TO_SERVE = """
import gc, runpy
server = runpy.run_path("server.py", run_name="started")
assert not gc.isenabled()
server["serving"].tune_garbage_collector()
assert gc.isenabled()
assert gc.get_freeze_count() > 100_000
"""


@pytest.mark.parametrize("starts", [1, 2])
def test_a_start_loads_nothing_that_few_requests_need(tmp_path: Path, starts: int) -> None:
    for _ in range(starts):
        settings = {"EMAIL_INBOX_DATA_DIR": str(tmp_path / "data"), "PYTHONPROFILEIMPORTTIME": "1"}
        with serving(settings, tmp_path, {}, new_interpreter=True) as server:
            lines = [line for line in server.err.splitlines() if line.startswith("import time:")]
    loaded = {line.rpartition("|")[2].strip() for line in lines}
    assert {"schema", "rest", "mail.service", "sqlalchemy"} <= loaded
    assert loaded & LEFT == set()


def test_the_first_check_is_loaded_beside_the_event_loop(tmp_path: Path) -> None:
    lines = python(FIRST_REQUESTS, tmp_path).splitlines()
    assert {"failed HOST_NOT_ALLOWED", "found Google", "thread mail.check", "thread mail.settings.discovery"} <= set(
        lines
    )
    assert [line for line in lines if line.removeprefix("loop ").startswith(TALKS_TO_SERVERS)] == []


def test_garbage_is_looked_for_once_the_server_is_made(tmp_path: Path) -> None:
    """Not before, when there is next to none; and not in what stays."""
    python(MADE_TO_SERVE.replace("server.py", str(ROOT / "server.py")), tmp_path)


def test_a_password_of_nobody_takes_as_long_as_any_other(costly_hashing: None) -> None:
    assert not password.verify_password(None, "a password")
    of_nobody, of_somebody = password._UNKNOWN_USER_HASH, password.hash_password("a password")
    assert argon2.extract_parameters(of_nobody) == argon2.extract_parameters(of_somebody)
    assert len(of_nobody) == len(of_somebody)


def python(script: str, folder: Path) -> str:
    """What a new interpreter prints."""
    command = [sys.executable, "-c", script]
    done = subprocess.run(
        command, cwd=folder, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
