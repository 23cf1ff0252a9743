"""What is measured in which order: each server's rounds in turn, on a fresh copy of the same data. Prints progress."""

import json
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import load
from benchmarks.failure import Failure
from benchmarks.filling import copied, fill
from benchmarks.floors import BATCHES, rows_a_second
from benchmarks.load import Round
from benchmarks.options import Options
from benchmarks.servers import CONSTANT, OURS, PLAIN, Kind, Server, running
from benchmarks.work import ID_OF_FIRST, WORKS, Work

SERVERS = (OURS, PLAIN)
"""Ours first, then the peers."""

IDLE_SECONDS = 1.0
CONSTANT_WORK = replace(WORKS["read"], name="constant", title="Constant answer (Starlette)", key="", capture="")


@dataclass(frozen=True, slots=True)
class Comparison:
    """The rounds of one work at one number of connections, by the server's name, in the order they were run."""

    work: Work
    connections: int
    rounds: dict[str, list[Round]]


@dataclass(frozen=True, slots=True)
class Start:
    """Medians: seconds from the start of the process to its being ready, on no data and on data, and MiB when idle."""

    first_seconds: float
    seconds: float
    idle_mebibytes: float


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything that was measured."""

    comparisons: list[Comparison]
    constant: list[Comparison]
    commits: dict[int, list[float]]
    starts: dict[str, Start]


def measure(options: Options) -> Figures:
    """Raises Failure."""
    with TemporaryDirectory(dir=options.folder, prefix="email-inbox-bench-") as name:
        folder = Path(name)
        for kind in SERVERS:
            _say(f"{kind.name}: {options.inboxes} inboxes")
            fill(kind, folder / kind.name, options.inboxes)
        (folder / CONSTANT.name).mkdir()
        return Figures(
            [
                _compare(SERVERS, WORKS[work], connections, folder, options)
                for work in options.work
                for connections in options.connections
            ],
            [_compare((CONSTANT,), CONSTANT_WORK, connections, folder, options) for connections in options.connections],
            _commits(folder, options),
            {kind.name: _start(kind, folder, options) for kind in SERVERS},
        )


def _compare(kinds: Sequence[Kind], work: Work, connections: int, folder: Path, options: Options) -> Comparison:
    rounds: dict[str, list[Round]] = {kind.name: [] for kind in kinds}
    with ExitStack() as stack:
        servers = [
            stack.enter_context(running(kind, stack.enter_context(copied(folder / kind.name)))) for kind in kinds
        ]
        _check_alike(servers, work)
        for server in servers if options.warm_up else []:
            load.run(server, work, connections, options.warm_up, options.inboxes)
        for _ in range(options.rounds):
            for server in servers:
                found = load.run(server, work, connections, options.seconds, options.inboxes)
                rounds[server.kind.name].append(found)
                _say(f"{work.name} at {connections}: {server.kind.name} {found.rate:,.0f}/s")
    return Comparison(work, connections, rounds)


def _check_alike(servers: Sequence[Server], work: Work) -> None:
    """The servers are compared only where their answers have the same fields. Raises Failure."""
    shapes = []
    for server in servers:
        status, text = server.post(work, ID=ID_OF_FIRST, NEW="checked")
        answer = json.loads(text)
        if status != 200 or "errors" in answer:
            raise Failure(f"{server.kind.name}, {work.name}: {status} {text}")
        shapes.append(_shape(answer))
    if any(shape != shapes[0] for shape in shapes):
        raise Failure(f"{work.name} is not answered alike: {shapes}")


def _shape(value: Any) -> Any:
    """The fields of an answer without their values, and the length of its lists."""
    if isinstance(value, dict):
        return {name: _shape(field) for name, field in value.items()}
    return [_shape(item) for item in value] if isinstance(value, list) else ...


def _commits(folder: Path, options: Options) -> dict[int, list[float]]:
    found: dict[int, list[float]] = {batch: [] for batch in BATCHES}
    for _ in range(options.rounds):
        for batch in BATCHES:
            found[batch].append(rows_a_second(folder, options.seconds, batch))
            _say(f"sqlite3, {batch} rows a commit: {found[batch][-1]:,.0f} rows/s")
    return found


def _start(kind: Kind, folder: Path, options: Options) -> Start:
    first, later, resident = [], [], []
    for _ in range(options.starts):
        with TemporaryDirectory(dir=folder) as empty, running(kind, Path(empty)) as server:
            first.append(server.seconds)
        with copied(folder / kind.name) as data, running(kind, data) as server:
            later.append(server.seconds)
            time.sleep(IDLE_SECONDS)
            resident.append(server.resident_mebibytes())
        _say(f"{kind.name}: started in {first[-1]:.2f} s, {later[-1]:.2f} s; {resident[-1]:.0f} MiB")
    return Start(median(first), median(later), median(resident))


def _say(progress: str) -> None:
    print(progress, file=sys.stderr, flush=True)
