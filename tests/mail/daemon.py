"""A server's program that runs in a folder of its own, which is removed with it. Knows no program and no test."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from tests.process import until

SECONDS = 20.0
COMPLAINTS = "complaints"
LOG = "log"


@contextmanager
def folder_for(program: str) -> Iterator[Path]:
    """A folder with a short name, for sockets are in it, which other users may look into."""
    folder = Path(tempfile.mkdtemp(prefix=f"email-inbox-{program}-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def started(command: list[str], folder: Path, address: str, port: int) -> Iterator[None]:
    """Runs the command, which stays in the foreground, once somebody greets at the port."""
    with (folder / COMPLAINTS).open("wb") as complaints:
        process = subprocess.Popen(command, stdout=complaints, stderr=complaints, start_new_session=True)
    try:
        until(lambda: greets(process, folder, address, port), SECONDS)
        yield
    finally:
        end(process)


def greets(process: subprocess.Popen[bytes], folder: Path, address: str, port: int) -> bool:
    if process.poll() is not None:
        said = [path.read_text("utf-8") for path in (folder / COMPLAINTS, folder / LOG) if path.exists()]
        raise AssertionError(f"{process.args!r} ended: {said}")
    with suppress(OSError), closing(socket.create_connection((address, port), timeout=5)) as connection:
        return bool(connection.recv(1))
    return False


def end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process and whatever it started, at once: there is nothing to keep."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(5)
