"""Runs the server and its commands as real processes, on a free port of the loopback interface.

They are forked from one process that has imported the server already, because a new interpreter takes a second or more
for that. `new_interpreter=True` starts a new one.
"""

import base64
import functools
import gc
import importlib
import itertools
import json
import os
import random
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import httpx
from asyncpg.transaction import Transaction
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from settings import Settings
from tests.running import ADMIN_HEADERS

ROOT = Path(__file__).parent.parent
PATH = os.environ.get("PATH", os.defpath)
PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For a client without TLS: loading the default certificates takes longer than most tests."""
READY_SECONDS = 20.0
BEGINNING = base64.b64encode(b"change:0").decode()
"""The cursor of a subscription to every change."""
_PACKET = 1 << 20

Found = TypeVar("Found")


def until(condition: Callable[[], Found], seconds: float = 10.0) -> Found:
    """Returns the first true value of the condition. Fails if there is none within the time."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"nothing within {seconds} s"
        time.sleep(0.01)
    return found


def free_port() -> int:
    """Returns a port below the ephemeral ports, where no client can take it before the server does."""
    while True:
        port = random.randrange(10_000, 32_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def environment_of(settings: Settings, **more: object) -> dict[str, str]:
    """Returns the environment variables for the settings."""
    variables: dict[str, object] = {"EMAIL_INBOX_DATA_DIR": settings.data_dir, **more}
    for name in ("database_url", "secret_keys"):
        if secret := getattr(settings, name):
            variables[f"EMAIL_INBOX_{name.upper()}"] = secret.get_secret_value()
    return {name: str(value) for name, value in variables.items()}


# ------------------------------------------------------------------------------------------------------- processes


@dataclass
class Process:
    """A process of `server.py`. Its standard input is `typed`; its outputs are in the files beside that."""

    pid: int
    typed: Path
    poll: Callable[[], int | None]
    address: str = ""
    client: httpx.Client = field(init=False)

    @property
    def out(self) -> str:
        return self.typed.with_suffix(".out").read_text("utf-8")

    @property
    def err(self) -> str:
        return self.typed.with_suffix(".err").read_text("utf-8")

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self, seconds: float = 10.0) -> int:
        """Returns the exit status, or minus the number of the signal that ended the process."""
        statuses: list[int] = []

        def ended() -> bool:
            status = self.poll()
            if status is not None:
                statuses.append(status)
            return bool(statuses)

        until(ended, seconds)
        return statuses[0]

    def stop(self) -> int:
        """Stops the process with SIGTERM, as an operator does."""
        self.signal(15)
        return self.wait(15)

    def kill(self) -> None:
        if self.poll() is None:
            self.signal(9)
            self.wait()

    def graphql(self, query: str, **variables: Any) -> dict[str, Any]:
        answer = self.client.post("/graphql", json={"query": query, "variables": variables})
        found: dict[str, Any] = answer.json()
        return found


def start(
    arguments: list[str],
    environment: Mapping[str, str],
    folder: Path,
    *,
    typed: str = "",
    patched: Mapping[str, object] | None = None,
    dies_at: int | None = None,
    new_interpreter: bool = False,
) -> Process:
    """Starts `python server.py` with these arguments and only this environment.

    In a forked process, `patched` sets constants, such as `models.database.backend.LOCK_SECONDS`, and `dies_at` kills
    it before its n-th durable step: a commit, or a change of a file by Python.
    """
    given = _make_files(folder, typed)
    variables = {"PATH": PATH, "LANG": "C.UTF-8", **environment}
    if new_interpreter:
        return _start_interpreter(arguments, variables, folder, given)
    order = {
        "arguments": arguments,
        "environment": variables,
        "folder": str(folder),
        "typed": str(given),
        "patched": dict(patched or {}),
        "dies_at": dies_at,
    }
    pid = _send_order(order)
    return Process(pid, given, _make_poll(pid))


def run(arguments: list[str], environment: Mapping[str, str], folder: Path, **more: Any) -> tuple[int, str, str]:
    """Runs a command to its end. Returns the exit status, standard output and standard error."""
    process = start(arguments, environment, folder, **more)
    try:
        status = process.wait(20)
    finally:
        process.kill()
    return status, process.out, process.err


@contextmanager
def serving(
    environment: Mapping[str, str], folder: Path, headers: Mapping[str, str] = ADMIN_HEADERS, **more: Any
) -> Iterator[Process]:
    """Starts a server and waits until it is ready. Kills it afterwards in any case."""
    port = free_port()
    process = start([], {"EMAIL_INBOX_PORT": str(port), **environment}, folder, **more)
    process.address = f"http://127.0.0.1:{port}"
    with httpx.Client(base_url=process.address, headers=headers, timeout=30, verify=PLAIN) as client:
        process.client = client
        try:
            wait_until_ready(process)
            yield process
        finally:
            process.kill()


def wait_until_ready(process: Process) -> None:
    def ready() -> bool:
        assert process.poll() is None, process.err
        try:
            return process.client.get("/health/ready").status_code == 200
        except httpx.TransportError:
            return False

    until(ready, READY_SECONDS)


