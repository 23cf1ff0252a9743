"""Runs a server's program in a temporary folder."""

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
    """Makes a folder with a short name, for the paths of sockets, that other users may read."""
    folder = Path(tempfile.mkdtemp(prefix=f"email-inbox-{program}-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def started(command: list[str], folder: Path, address: str, port: int) -> Iterator[None]:
    """Runs the command in the foreground, and waits until the server at the port sends its greeting."""
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
    """Kills a process and its children at once, because they keep no data."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(5)
