"""What is to be measured, and the reading of it from the command line."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from benchmarks.work import WORKS

DESCRIPTION = "Measures the server beside a plain one and the floors. BENCH='...' hands options over from make."


@dataclass(frozen=True, slots=True)
class Options:
    """`folder` is where the databases are made; None: the system's folder for temporary files."""

    rounds: int
    seconds: int
    warm_up: int
    starts: int
    connections: list[int]
    work: list[str]
    inboxes: int
    folder: Path | None
    output: Path | None


def parse() -> Options:
    parser = argparse.ArgumentParser("python -m benchmarks", description=DESCRIPTION)
    parser.add_argument("--rounds", type=_positive, default=5, help="rounds of each server (5)")
    parser.add_argument("--seconds", type=_positive, default=5, help="seconds a round (5)")
    parser.add_argument("--warm-up", type=int, default=1, help="seconds of load before the first round (1)")
    parser.add_argument("--starts", type=_positive, default=5, help="starts that are timed (5)")
    parser.add_argument("--connections", type=_numbers, default=[1, 16, 64], help="numbers of connections (1,16,64)")
    parser.add_argument("--work", type=_works, default=list(WORKS), help=f"what is measured ({','.join(WORKS)})")
    parser.add_argument("--inboxes", type=_inboxes, default=1_000, help="inboxes that are there before (1000)")
    parser.add_argument("--folder", type=Path, help="where databases are made (the system's temporary folder)")
    parser.add_argument("--output", type=Path, help="file that the report is written to as well")
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
    return [_positive(part) for part in text.split(",")]


def _inboxes(text: str) -> int:
    """A list of 50 must be full, and a number must fit into the eight digits of an id."""
    number = int(text)
    if not 50 <= number <= 99_999_999:
        raise argparse.ArgumentTypeError("must be 50 to 99999999")
    return number


def _works(text: str) -> list[str]:
    names = text.split(",")
    if not set(names) <= set(WORKS):
        raise argparse.ArgumentTypeError(f"must be some of {','.join(WORKS)}")
    return names