@contextmanager
def subscribed(process: Process, headers: Mapping[str, str] = ADMIN_HEADERS) -> Iterator[ClientConnection]:
    """Opens a connection with a subscription to every change since the database was made."""
    address = process.address.replace("http", "ws") + "/graphql"
    with connect(address, subprotocols=[Subprotocol("graphql-transport-ws")]) as connection:
        connection.send(json.dumps({"type": "connection_init", "payload": dict(headers)}))
        assert json.loads(connection.recv(timeout=5))["type"] == "connection_ack"
        query = f'subscription {{ emailInboxChanged(after: "{BEGINNING}") {{ kind id emailInbox {{ name }} }} }}'
        connection.send(json.dumps({"type": "subscribe", "id": "1", "payload": {"query": query}}))
        connection.send(json.dumps({"type": "ping"}))
        assert json.loads(connection.recv(timeout=5))["type"] == "pong"
        yield connection


def _make_files(folder: Path, typed: str) -> Path:
    """Makes the file for standard input, and those for standard output and standard error beside it."""
    number, name = tempfile.mkstemp(".in", dir=folder)
    with os.fdopen(number, "w", encoding="utf-8") as file:
        file.write(typed)
    given = Path(name)
    for suffix in (".out", ".err"):
        given.with_suffix(suffix).touch()
    return given


def _start_interpreter(arguments: list[str], environment: dict[str, str], folder: Path, typed: Path) -> Process:
    out, err = typed.with_suffix(".out"), typed.with_suffix(".err")
    with typed.open("rb") as stdin, out.open("wb") as stdout, err.open("wb") as stderr:
        command = [sys.executable, str(ROOT / "server.py"), *arguments]
        child = subprocess.Popen(command, env=environment, cwd=folder, stdin=stdin, stdout=stdout, stderr=stderr)
    return Process(child.pid, typed, child.poll)


# --------------------------------------------------------------------------------------------------------- forking


def _make_poll(pid: int) -> Callable[[], int | None]:
    ended: list[int] = []

    def poll() -> int | None:
        if not ended and (status := _send_order({"pid": pid})) is not None:
            ended.append(status)
        return ended[0] if ended else None

    return poll


def _send_order(order: dict[str, Any]) -> Any:
    orders, _ = _harness()
    orders.send(json.dumps(order).encode())
    return json.loads(orders.recv(_PACKET))


@functools.cache
def _harness() -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """Starts the process that imports the server and forks. It ends when this one closes the connection."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-m", "tests.process", str(there.fileno())]
    process = subprocess.Popen(command, cwd=ROOT, pass_fds=[there.fileno()])
    there.close()
    return here, process


def _serve_orders(orders: socket.socket) -> None:
    gc.collect()
    gc.freeze()
    while packet := orders.recv(_PACKET):
        order = json.loads(packet)
        if "pid" in order:
            pid, status = os.waitpid(order["pid"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        elif not (answer := os.fork()):
            orders.close()
            _run_and_exit(functools.partial(_run_server, order))
        orders.send(json.dumps(answer).encode())


def _run_and_exit(work: Callable[[], object]) -> NoReturn:
    """Runs the function and exits like an interpreter, but without freeing memory, which is slower than most work."""
    status: object = 0
    try:
        work()
    except SystemExit as exit_:
        status = exit_.code or 0
    except BaseException:
        traceback.print_exc()
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status if isinstance(status, int) else 1)


def _run_server(order: dict[str, Any]) -> None:
    """Continues as `python server.py`."""
    import server

    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["folder"])
    typed = Path(order["typed"])
    for number, path, flags in (
        (0, typed, os.O_RDONLY),
        (1, typed.with_suffix(".out"), os.O_WRONLY),
        (2, typed.with_suffix(".err"), os.O_WRONLY),
    ):
        opened = os.open(path, flags)
        os.dup2(opened, number)
        os.close(opened)
    for name, value in order["patched"].items():
        module, _, constant = name.rpartition(".")
        setattr(importlib.import_module(module), constant, value)
    if order["dies_at"] is not None:
        _die_at(order["dies_at"])
    sys.modules["__main__"], sys.argv = server, ["server.py", *order["arguments"]]
    server.run()


def _die_at(number: int) -> None:
    from models.database.postgresql import WriterConnection

    steps = itertools.count()

    def step() -> None:
        if next(steps) == number:
            os.kill(os.getpid(), 9)

    class Connection(sqlite3.Connection):
        def commit(self) -> None:
            if self.in_transaction:
                step()
            super().commit()

    def stepping(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            step()
            return function(*args, **kwargs)

        return wrapped

    steps_of: list[tuple[Any, str]] = [(os, "fsync"), (os, "rename"), (os, "link"), (os, "unlink")]
    for owner, name in (*steps_of, (Transaction, "commit"), (WriterConnection, "commit")):
        setattr(owner, name, stepping(getattr(owner, name)))
    connect = sqlite3.connect
    for module in (sqlite3, sqlite3.dbapi2):
        setattr(module, "connect", functools.partial(connect, factory=Connection))  # noqa: B010


def _preload() -> None:
    """Imports what the server imports late."""
    import uvloop  # noqa: F401


if __name__ == "__main__":
    _preload()
    _serve_orders(socket.socket(fileno=int(sys.argv[1])))
