"""Serving: sockets, signals, worker processes, the garbage collector. Knows no setting and no route."""

import gc
import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.supervisors import Multiprocess

from edge.metrics import forget_all_but
from edge.protocol import HttpProtocol
from edge.websocket import SocketProtocol
from models.errors import StartError

GRACE_SECONDS = 7
"""How long requests under way may take after SIGTERM; what comes after that takes two seconds at most."""
BACKLOG_CONNECTIONS = 2_048
ACCEPTS_PER_TURN = 16
"""Connections that are accepted in one turn of the event loop."""
GARBAGE_THRESHOLD_OBJECTS = 10_000
"""Objects that are made before the garbage collector looks through the young ones."""
UVICORN: dict[str, Any] = {
    "lifespan": "on",
    "log_config": None,
    "access_log": False,
    "server_header": False,
    "proxy_headers": False,
    "http": HttpProtocol,
    "ws": SocketProtocol,
}
"""The options of uvicorn, in one process and in several."""


def bind_sockets(host: str, port: int) -> list[socket.socket]:
    """The socket many times over: of each, uvloop accepts one connection in a turn of its loop.

    With but one, the last of 64 clients that come at once is answered after others were answered dozens of times.
    Raises StartError.
    """
    listening = _bind(host, port)
    return [listening, *(listening.dup() for _ in range(ACCEPTS_PER_TURN - 1))]


def _bind(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=BACKLOG_CONNECTIONS)
    except OSError as error:
        raise StartError(
            f"{host}:{port} can't be listened on: {error.strerror}. Set EMAIL_INBOX_HOST or EMAIL_INBOX_PORT."
        ) from None
    except UnicodeError:
        raise StartError("EMAIL_INBOX_HOST must be a host name or an IP address.") from None


def exit_on_signals() -> None:
    """Ends the process at once at SIGTERM and SIGINT, with status 0.

    No step of a start leaves anything half done, so that it may be left at any moment, as by kill. While uvicorn
    serves, the signals are its own; it raises them once more when all is done, and that is no failure.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))


def tune_garbage_collector() -> None:
    """What is there by now stays: looked through again and again, it would stop the event loop for some 100 ms.

    Requests leave next to no cycles behind. Looking for some after every 700 objects took 4 % of a create.
    """
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD_OBJECTS)
    gc.enable()


def serve_here(app: ASGIApp, sockets: list[socket.socket]) -> None:
    """Serves in this process until SIGTERM or SIGINT, then answers what is under way."""
    tune_garbage_collector()
    uvicorn.Server(_config(app)).run(sockets=sockets)


def serve_by_workers(factory: str, workers: int, sockets: list[socket.socket], metrics_folder: Path) -> None:
    """The same in several processes. `factory`: the function that makes the application, as `module:name`."""
    tune_garbage_collector()
    Workers(_config(factory, factory=True, workers=workers), sockets, metrics_folder).run()


def _config(app: Any, **options: Any) -> uvicorn.Config:
    return uvicorn.Config(app, timeout_graceful_shutdown=GRACE_SECONDS, **options, **UVICORN)


class Workers(Multiprocess):
    """Several server processes on one socket, which is closed at once when they are to stop."""

    def __init__(self, config: uvicorn.Config, sockets: Sequence[socket.socket], metrics_folder: Path) -> None:
        super().__init__(config, sockets=list(sockets))
        self._metrics_folder = metrics_folder

    def terminate_all(self) -> None:
        for listening in self.sockets:
            listening.close()
        super().terminate_all()

    def keep_subprocess_alive(self) -> None:
        super().keep_subprocess_alive()
        forget_all_but({process.pid for process in self.processes}, self._metrics_folder)
