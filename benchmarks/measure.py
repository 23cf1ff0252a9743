"""What is measured in which order: each server's rounds in turn, on a fresh copy of the same data. Prints progress."""

import os
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks import load, postgresql
from benchmarks.alike import check_alike
from benchmarks.filling import copied, fill
from benchmarks.floors import BATCHES, rows_a_second
from benchmarks.kinds import CONSTANT, OURS, PEERS, Kind, checkout, missing
from benchmarks.load import Round
from benchmarks.options import Options
from benchmarks.servers import running
from benchmarks.work import WORKS, Work

IDLE_SECONDS = 1.0
CONSTANT_WORK = replace(WORKS["read"], name="constant", title="Constant answer", key="", capture="")


@dataclass(frozen=True, slots=True)
class Contestant:
    """A server, and how many inboxes it begins with."""

    kind: Kind
    inboxes: int
    on_postgresql: bool = False

    @property
    def folder(self) -> str:
        return f"{self.kind.name}-{self.inboxes}{'-postgresql' if self.on_postgresql else ''}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """The rounds of one work at one number of connections, in the order they were run."""

    work: Work
    connections: int
    rounds: dict[Contestant, list[Round]]


@dataclass(frozen=True, slots=True)
class Start:
    """Medians: seconds from the start of the process to its being ready, on no data and on data, and MiB when idle."""

    first_seconds: float
    seconds: float
    idle_mebibytes: float


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything that was measured. `growth` is ours on the fewest inboxes beside ours on the most."""

    comparisons: dict[int, list[Comparison]]
    growth: list[Comparison]
    postgresql: list[Comparison]
    constant: list[Comparison]
    commits: dict[int, list[float]]
    starts: dict[Kind, Start]
    left_out: dict[Kind, str]


def measure(options: Options) -> Figures:
    """Raises Failure."""
    left_out = {kind: reason for name in options.peers if (reason := missing(kind := PEERS[name]))}
    for kind, reason in left_out.items():
        _say(f"{kind.title} is left out: {reason}")
    before = [checkout(options.before)] if options.before else []
    kinds = [OURS, *before, *(PEERS[name] for name in options.peers if PEERS[name] not in left_out)]
    with TemporaryDirectory(dir=options.folder, prefix="email-inbox-bench-") as name:
        folder = Path(name)
        _fill(kinds, folder, options)
        return Figures(
            {inboxes: _compare_size(inboxes, kinds, folder, options) for inboxes in options.inboxes},
            _growth(folder, options),
            _on_postgresql(folder, options),
            [_compare(_on(0, [CONSTANT]), CONSTANT_WORK, count, folder, options) for count in options.connections],
            _commits(folder, options),
            {kind: _start(Contestant(kind, options.inboxes[0]), folder, options) for kind in kinds},
            left_out,
        )


def _fill(kinds: Iterable[Kind], folder: Path, options: Options) -> None:
    (folder / Contestant(CONSTANT, 0).folder).mkdir()
    for inboxes in options.inboxes:
        for contestant in _on(inboxes, kinds):
            _say(f"{contestant.kind.name}: {inboxes:,} inboxes")
            fill(contestant.kind, folder / contestant.folder, inboxes)


def _on(inboxes: int, kinds: Iterable[Kind]) -> list[Contestant]:
    return [Contestant(kind, inboxes) for kind in kinds]


def _growth(folder: Path, options: Options) -> list[Comparison]:
    """Rounds in turn: what is compared is minutes apart otherwise, and the machine another by then."""
    sizes = (options.inboxes[0], options.inboxes[-1])
    contestants = [Contestant(OURS, size) for size in sizes]
    return _compare_all(contestants, folder, options.at_most_connections) if sizes[0] < sizes[1] else []


def _on_postgresql(folder: Path, options: Options) -> list[Comparison]:
    """Ours and those peers that know PostgreSQL."""
    if not options.postgresql:
        return []
    kinds = [OURS, *(PEERS[name] for name in options.peers if PEERS[name].knows_postgresql)]
    contestants = [Contestant(kind, options.inboxes[0], on_postgresql=True) for kind in kinds]
    with ExitStack() as stack:
        for contestant in contestants:
            url = stack.enter_context(postgresql.database(options.postgresql))
            fill(contestant.kind, folder / contestant.folder, contestant.inboxes, url)
        return _compare_all(contestants, folder, options.at_most_connections)


def _compare_size(inboxes: int, kinds: Iterable[Kind], folder: Path, options: Options) -> list[Comparison]:
    """At every number of connections on the fewest inboxes, on more of them at the most: all would take hours."""
    fewest = inboxes == options.inboxes[0]
    return _compare_all(_on(inboxes, kinds), folder, options if fewest else options.at_most_connections)


def _compare_all(contestants: Sequence[Contestant], folder: Path, options: Options) -> list[Comparison]:
    peers = PEERS.values()
    return [
        _compare(
            [one for one in contestants if not (WORKS[work].is_ours_alone and one.kind in peers)],
            WORKS[work],
            connections,
            folder,
            options,
        )
        for work in options.work
        for connections in options.connections
    ]


def _compare(
    contestants: Sequence[Contestant], work: Work, connections: int, folder: Path, options: Options
) -> Comparison:
    rounds: dict[Contestant, list[Round]] = {contestant: [] for contestant in contestants}
    with ExitStack() as stack:
        servers = {
            contestant: stack.enter_context(
                running(contestant.kind, stack.enter_context(copied(folder / contestant.folder)))
            )
            for contestant in contestants
        }
        check_alike(list(servers.values()), work)
        os.sync()  # what the copies left to write would slow the first commits
        for contestant, server in servers.items() if options.warm_up else ():
            load.run(server, work, connections, options.warm_up, contestant.inboxes)
        for _ in range(options.rounds):
            for contestant, server in servers.items():
                found = load.run(server, work, connections, options.seconds, contestant.inboxes)
                rounds[contestant].append(found)
                _say(f"{work.name} at {connections}: {contestant.folder} {found.rate:,.0f}/s")
    return Comparison(work, connections, rounds)


def _commits(folder: Path, options: Options) -> dict[int, list[float]]:
    found: dict[int, list[float]] = {batch: [] for batch in BATCHES}
    for _ in range(options.rounds):
        for batch in BATCHES:
            found[batch].append(rows_a_second(folder, options.seconds, batch))
            _say(f"sqlite3, {batch} rows a commit: {found[batch][-1]:,.0f} rows/s")
    return found


def _start(contestant: Contestant, folder: Path, options: Options) -> Start:
    kind, filled = contestant.kind, folder / contestant.folder
    first, later, resident = [], [], []
    for _ in range(options.starts):
        with TemporaryDirectory(dir=folder) as empty, running(kind, Path(empty)) as server:
            first.append(server.seconds)
        with copied(filled) as data, running(kind, data) as server:
            later.append(server.seconds)
            time.sleep(IDLE_SECONDS)
            resident.append(server.resident_mebibytes())
        _say(f"{kind.name}: started in {first[-1]:.2f} s, {later[-1]:.2f} s; {resident[-1]:.0f} MiB")
    return Start(median(first), median(later), median(resident))


def _say(progress: str) -> None:
    print(progress, file=sys.stderr, flush=True)
