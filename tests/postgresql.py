"""A throwaway PostgreSQL cluster on a Unix socket. Knows no test."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

USER = "postgres"


def programs() -> Path | None:
    """Where initdb and its like are; None where PostgreSQL is not installed."""
    found = shutil.which("initdb")
    candidates = [Path(found).resolve().parent] if found else []
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in candidates if (folder / "initdb").exists()), None)


class Cluster:
    """A running cluster. Durability is off: what is tested is this server, not PostgreSQL."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def url(self, database: str) -> str:
        return f"postgresql://{USER}@/{database}?host={self.folder}"

    def create(self, database: str, template: str = "template0") -> str:
        self.run("createdb", f"--template={template}", database)
        return self.url(database)

    def drop(self, database: str) -> None:
        self.run("dropdb", "--force", database)

    def run(self, program: str, *arguments: str) -> None:
        folder = programs()
        assert folder
        command = [str(folder / program), f"--host={self.folder}", f"--username={USER}", *arguments]
        subprocess.run(command, check=True, capture_output=True)


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Starts a cluster, and removes it afterwards. As root it runs as the user postgres, which refuses to be root."""
    folder = programs()
    assert folder
    owner = pwd.getpwnam(USER) if os.geteuid() == 0 else None
    home = Path(tempfile.mkdtemp(prefix="email-inbox-pg-"))
    as_owner: dict[str, Any] = {"user": owner.pw_uid, "group": owner.pw_gid} if owner else {}
    if owner:
        os.chown(home, owner.pw_uid, owner.pw_gid)
    data = home / "data"
    options = f"-c listen_addresses='' -c unix_socket_directories={home} -c fsync=off -c synchronous_commit=off"

    def run(program: str, *arguments: str) -> None:
        command = [str(folder / program), f"--pgdata={data}", *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=home, **as_owner)

    run("initdb", f"--username={USER}", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync")
    run("pg_ctl", "start", "--wait", "--silent", f"--log={home / 'log'}", f"--options={options}")
    try:
        yield Cluster(home)
    finally:
        run("pg_ctl", "stop", "--mode=immediate", "--silent")
        shutil.rmtree(home, ignore_errors=True)
