"""`inbox check ID`: what it prints for a person and for a pipe, and its exit status."""

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from settings import Settings
from tests.api import GraphQLApi
from tests.mail.addresses import At
from tests.mail.certificates import Certificates
from tests.mail.dovecot import Dovecot
from tests.mail.inboxes import working_inbox
from tests.mail.postfix import Postfix
from tests.process import PATH, ROOT, environment_of, run
from tests.running import running

HEADER = "protocol\tstep\tresult\tms\tcode\tmessage\thint"


@pytest.fixture
def environment(settings: Settings, certificates: Certificates, dovecot: Dovecot, postfix: Postfix) -> dict[str, str]:
    return environment_of(
        settings,
        EMAIL_INBOX_MAIL_HOSTS_ALLOW="127.0.0.0/8, localhost",
        EMAIL_INBOX_MAIL_PORTS=f"{dovecot.imaps},{postfix.submission}",
        EMAIL_INBOX_CA_FILE=certificates.ca_file,
    )


async def store(settings: Settings, values: dict[str, Any]) -> None:
    async with running(settings) as server:
        assert (await GraphQLApi(server.client).set_inbox(values)).inbox_id


async def test_an_inbox_that_works(
    settings: Settings, environment: dict[str, str], tmp_path: Path, dovecot: Dovecot, postfix: Postfix,
    certificates: Certificates,
) -> None:  # fmt: skip
    await store(settings, working_inbox(dovecot, postfix))
    for _ in range(2):
        status, out, err = run(["inbox", "check", "works"], environment, tmp_path)
        assert (status, err) == (0, "")
    header, *lines = out.splitlines()
    assert header == HEADER
    rows = [line.split("\t") for line in lines]
    assert {len(row) for row in rows} == {7}
    assert [row[1] for row in rows if row[0] == "imap" and row[2] == "ok"] == [
        "POLICY", "DNS", "CONNECT", "TLS", "GREETING", "AUTHENTICATE", "SELECT_INBOX",
    ]  # fmt: skip
    assert all(float(row[3]) >= 0 for row in rows if row[2] == "ok")
    facts = {(row[0], row[1]): row[2] for row in rows if row[2] != "ok"}
    assert facts["smtp", "fingerprint"] == certificates.fingerprint(At.GOOD)
    assert "IDLE" in facts["imap", "capabilities"].split()


async def test_an_inbox_that_does_not_work(
    settings: Settings, environment: dict[str, str], tmp_path: Path, dovecot: Dovecot, postfix: Postfix
) -> None:
    await store(settings, working_inbox(dovecot, postfix, imap__password="wrong-pass-9"))
    status, out, err = run(["inbox", "check", "works"], environment, tmp_path)
    assert (status, err) == (1, "")
    [failed] = [line.split("\t") for line in out.splitlines() if "\tfailed\t" in line]
    assert failed[:3] == ["imap", "AUTHENTICATE", "failed"]
    assert failed[4] == "AUTHENTICATION_FAILED"
    assert failed[5]
    assert failed[6]
    assert "wrong-pass-9" not in out


async def test_a_setting_allows_what_is_private(
    settings: Settings, tmp_path: Path, dovecot: Dovecot, postfix: Postfix
) -> None:
    await store(settings, working_inbox(dovecot, postfix))
    status, out, err = run(["inbox", "check", "works"], environment_of(settings), tmp_path)
    assert (status, err) == (1, "")
    assert out.count("HOST_NOT_ALLOWED") == 2


def test_an_unknown_inbox(settings: Settings, tmp_path: Path) -> None:
    status, out, err = run(["inbox", "check", "nothing"], environment_of(settings), tmp_path)
    assert (status, out, err) == (1, "", "No inbox has this id.\n")


async def test_at_a_terminal_there_is_a_table_for_each_server(
    settings: Settings, environment: dict[str, str], tmp_path: Path, dovecot: Dovecot, postfix: Postfix
) -> None:
    await store(settings, working_inbox(dovecot, postfix, imap__password="wrong-pass-9"))
    done = at_a_terminal("inbox check works", environment, tmp_path)
    assert done.returncode == 1, done.stdout
    assert "SMTP: works" in done.stdout
    assert "IMAP: does not work" in done.stdout
    assert "✓" in done.stdout
    assert "✗" in done.stdout
    assert "│" in done.stdout


def at_a_terminal(
    command: str, environment: dict[str, str], folder: Path, columns: int = 200
) -> subprocess.CompletedProcess[str]:
    line = f"stty columns {columns}; {shlex.join([sys.executable, str(ROOT / 'server.py')])} {command}"
    return subprocess.run(
        ["script", "--quiet", "--return", "--command", line, "/dev/null"],
        cwd=folder, env={**environment, "PATH": PATH, "TERM": "xterm"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
