"""Killing the server: what was acknowledged is on disk, as no answer goes out before, and nothing is there by halves.

CRASH_TEST=full kills it 200 times and takes minutes.
"""

import asyncio
import os
import random
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from models.inbox import EmailInbox
from models.secrets import DecryptionError, Keyring
from settings import Settings
from tests.api import SET, Api, GraphQLApi, RestApi
from tests.conftest import IN_CI
from tests.inboxes import inbox_values
from tests.process import Process, environment_of, serving, until
from tests.running import ADMIN_HEADERS, settings_for
from tests.stored import inboxes_of, keyring_of, passwords_of, sql

FULL = os.environ.get("CRASH_TEST") == "full"
KILLS, WRITES = (200, 10_000) if FULL else (5, 200)
WRITERS = 8
LOOK_SECONDS = 0.05
READY_SECONDS = 3.0
NEW = 0.2
"""How many of the writes make an inbox; the others set one anew."""

TRACED = "read,recvfrom,recvmsg,write,writev,sendto,sendmsg,pwrite64,fsync,fdatasync"
TURNS = 3


@pytest.fixture
def sqlite(tmp_path: Path, sqlite_template: Path) -> Settings:
    """The settings of a server on SQLite that was started once."""
    return settings_for(shutil.copytree(sqlite_template, tmp_path / "data"))


# ------------------------------------------------------------------------------------------------------------ kill -9


@dataclass
class Ledger:
    """What the writers know of each inbox: the number of the last write that they tried, and of the last acknowledged.

    Write `k` of an inbox sets its name and both its passwords, all three to `k`.
    """

    tried: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    acknowledged: dict[str, int] = field(default_factory=dict)
    kills: int = 0
    writes: int = 0
    lost: set[str] = field(default_factory=set)
    halves: set[str] = field(default_factory=set)
    ready: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.kills} kills, {self.writes} writes acknowledged to {len(self.acknowledged)} inboxes, "
            f"{len(self.lost)} lost, {len(self.halves)} half-written; "
            f"ready after {statistics.median(self.ready):.2f} s (median), {max(self.ready):.2f} s (maximum)"
        )


@pytest.mark.timeout(900 if FULL else 60)
async def test_a_killed_server_has_lost_nothing(sqlite: Settings, tmp_path: Path) -> None:
    ledger = Ledger()
    while not await _lived(sqlite, tmp_path, ledger):
        pass
    print(f"\n{ledger}")
    assert ledger.lost == set()
    assert ledger.halves == set()
    assert max(ledger.ready) < READY_SECONDS or not FULL


async def _lived(settings: Settings, folder: Path, ledger: Ledger) -> bool:
    """Starts the server, looks at what the last one left, and kills this one too; true when it was killed enough."""
    started = time.monotonic()
    with serving(environment_of(settings), folder) as process:
        if ledger.kills:
            ledger.ready.append(time.monotonic() - started)
        await _examine(settings, ledger)
        if ledger.kills >= KILLS and ledger.writes >= WRITES:
            return True
        await _kill_while_writing(process, ledger)
    return False


