"""The report as Markdown: what was measured, and on what. Claims nothing beyond it."""

import os
import platform
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from tempfile import gettempdir

from benchmarks import cpus
from benchmarks.load import Round
from benchmarks.measure import Comparison, Figures
from benchmarks.options import Options
from benchmarks.servers import OURS

_COLUMNS = ("Connections", "Server", "Requests/s", "Ours ÷ it (range)", "p50 ms", "p99 ms", "CPU µs/request")


@dataclass(frozen=True, slots=True)
class Began:
    """When the run began, and how busy the machine was: made before anything is measured."""

    time: datetime = field(default_factory=lambda: datetime.now(UTC))
    load: float = field(default_factory=lambda: os.getloadavg()[1])


def render(options: Options, began: Began, figures: Figures) -> str:
    parts = ["# Speed", _setting(options, began), *_works(figures)]
    parts += ["## Floors", *_floors(figures), "## Start", _starts(figures), _note(figures)]
    return "\n\n".join(parts)


def _setting(options: Options, began: Began) -> str:
    folder = options.folder or Path(gettempdir())
    lines = {
        "Command": f"`{shlex.join(['python', '-m', 'benchmarks', *sys.argv[1:]])}`",
        "Started": f"{began.time:%Y-%m-%d %H:%M} UTC, after a load average of {began.load:.2f} over 5 minutes",
        "Processor": cpus.described(),
        "Python": f"{platform.python_version()} on {platform.system()} {platform.release()}",
        "Databases": f"SQLite on {_file_system(folder)}, {options.inboxes:,} inboxes at the start of each measurement",
        "Rounds": f"{options.rounds} of {options.seconds} s each, in turn; figures are medians over the rounds",
    }
    return "\n".join(f"- {name}: {value}" for name, value in lines.items())


def _file_system(folder: Path) -> str:
    """The kind of file system that holds the folder. On tmpfs, a commit costs nothing."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    holding = [(point, kind) for point, kind in mounts if folder.resolve().is_relative_to(point)]
    return max(holding, key=lambda mount: len(mount[0]))[1] if holding else "an unknown file system"


def _works(figures: Figures) -> Iterator[str]:
    for title in dict.fromkeys(found.work.title for found in figures.comparisons):
        yield f"## {title}"
        yield _comparisons([found for found in figures.comparisons if found.work.title == title])


def _comparisons(found: list[Comparison]) -> str:
    rows = [row for comparison in found for row in _rows(comparison)]
    return _table(_COLUMNS, rows)


def _rows(comparison: Comparison) -> Iterator[tuple[str, ...]]:
    ours = comparison.rounds.get(OURS.name)
    for name, rounds in comparison.rounds.items():
        yield (
            str(comparison.connections),
            name,
            f"{_median(rounds, lambda found: found.rate):,.0f}",
            _ratio(ours, rounds) if ours and name != OURS.name else "",
            f"{_median(rounds, lambda found: found.p50_ms):,.2f}",
            f"{_median(rounds, lambda found: found.p99_ms):,.2f}",
            f"{_median(rounds, lambda found: found.cpu_us):,.0f}",
        )


def _ratio(ours: list[Round], theirs: list[Round]) -> str:
    """Round by round, so that what slows the machine for a while slows both."""
    ratios = [our.rate / their.rate for our, their in zip(ours, theirs, strict=True)]
    return f"{median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"  # noqa: RUF001


def _median(rounds: list[Round], figure: Callable[[Round], float]) -> float:
    return median(figure(found) for found in rounds)


def _floors(figures: Figures) -> Iterator[str]:
    yield _comparisons(figures.constant)
    rows = [
        (f"sqlite3 alone, {batch} row{'s' if batch > 1 else ''} a commit", f"{median(rates):,.0f}", _range(rates))
        for batch, rates in figures.commits.items()
    ]
    yield _table(("Floor", "Rows/s", "Range"), rows)


def _range(rates: list[float]) -> str:
    return f"{min(rates):,.0f}–{max(rates):,.0f}"  # noqa: RUF001


def _starts(figures: Figures) -> str:
    rows = [
        (name, f"{start.first_seconds:.2f}", f"{start.seconds:.2f}", f"{start.idle_mebibytes:.0f}")
        for name, start in figures.starts.items()
    ]
    return _table(("Server", "First start, s", "Later start, s", "Idle RSS, MiB"), rows)


def _note(figures: Figures) -> str:
    measured = figures.comparisons + figures.constant
    busiest = max(found.generator for one in measured for rounds in one.rounds.values() for found in rounds)
    return f"Every answer was checked, and none was wrong. wrk used at most {busiest:.0%} of its core."


def _table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    numeric = ["---" if name in ("Server", "Floor") else "---:" for name in columns]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (columns, tuple(numeric), *rows))
