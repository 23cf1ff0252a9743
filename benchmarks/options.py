"""What is to be measured, and the reading of it from the command line."""

import argparse
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from benchmarks.kinds import PEERS
from benchmarks.work import USUAL, WORKS

DESCRIPTION = "Measures the server beside its peers and the floors. BENCH='...' hands options over from make."
DOCS = Path(__file__).resolve().parent.parent / "docs"


@dataclass(frozen=True, slots=True)
class Options:
    """`before` is another checkout of ours. `postgresql` is the URL of a server there; None: nothing is measured on it.
    `folder` is where the databases of SQLite are made; None: the system's folder for temporary files.

    `write` is the folder that the report and its plots are written to; None: they are not.
    """

    rounds: int
    seconds: int
    warm_up: int
    starts: int
    connections: list[int]
    work: list[str]
    peers: list[str]
    inboxes: list[int]
    before: Path | None
    postgresql: str | None
    folder: Path | None
    write: Path | None

    @property
    def at_most_connections(self) -> Self:
        """The same, with the most connections alone."""
        return replace(self, connections=[max(self.connections)])


def parse() -> Options:
    parser = argparse.ArgumentParser("python -m benchmarks", description=DESCRIPTION)
    parser.add_argument("--rounds", type=_positive, default=5, help="rounds of each server (5)")
    parser.add_argument("--seconds", type=_positive, default=5, help="seconds a round (5)")
    parser.add_argument("--warm-up", type=int, default=2, help="seconds of load before the first round (2)")
    parser.add_argument("--starts", type=_positive, default=5, help="starts that are timed (5)")
    parser.add_argument("--connections", type=_numbers, default=[1, 16, 64], help="numbers of connections (1,16,64)")
    parser.add_argument("--work", type=_some_of(WORKS), default=USUAL, help=f"what is asked ({','.join(WORKS)})")
    parser.add_argument("--peers", type=_some_of(PEERS), default=list(PEERS), help=f"beside whom ({','.join(PEERS)})")
    parser.add_argument(
        "--inboxes",
        type=_inboxes,
        default=[1_000],
        help="inboxes that are there before (1000); on more than the fewest, only the most connections",
    )
    parser.add_argument("--before", type=Path, metavar="DIR", help="and ours as it is in this other checkout")
    parser.add_argument("--postgresql", help="URL of a PostgreSQL whose user may make databases: measure on it, too")
    parser.add_argument("--folder", type=Path, help="where databases are made (the system's temporary folder)")
    parser.add_argument(
        "--write", type=Path, nargs="?", const=DOCS, help="write performance.md and its plots, into docs or this folder"
    )
    parser.add_argument("--quick", action="store_true", help="a smoke test: one short round at 16 connections")
    found = parser.parse_args()
    if found.quick:
        found.rounds, found.seconds, found.warm_up, found.starts, found.connections = 1, 1, 0, 1, [16]
    del found.quick
    return Options(**vars(found))


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _numbers(text: str) -> list[int]:
    return sorted({_positive(part) for part in text.split(",")})


def _inboxes(text: str) -> list[int]:
    """A list of 50 must be full, and a number must fit into the eight digits of an id."""
    numbers = _numbers(text)
    if not all(50 <= number <= 99_999_999 for number in numbers):
        raise argparse.ArgumentTypeError("must be 50 to 99999999")
    return numbers


def _some_of(known: Collection[str]) -> Callable[[str], list[str]]:
    def names(text: str) -> list[str]:
        found = text.split(",") if text else []
        if not set(found) <= set(known):
            raise argparse.ArgumentTypeError(f"must be some of {','.join(known)}")
        return found

    return names
