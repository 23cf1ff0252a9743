"""The report as Markdown, and its plots: what was measured, and on what. Claims nothing beyond it."""

import os
import platform
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path
from statistics import median
from tempfile import gettempdir

from benchmarks import cpus
from benchmarks.kinds import NODE, OURS, node_version
from benchmarks.load import Round
from benchmarks.measure import Comparison, Contestant, Figures
from benchmarks.options import Options
from benchmarks.plots import Bar, Panel, chart

MARK = "<!-- Below this line, `make bench BENCH=--write` writes. -->"
Figure = Callable[[Round], float]
_rate, _p50, _p99, _cpu = (attrgetter(name) for name in ("rate", "p50_ms", "p99_ms", "cpu_us"))

_COLUMNS = ("Connections", "Server", "Requests/s", "Ours ÷ it (range)", "p50 ms", "p99 ms", "CPU µs/request")
_GROWN = ("Connections", "Work", "Requests/s", "Beside the fewest (range)", "p50 ms", "p99 ms", "CPU µs/request")
_PLOTS: dict[str, tuple[str, Figure, str]] = {
    "rate": ("Requests a second", _rate, ",.0f"),
    "p99": ("p99 latency, ms (shorter is better)", _p99, ",.1f"),
    "cpu": ("CPU of the server, µs a request (shorter is better)", _cpu, ",.0f"),
}


@dataclass(frozen=True, slots=True)
class Began:
    """When the run began, and how busy the machine was: made before anything is measured."""

    time: datetime = field(default_factory=lambda: datetime.now(UTC))
    load: float = field(default_factory=lambda: os.getloadavg()[1])


def render(options: Options, began: Began, figures: Figures, *, with_plots: bool = False) -> str:
    parts = [_setting(options, began, figures)]
    for inboxes, comparisons in figures.comparisons.items():
        parts += [f"## {inboxes:,} inboxes", *_summary(comparisons)]
        parts += [f"![{_PLOTS[name][0]}](images/{_file(name, inboxes)})" for name in _PLOTS if with_plots]
        parts += _works(comparisons)
    if figures.growth:
        parts += [f"## {options.inboxes[-1]:,} inboxes beside {options.inboxes[0]:,}", _growth(figures.growth)]
    if figures.postgresql:
        parts += [f"## On PostgreSQL, {options.inboxes[0]:,} inboxes", *_summary(figures.postgresql)]
        parts += _works(figures.postgresql)
    parts += ["## Floors", *_floors(figures), "## Start", _starts(figures), _note(figures)]
    return "\n\n".join(parts)


def write(folder: Path, options: Options, began: Began, figures: Figures) -> None:
    """Writes performance.md below the mark, and what stands above it stays; and its plots."""
    page, images = folder / "performance.md", folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    kept = page.read_text(encoding="utf-8").partition(MARK)[0] if page.exists() else "# Performance\n\n"
    text = f"{kept}{MARK}\n\n{render(options, began, figures, with_plots=True)}\n"
    page.write_text(text, encoding="utf-8")
    for inboxes, comparisons in figures.comparisons.items():
        for name in _PLOTS:
            (images / _file(name, inboxes)).write_text(_plot(name, inboxes, comparisons), encoding="utf-8")


# ------------------------------------------------------------------------------------------------- what was measured on


def _setting(options: Options, began: Began, figures: Figures) -> str:
    folder = options.folder or Path(gettempdir())
    given = ["URL" if options.postgresql and options.postgresql in argument else argument for argument in sys.argv[1:]]
    lines = {
        "Command": f"`{shlex.join(['python', '-m', 'benchmarks', *given])}`",
        "Started": f"{began.time:%Y-%m-%d %H:%M} UTC, after a load average of {began.load:.2f} over 5 minutes",
        "Processor": cpus.described(),
        "Python": f"{platform.python_version()} on {platform.system()} {platform.release()}",
        "Node": node_version() if any(kind.program == NODE for kind in figures.starts) else "",
        "Databases": f"SQLite on {_file_system(folder)}",
        "Rounds": f"{options.rounds} of {options.seconds} s each, in turn; figures are medians over the rounds",
        "Left out": "; ".join(f"{kind.title}: {reason}" for kind, reason in figures.left_out.items()),
    }
    return "\n".join(f"- {name}: {value}" for name, value in lines.items() if value)


