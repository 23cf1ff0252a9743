"""One round: wrk sends a work's requests to a server, `load.lua` checks every answer. Knows no rounds and no peers."""

import resource
import secrets
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

from benchmarks import cpus
from benchmarks.failure import Failure
from benchmarks.servers import HEADERS, Server
from benchmarks.work import ID_OF_FIRST, Work

SCRIPT = Path(__file__).resolve().parent / "load.lua"
TIMEOUT = "30s"
SETTLE_SECONDS = 5.0
QUIET_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Round:
    """What one round was found to be. `cpu_us` is the server's processor time for a request.

    `generator` is the part of a core that wrk used: near 1, wrk was what was measured.
    """

    rate: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    generator: float


def run(server: Server, work: Work, connections: int, seconds: int, inboxes: int) -> Round:
    """Loads the server. Raises Failure where anything but right answers came back."""
    with NamedTemporaryFile("w", suffix=".http") as request:
        request.write(_request(server, work))
        request.flush()
        before, spent = cpus.seconds_used(server.pid), _children_seconds()
        figures = _wrk(server, work, connections, seconds, [request.name, str(inboxes)])
        used, spent = cpus.seconds_used(server.pid) - before, _children_seconds() - spent
    _settle(server)
    requests, duration = float(figures["requests"]), float(figures["microseconds"]) / 1e6
    if requests == 0 or figures["errors"] != "0" or figures["bad"] != "0":
        raise Failure(
            f"{server.kind.name}, {work.name} at {connections} connections: {figures['requests']} answers, "
            f"{figures['errors']} errors, {figures['bad']} wrong answers. {figures['sample']}"
        )
    return Round(
        rate=requests / duration,
        p50_ms=float(figures["p50"]) / 1e3,
        p99_ms=float(figures["p99"]) / 1e3,
        cpu_us=used / requests * 1e6,
        generator=spent / duration,
    )


def _request(server: Server, work: Work) -> str:
    """The request as it goes over the wire, with its placeholders."""
    length = len(work.text(ID=ID_OF_FIRST, NEW=f"{_nonce()}-{0:08d}"))
    headers = {"Host": f"127.0.0.1:{server.port}", "Content-Length": str(length), **HEADERS}
    lines = [f"POST {work.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", work.text()])


def _wrk(server: Server, work: Work, connections: int, seconds: int, arguments: list[str]) -> dict[str, str]:
    command = ["wrk", "-t", "1", "-c", str(connections), "-d", f"{seconds}s", "--timeout", TIMEOUT, "-s", str(SCRIPT)]
    checks = [_nonce(), work.pattern, str(work.times), work.key, work.capture]
    command += [f"http://127.0.0.1:{server.port}", "--", *arguments, *checks]
    found = subprocess.run(command, check=False, capture_output=True, text=True)
    lines = [line[1:].partition(" ") for line in found.stdout.splitlines() if line.startswith("@")]
    figures = {name: value for name, _, value in lines}
    if found.returncode or "requests" not in figures:
        raise Failure(f"wrk failed: {found.stdout}{found.stderr}")
    return figures


def _settle(server: Server) -> None:
    """Waits until the server is done with what wrk no longer waited for, so that the next round is not slowed."""
    give_up = time.monotonic() + SETTLE_SECONDS
    used = -1.0
    while time.monotonic() < give_up and used != (used := cpus.seconds_used(server.pid)):
        time.sleep(QUIET_SECONDS)


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _nonce() -> str:
    return secrets.token_hex(4)
