"""Starts and stops the servers: each a process of its own, on a free port of the loopback and on a core of its own.

What a server logs is thrown away, each server's own lines at its default level, so that all do the work of writing it.
"""

import http.client
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from benchmarks import cpus
from benchmarks.failure import Failure
from benchmarks.kinds import Kind
from benchmarks.work import Work

START_SECONDS = 60
LOG = "start.log"
URL = "database.url"
"""The file of a data folder that names its database, where that is one of PostgreSQL."""
HEADERS = {
    "Content-Type": "application/json",
    "X-User-Id": "d26x6zSkaPSe5gCyy",
    "X-Auth-Token": "Zu-Z6eKzIIz7MCCRGeHi29bYkXZCJ4SxFC0JAasqm92",
}


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers. `seconds` is what it took from the start of the process to its being ready."""

    kind: Kind
    pid: int
    port: int
    seconds: float

    def post(self, work: Work, **values: str) -> tuple[int, str]:
        """Status and body of the answer to one request."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request("POST", work.path, work.text(**values), HEADERS)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def resident_mebibytes(self) -> float:
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


@contextmanager
def running(kind: Kind, folder: Path, *, logged: bool = False) -> Iterator[Server]:
    """The server on the data in `folder`, until the end of the block. Raises Failure where it does not start.

    `logged` keeps its log in the folder, for a start that is not measured.
    """
    port = _free_port()
    with (folder / LOG if logged else Path(os.devnull)).open("w") as log:
        started = time.perf_counter()
        process = _start(kind, folder, port, log)
        try:
            _wait_until_ready(kind, process, port, folder)
            yield Server(kind, process.pid, port, time.perf_counter() - started)
        finally:
            _stop(process)


def _start(kind: Kind, folder: Path, port: int, log: IO[str]) -> subprocess.Popen[bytes]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("EMAIL_INBOX_")}
    settings = {
        "NODE_ENV": "production",
        "EMAIL_INBOX_PORT": str(port),
        "EMAIL_INBOX_DATA_DIR": str(folder),
        "EMAIL_INBOX_ADMIN_USER_ID": HEADERS["X-User-Id"],
        "EMAIL_INBOX_ADMIN_TOKEN": HEADERS["X-Auth-Token"],
    }
    if (folder / URL).exists():
        settings["EMAIL_INBOX_DATABASE_URL"] = (folder / URL).read_text()
    # The folder is the working folder as well, so that no .env of the checkout has a part in this.
    process = subprocess.Popen(
        [kind.program, kind.script], cwd=folder, env=inherited | settings, stdout=log, stderr=log
    )
    cpus.give_servers(process.pid)
    return process


def _wait_until_ready(kind: Kind, process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
    give_up = time.monotonic() + START_SECONDS
    while not _is_ready(port):
        if process.poll() is not None or time.monotonic() > give_up:
            raise Failure(f"{kind.name} did not start: {_said(folder)}")
        time.sleep(0.005)


def _said(folder: Path) -> str:
    log = folder / LOG
    return log.read_text(errors="replace")[-2_000:] if log.exists() else "it did before, on the same data."


def _is_ready(port: int) -> bool:
    with (
        suppress(OSError, http.client.HTTPException),
        closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection,
    ):
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port