async def _kill_while_writing(process: Process, ledger: Ledger) -> None:
    """Kills it at a random moment after a random number of writes."""
    enough = ledger.writes + random.randint(0, 2 * WRITES // KILLS)
    async with httpx.AsyncClient(base_url=process.address, headers=ADMIN_HEADERS, timeout=30) as client:
        apis = GraphQLApi(client), RestApi(client)
        writing = asyncio.gather(*(_write(apis, f"box-{number}-", ledger) for number in range(WRITERS)))
        while ledger.writes < enough and not writing.done():
            await asyncio.wait([writing], timeout=random.uniform(0, LOOK_SECONDS))
        assert process.poll() is None, process.err
        process.signal(9)
        process.wait()
        await writing
    ledger.kills += 1


async def _write(apis: Sequence[Api], prefix: str, ledger: Ledger) -> None:
    """Sets the inboxes with this prefix, which nobody else sets, until the server is gone."""
    names = [name for name in ledger.tried if name.startswith(prefix)]
    while True:
        name = f"{prefix}{len(names)}"
        if names and random.random() > NEW:
            name = random.choice(names)
        else:
            names.append(name)
        ledger.tried[name] += 1
        number = ledger.tried[name]
        try:
            outcome = await random.choice(apis).set_inbox(_values(name, number))
        except httpx.TransportError:
            return
        assert outcome.inbox_id == name, outcome
        ledger.acknowledged[name] = number
        ledger.writes += 1


def _values(name: str, number: int) -> dict[str, object]:
    return inbox_values(
        id=name,
        email=f"{name}@example.org",
        name=f"n-{number}",
        smtp__password=f"smtp-{number}",
        imap__password=f"imap-{number}",
    )


async def _examine(settings: Settings, ledger: Ledger) -> None:
    """Holds what is stored against what the writers know."""
    with sql(settings.data_dir) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        changes: dict[str, list[str]] = defaultdict(list)
        for inbox_id, kind in connection.execute("SELECT inbox_id, kind FROM email_inbox_change ORDER BY seq"):
            changes[inbox_id].append(kind)
    keyring = keyring_of(settings)
    stored = {inbox.id: inbox for inbox in await inboxes_of(settings)}
    for name, number in ledger.acknowledged.items():
        if name not in stored or _number(stored[name]) < number:
            ledger.lost.add(name)
    for name, inbox in stored.items():
        if _number(inbox) > ledger.tried[name] or not _is_whole(inbox, changes[name], keyring):
            ledger.halves.add(name)
    ledger.halves |= changes.keys() - stored.keys()


def _number(inbox: EmailInbox) -> int:
    """Of the write that set the name."""
    return int(inbox.name.removeprefix("n-"))


def _is_whole(inbox: EmailInbox, changes: list[str], keyring: Keyring) -> bool:
    """Whether all of one write is there, and one change for each version."""
    number = _number(inbox)
    try:
        passwords = passwords_of(inbox, keyring)
    except DecryptionError:
        return False
    logged = ["CREATED"] + ["UPDATED"] * (inbox.version - 1)
    return passwords == (f"smtp-{number}", f"imap-{number}") and changes == logged


# -------------------------------------------------------------------------------------------------------------- fsync


@pytest.fixture
def trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file to which strace writes what a new interpreter asks of the kernel."""
    path, wrapper = tmp_path / "trace", tmp_path / "python"
    # With -D the server stays the child, and strace becomes its grandchild: signals reach the server.
    strace = ["strace", "-D", "-f", "-y", "-e", f"trace={TRACED}", "-o"]
    _insist_on_strace([*strace, str(tmp_path / "probe"), "true"], tmp_path / "probe")
    wrapper.write_text(f'#!/bin/sh\nexec {shlex.join([*strace, str(path), sys.executable])} "$@"\n')
    wrapper.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(wrapper))
    return path


def _insist_on_strace(command: list[str], traced: Path) -> None:
    why = "strace is not installed"
    if shutil.which("strace"):
        why = f"strace may not trace: {subprocess.run(command, capture_output=True, check=False).stderr.decode()}"
        if traced.exists() and "exited with 0" in traced.read_text():
            return
    if IN_CI:
        pytest.fail(f"compulsory in CI: {why}")
    pytest.skip(why)


def test_no_answer_goes_out_before_the_commit_is_on_disk(sqlite: Settings, tmp_path: Path, trace: Path) -> None:
    with serving(environment_of(sqlite), tmp_path, new_interpreter=True) as process:
        for turn in range(TURNS):
            graphql = process.graphql(SET, input=_values(f"graphql-{turn}", 1))
            assert graphql["data"]["setEmailInbox"]["success"]
            body = inbox_values(email=f"rest-{turn}@example.org")
            assert process.client.post("/api/v1/email-inbox", json=body).status_code == 200
        assert process.stop() == 0
    until(lambda: re.search(rf"(?m)^{process.pid} +\+\+\+ exited", trace.read_text()))
    seen = "".join(_seen(trace.read_text().splitlines()))
    requests = seen[seen.index("R") :]
    assert re.fullmatch(f"([wf]*R(w+f+)+A){{{2 * TURNS}}}[wf]*", requests), requests


def _seen(lines: list[str]) -> Iterator[str]:
    """In order: a Request came, a write to the write-ahead log, an fsync of it that is done, an Answer goes out."""
    syncing = set()
    for line in lines:
        pid = line.split()[0]
        if re.search(r'\b(read|recvfrom|recvmsg)\b.*"POST /', line):
            yield "R"
        elif re.search(r'\b(write|writev|sendto|sendmsg)\(.*"HTTP/1.1 200 ', line):
            yield "A"
        elif re.search(r"\bpwrite64\(\d+<[^>]*-wal>", line):
            yield "w"
        elif re.search(r"\b(fsync|fdatasync)\(\d+<[^>]*-wal> <unfinished", line):
            syncing.add(pid)
        elif re.search(r"\b(fsync|fdatasync)\(\d+<[^>]*-wal>\) += 0", line) or (
            pid in syncing and re.search(r"<\.\.\. (fsync|fdatasync) resumed>\) += 0", line)
        ):
            syncing.discard(pid)
            yield "f"
