"""How long a page of a search takes among many inboxes: `python -m benchmarks.search`. Knows no HTTP.

What is measured is `models.search.listing`, with every statement that it needs: the first 50 inboxes by name. The
inboxes are made before the index, so that the upgrade of a large database is timed too.
"""

import argparse
import asyncio
import itertools
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import Engine, event, insert
from sqlmodel import col, func, select

import models.database.migration
from models.database import Database, open_database
from models.database.search import search_page
from models.fields import folded
from models.inbox import EmailInbox, InboxOrder
from models.paging import Order, Window
from models.secrets import Keyring

TEXTS = {
    "": "no search, the list alone",
    "onlyone": "1 inbox",
    "龘龙": "1 inbox, two characters",
    "😀": "1 inbox, one character",
    "fewofthem": "one in 20,000",
    "seldom": "one in 1,000",
    "sometimes": "one in 100",
    "zulu": "one in 20, all at the end of the list",
    "often": "one in 10",
    "customers": "every other one",
    "a": "nearly all, one character",
    "example.org": "all",
    "nowhere": "none",
}
SYLLABLES = (
    "ba be bi bo da de di do ka ke ki ko la le li lo ma me mi mo na ne ni no ra re ri ro sa se si so ta te ti to"
)
CHUNK = 10_000


@dataclass(frozen=True, slots=True)
class Options:
    inboxes: int
    times: int
    url: str | None
    folder: Path | None
    keep: bool


@dataclass(frozen=True, slots=True)
class Search:
    """The time from the call to the page, and what of it the statements took."""

    seconds: float
    statements: float


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.search", description="Measures searches.")
    parser.add_argument("--inboxes", type=int, default=1_000_000, help="how many there are (1000000)")
    parser.add_argument("--times", type=int, default=50, help="how often each text is searched (50)")
    parser.add_argument("--url", help="an empty PostgreSQL database, or one that this filled; SQLite without")
    parser.add_argument("--folder", type=Path, help="where the SQLite file is made, or left by --keep")
    parser.add_argument("--keep", action="store_true", help="leave the SQLite file in the folder")
    options = Options(**vars(parser.parse_args()))
    with TemporaryDirectory(dir=options.folder, prefix="email-inbox-search-") as name:
        kept = options.folder if options.keep and options.folder else Path(name)
        print(asyncio.run(measure(options, options.url or f"sqlite:///{kept / 'search.sqlite3'}")))


async def measure(options: Options, url: str) -> str:
    """The report."""
    async with open_database(url) as database:
        lines = await fill(database, options.inboxes)
        lines += ["| text | held by | found | statements, p50 ms | all, p50 ms | all, p95 ms |"]
        lines += ["|---|---|---:|---:|---:|---:|"]
        everything: list[Search] = []
        for text, held_by in TEXTS.items():
            found, times = await search(database, text, options.times)
            everything += times if text else []
            lines.append(f"| {text} | {held_by} | {found} | {figures(times)} |")
        return "\n".join([*lines, f"| every search | | | {figures(everything)} |"])


async def search(database: Database, text: str, times: int) -> tuple[str, list[Search]]:
    """How many are on the page, and how long each search took after the first."""
    searches = []
    with timed() as statements:
        for _ in range(times + 1):
            statements.clear()
            began = time.perf_counter()
            found = await search_page(database, EmailInbox, text, (), Window(), InboxOrder.NAME, Order.ASC)
            searches.append(Search(time.perf_counter() - began, sum(statements)))
    return f"{len(found.page.rows)}{' and more' if found.page.has_next else ''}", searches[1:]


@contextmanager
def timed() -> Iterator[list[float]]:
    """The seconds that each statement takes until its rows are there."""
    seconds: list[float] = []

    def begin(_connection: Any, _cursor: Any, _statement: str, _values: Any, context: Any, _many: bool) -> None:
        context.began = time.perf_counter()

    def end(_connection: Any, _cursor: Any, _statement: str, _values: Any, context: Any, _many: bool) -> None:
        seconds.append(time.perf_counter() - context.began)

    event.listen(Engine, "before_cursor_execute", begin)
    event.listen(Engine, "after_cursor_execute", end)
    try:
        yield seconds
    finally:
        event.remove(Engine, "before_cursor_execute", begin)
        event.remove(Engine, "after_cursor_execute", end)


def figures(searches: list[Search]) -> str:
    whole = [search.seconds for search in searches]
    high = quantiles(whole, n=20)[-1]
    times = (median(search.statements for search in searches), median(whole), high)
    return " | ".join(f"{seconds * 1_000:.2f}" for seconds in times)


# ------------------------------------------------------------------------------------------------------------ filling


async def fill(database: Database, inboxes: int) -> list[str]:
    """Fills an empty database, then upgrades it, and says how long that took."""
    head, models.database.migration.HEAD = models.database.migration.HEAD, "0001"
    if (await models.database.migration.inspect(database)).revision is None:
        await models.database.migration.migrate(database, Keyring(list))
        rows = made(inboxes)
        for done in range(0, inboxes, CHUNK):
            chunk = list(itertools.islice(rows, CHUNK))
            await database.write(lambda session, chunk=chunk: session.connection().execute(insert(EmailInbox), chunk))  # type: ignore[misc]
            print(f"\r{done + len(chunk):,} inboxes", end="", file=sys.stderr, flush=True)
    models.database.migration.HEAD = head
    began = time.perf_counter()
    await models.database.migration.migrate(database, Keyring(list))
    took = f"{time.perf_counter() - began:.0f} s to upgrade the database."
    count = (await database.read(select(func.count(col(EmailInbox.id)))))[0]
    return [f"{'SQLite' if database.path else 'PostgreSQL'}, {count:,} inboxes. {took}", ""]


def made(inboxes: int) -> Iterator[dict[str, Any]]:
    """The same inboxes each time, in no order, their words as common as those of a language."""
    chance = random.Random(1)
    words = ["".join(chance.choices(SYLLABLES.split(), k=chance.randint(2, 4))) for _ in range(20_000)]
    weights = list(itertools.accumulate(1 / (rank + 5) for rank in range(len(words))))
    server = {"server": "mail.example.org", "port": 465, "password": bytes(60), "secure": True}
    servers = {f"{protocol}_{name}": value for protocol in ("smtp", "imap") for name, value in server.items()}
    for number in range(inboxes):
        first, second, *more = chance.choices(words, cum_weights=weights, k=10)
        name = f"{'Zulu ' if chance.random() < 1 / 20 else ''}{first.title()} {second.title()} {number}"
        email = f"{first}.{number}@{second}.example.org"
        description = " ".join([*more, *marks(chance, number)])
        moment = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(seconds=chance.randrange(10**8))
        yield {
            "id": f"{chance.getrandbits(68):017x}",
            "name": name,
            "name_key": folded(name),
            "description": description,
            "email": email,
            "email_key": email,
            "search_key": folded(f"{name}\n{email}\n{description}"),
            "active": True,
            "version": 1,
            "created_at": moment,
            "updated_at": moment,
            "imap_max_retries": 10,
            "smtp_username": email,
            "imap_username": email,
            **servers,
        }


def marks(chance: random.Random, number: int) -> Iterator[str]:
    if number == 54_321:
        yield "onlyone 龘龙 😀"
    for text, share in (("fewofthem", 20_000), ("seldom", 1_000), ("sometimes", 100), ("often", 10), ("customers", 2)):
        if chance.random() < 1 / share:
            yield text


if __name__ == "__main__":
    main()
