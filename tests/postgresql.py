"""A temporary PostgreSQL cluster on a Unix socket.

It is in memory if there is space: creating a database copies some 300 files, which takes longer on a disk than most
tests.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

USER = "postgres"
MEMORY = Path("/dev/shm")
ROOM_BYTES = 1 << 30
"""The most that a cluster needs: 150 MB for itself and its log, and 8 MB for each database in use."""
DATA = "data"
DONE = "-- done --\n"


def programs() -> Path | None:
    """Returns the folder of initdb and the other programs; None if PostgreSQL is not installed."""
    found = shutil.which("initdb")
    candidates = [Path(found).resolve().parent] if found else []
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in candidates if (folder / "initdb").exists()), None)


class Session:
    """A psql process that executes statements and stays open, because its start takes longer than most statements."""

    def __init__(self, command: list[str]) -> None:
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        self._process = subprocess.Popen(command, text=True, **pipes)

    def execute(self, statement: str) -> None:
        """Raises AssertionError if the statement fails or the connection is lost. Both end psql."""
        assert self._process.stdin
        assert self._process.stdout
        with suppress(BrokenPipeError):
            self._process.stdin.write(f"{statement};\n\\echo {DONE}")
            self._process.stdin.flush()
        printed = []
        for line in self._process.stdout:
            if line == DONE:
                return
            printed.append(line)
        raise AssertionError("".join(printed))

    def close(self) -> None:
        self._process.communicate()


class Cluster:
    """A running cluster. Durability is off, because PostgreSQL itself is not under test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._strategy = _copy_strategy(folder / DATA)

    def url(self, database: str) -> str:
        return f"postgresql://{USER}@/{database}?host={self.folder}"

    def create(self, database: str, template: str = "template0") -> str:
        self._execute(f'CREATE DATABASE "{database}" TEMPLATE "{template}" {self._strategy}')
        return self.url(database)

    def drop(self, database: str) -> None:
        self._execute(f'DROP DATABASE "{database}" WITH (FORCE)')

    def run(self, program: str, *arguments: str) -> None:
        subprocess.run(self._command(program, *arguments), check=True, capture_output=True)

    def _execute(self, statement: str) -> None:
        """Retries in a new session, because the old one may have ended when a test stopped the cluster."""
        try:
            self._session.execute(statement)
        except AssertionError:
            self.close()
            self._session.execute(statement)

    def close(self) -> None:
        """Ends the session, if there is one."""
        if session := self.__dict__.pop("_session", None):
            session.close()

    @cached_property
    def _session(self) -> Session:
        options = ["--dbname=postgres", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"]
        return Session(self._command("psql", *options))

    def _command(self, program: str, *arguments: str) -> list[str]:
        folder = programs()
        assert folder
        return [str(folder / program), f"--host={self.folder}", f"--username={USER}", *arguments]


def _copy_strategy(data: Path) -> str:
    """Returns the option to copy a template file by file: as in versions before 15, in half the time."""
    version = int((data / "PG_VERSION").read_text())
    return "STRATEGY file_copy" if version >= 15 else ""


def _choose_parent() -> str | None:
    """Returns the parent folder of a cluster; None for that of temporary files."""
    roomy = MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM_BYTES
    return str(MEMORY) if roomy else None


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Starts a cluster, and removes it afterwards. Under root it runs as the user postgres: it refuses to be root."""
    folder = programs()
    assert folder
    owner = pwd.getpwnam(USER) if os.geteuid() == 0 else None
    home = Path(tempfile.mkdtemp(prefix="email-inbox-pg-", dir=_choose_parent()))
    as_owner: dict[str, Any] = {"user": owner.pw_uid, "group": owner.pw_gid} if owner else {}
    if owner:
        os.chown(home, owner.pw_uid, owner.pw_gid)
    data = home / DATA
    options = f"-c listen_addresses='' -c unix_socket_directories={home} -c fsync=off -c synchronous_commit=off"

    def run(program: str, *arguments: str) -> None:
        command = [str(folder / program), f"--pgdata={data}", *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=home, **as_owner)

    run("initdb", f"--username={USER}", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync")
    run("pg_ctl", "start", "--wait", "--silent", f"--log={home / 'log'}", f"--options={options}")
    started = Cluster(home)
    try:
        yield started
    finally:
        started.close()
        run("pg_ctl", "stop", "--mode=immediate", "--silent")
        shutil.rmtree(home, ignore_errors=True)
