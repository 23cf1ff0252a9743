"""Runs the application under uvicorn: sockets, signals, worker processes, garbage collector."""

import gc
import os
import signal
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.supervisors import Multiprocess

from edge.metrics import forget_all_but
from edge.protocol import HttpProtocol
from edge.websocket import SocketProtocol
from models.errors import StartError

GRACE_SECONDS = 7
"""Time for requests in progress to end after SIGTERM. The rest of the shutdown takes two seconds at most."""
BACKLOG_CONNECTIONS = 2_048
ACCEPTS_PER_TURN = 16
"""Connections accepted in one iteration of the event loop."""
GARBAGE_THRESHOLD_OBJECTS = 10_000
"""Allocations before the garbage collector scans the young generation."""
UVICORN_OPTIONS: Mapping[str, Any] = MappingProxyType(
    {
        "lifespan": "on",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,
        "http": HttpProtocol,
        "ws": SocketProtocol,
    }
)
"""The options of uvicorn, with one process or several."""


def bind_sockets(host: str, port: int) -> list[socket.socket]:
    """Returns the listening socket and duplicates of it: per iteration, uvloop accepts one connection from each.

    With a single one, the last of 64 simultaneous clients waits while others are answered dozens of times.
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
    """Makes SIGTERM and SIGINT end the process at once, with status 0.

    Each step of the start is atomic, so that it may be interrupted at any moment. While uvicorn serves, it handles the
    signals; it raises them again after its shutdown, which must not count as a failure.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))


def tune_garbage_collector() -> None:
    """Freezes the existing objects, because each full scan of them would block the event loop for some 100 ms.

    Requests create almost no cycles. A scan after every 700 allocations took 4 % of the time of a create.
    """
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD_OBJECTS)
    gc.enable()


def serve_here(app: ASGIApp, sockets: list[socket.socket]) -> None:
    """Serves in this process until SIGTERM or SIGINT, then finishes the requests in progress."""
    tune_garbage_collector()
    # One worker, said so: else uvicorn reads WEB_CONCURRENCY, which may be no number.
    uvicorn.Server(_config(app, workers=1)).run(sockets=sockets)


def serve_by_workers(factory: str, workers: int, sockets: list[socket.socket], metrics_folder: Path) -> None:
    """Serves in several processes. `factory`: the function that makes the application, as `module:name`."""
    tune_garbage_collector()
    Workers(_config(factory, factory=True, workers=workers), sockets, metrics_folder).run()


def _config(app: Any, **options: Any) -> uvicorn.Config:
    return uvicorn.Config(app, timeout_graceful_shutdown=GRACE_SECONDS, **options, **UVICORN_OPTIONS)


class Workers(Multiprocess):
    """Worker processes on one socket. Closes the socket as soon as they are told to stop."""

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