def _file_system(folder: Path) -> str:
    """The kind of file system that holds the folder. On tmpfs, a commit costs nothing."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    holding = [(point, kind) for point, kind in mounts if folder.resolve().is_relative_to(point)]
    return max(holding, key=lambda mount: len(mount[0]))[1] if holding else "an unknown file system"


# -------------------------------------------------------------------------------------------------------- comparisons


def _summary(comparisons: Sequence[Comparison]) -> Iterator[str]:
    """Ours beside each peer where the most connections are open."""
    busiest = _busiest(comparisons)
    at = f"(range over the rounds), at {busiest[0].connections} connections"
    yield f"Requests a second of ours ÷ those of the peer {at}; more is better:"
    yield _ratios(busiest, _rate)
    yield f"p99 latency of ours ÷ that of the peer {at}; less is better:"
    yield _ratios(busiest, _p99)


def _ratios(comparisons: Sequence[Comparison], figure: Figure) -> str:
    theirs = list(dict.fromkeys(one for found in comparisons for one in found.rounds if one.kind != OURS))
    rows = [
        (
            found.work.title,
            *(_ratio(_ours(found), found.rounds[one], figure) if one in found.rounds else "" for one in theirs),
        )
        for found in comparisons
    ]
    return _table(("Work", *(f"vs {contestant.kind.title}" for contestant in theirs)), rows)


def _busiest(comparisons: Sequence[Comparison]) -> list[Comparison]:
    most = max(found.connections for found in comparisons)
    return [found for found in comparisons if found.connections == most]


def _ours(comparison: Comparison) -> list[Round]:
    """No rounds where ours has no part in it, as in a floor."""
    return next((rounds for contestant, rounds in comparison.rounds.items() if contestant.kind == OURS), [])


def _works(comparisons: Sequence[Comparison]) -> Iterator[str]:
    for title in dict.fromkeys(found.work.title for found in comparisons):
        yield f"### {title}"
        found = [comparison for comparison in comparisons if comparison.work.title == title]
        yield _table(_COLUMNS, [row for comparison in found for row in _rows(comparison)])


def _rows(comparison: Comparison) -> Iterator[tuple[str, ...]]:
    ours = _ours(comparison)
    for contestant, rounds in comparison.rounds.items():
        ratio = _ratio(ours, rounds, _rate) if ours and contestant.kind != OURS else ""
        yield (str(comparison.connections), contestant.kind.title, *_figures(rounds, ratio))


def _figures(rounds: list[Round], ratio: str) -> tuple[str, ...]:
    return (
        f"{_median(rounds, _rate):,.0f}",
        ratio,
        f"{_median(rounds, _p50):,.2f}",
        f"{_median(rounds, _p99):,.2f}",
        f"{_median(rounds, _cpu):,.0f}",
    )


def _ratio(these: list[Round], those: list[Round], figure: Figure) -> str:
    """Round by round, so that what slows the machine for a while slows both."""
    ratios = [figure(this) / figure(that) for this, that in zip(these, those, strict=True)]
    return f"{median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"  # noqa: RUF001


def _median(rounds: list[Round], figure: Figure) -> float:
    return median(figure(found) for found in rounds)


def _growth(comparisons: Sequence[Comparison]) -> str:
    """Rates on the most inboxes ÷ those on the fewest."""
    rows = []
    for found in comparisons:
        few, many = found.rounds.values()
        rows.append((str(found.connections), found.work.title, *_figures(many, _ratio(many, few, _rate))))
    return _table(_GROWN, rows)


# ------------------------------------------------------------------------------------------------------ floors and rest


def _floors(figures: Figures) -> Iterator[str]:
    rows = [row for comparison in figures.constant for row in _rows(comparison)]
    yield _table(_COLUMNS, rows)
    rows = [
        (f"sqlite3 alone, {batch} row{'s' if batch > 1 else ''} a commit", f"{median(rates):,.0f}", _range(rates))
        for batch, rates in figures.commits.items()
    ]
    yield _table(("Floor", "Rows/s", "Range"), rows)


def _range(rates: list[float]) -> str:
    return f"{min(rates):,.0f}–{max(rates):,.0f}"  # noqa: RUF001


def _starts(figures: Figures) -> str:
    rows = [
        (kind.title, f"{start.first_seconds:.2f}", f"{start.seconds:.2f}", f"{start.idle_mebibytes:.0f}")
        for kind, start in figures.starts.items()
    ]
    return _table(("Server", "First start, s", "Later start, s", "Idle RSS, MiB"), rows)


def _note(figures: Figures) -> str:
    measured = [*figures.constant, *figures.growth, *figures.postgresql]
    measured += [one for some in figures.comparisons.values() for one in some]
    busiest = max(found.generator for one in measured for rounds in one.rounds.values() for found in rounds)
    return f"Every answer was checked, and none was wrong. wrk used at most {busiest:.0%} of its core."


def _table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    numeric = ["---" if name in ("Server", "Floor", "Work") else "---:" for name in columns]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (columns, tuple(numeric), *rows))


# --------------------------------------------------------------------------------------------------------------- plots


def _file(name: str, inboxes: int) -> str:
    return f"performance-{name}-{inboxes}.svg"


def _plot(name: str, inboxes: int, comparisons: Sequence[Comparison]) -> str:
    title, figure, form = _PLOTS[name]
    found = _busiest(comparisons)
    panels = [
        Panel(one.work.title.replace("`", ""), [_bar(*item, figure) for item in one.rounds.items()]) for one in found
    ]
    return chart(f"{title}: {inboxes:,} inboxes, {found[0].connections} connections", panels, form)


def _bar(contestant: Contestant, rounds: list[Round], figure: Figure) -> Bar:
    values = [figure(found) for found in rounds]
    return Bar(contestant.kind.title, median(values), min(values), max(values), accent=contestant.kind == OURS)
