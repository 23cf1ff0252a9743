"""How long checks of inboxes take, and what else the server can do meanwhile. Knows no HTTP and no database.

    python -m benchmarks.check [--checks 200] [--at-once 8] [--rounds 3]

A check asks both servers of an inbox at once, as `checkEmailInbox` does: Dovecot over STARTTLS and TLS in turn, and
Postfix where it can run. Both run beside it, on this machine. A ticker in the same event loop tells how long the loop
was held up: by that much every other request would have waited.
"""

import argparse
import asyncio
import gc
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import uvloop

from benchmarks.failure import Failure
from mail.check import check_imap, check_smtp
from mail.report import ServerCheck
from mail.service import Mail
from tests.mail import dovecot, postfix
from tests.mail.accounts import USER
from tests.mail.certificates import Certificates
from tests.mail.checking import account, mail_of, outcome

TICK_SECONDS = 0.005
MOST_WORK_SECONDS = 0.05
"""For how long the loop may be at work without a break."""
MOST_GROWTH_MEBIBYTES = 8


@dataclass(frozen=True, slots=True)
class Servers:
    """The ports of each: with TLS from the first byte, and with STARTTLS."""

    imap: tuple[int, int]
    smtp: tuple[int, int] | None


@dataclass(slots=True)
class Round:
    """What so many checks came to. Times are in seconds."""

    checks: list[float] = field(default_factory=list)
    stalls: list[float] = field(default_factory=list)
    work: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def told(self, number: int, mebibytes: float) -> str:
        ordered = sorted(self.checks)
        p99 = ordered[min(int(0.99 * len(ordered)), len(ordered) - 1)]
        times = [seconds * 1e3 for seconds in (statistics.median(ordered), p99, max(self.stalls), max(self.work))]
        figures = [len(ordered) / self.seconds, *times, mebibytes]
        return f"| {number} | " + " | ".join(f"{figure:.1f}" for figure in figures) + " |"


@contextmanager
def servers(certificates: Certificates) -> Iterator[Servers]:
    """Raises Failure."""
    if reason := dovecot.missing():
        raise Failure(f"{reason} (Debian: apt install dovecot-imapd).")
    with ExitStack() as stack:
        imap = stack.enter_context(dovecot.dovecot(certificates))
        smtp = None
        if reason := postfix.missing():
            print(f"IMAP alone: {reason}.", file=sys.stderr)
        else:
            found = stack.enter_context(postfix.postfix(certificates, imap))
            smtp = (found.submissions, found.submission)
        yield Servers((imap.imaps, imap.imap), smtp)


async def measure(mail: Mail, servers: Servers, checks: int, at_once: int) -> Round:
    """So many checks, so many of them at the same time. Raises Failure where one of them finds a fault."""
    found, gate, began = Round(), asyncio.Semaphore(at_once), time.perf_counter()

    async def check(number: int) -> None:
        async with gate:
            started = time.perf_counter()
            works: list[Awaitable[ServerCheck]] = [check_imap(mail, account(servers.imap[number % 2]))]
            if servers.smtp:
                works.append(check_smtp(mail, account(servers.smtp[number % 2]), USER))
            for report in await asyncio.gather(*works):
                if not report.success:
                    raise Failure(f"a check found {outcome(report)}.")
            found.checks.append(time.perf_counter() - started)

    async with ticking(found):
        await asyncio.gather(*(check(number) for number in range(checks)))
    found.seconds = time.perf_counter() - began
    return found


@asynccontextmanager
async def ticking(found: Round) -> AsyncIterator[None]:
    """Notes by how much each tick came late, and how long the loop itself was at work until then."""

    async def tick() -> None:
        while True:
            began, worked = time.perf_counter(), time.thread_time()
            await asyncio.sleep(TICK_SECONDS)
            found.stalls.append(time.perf_counter() - began - TICK_SECONDS)
            found.work.append(time.thread_time() - worked)

    task = asyncio.create_task(tick())
    try:
        yield
    finally:
        task.cancel()


def resident_mebibytes() -> float:
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checks", type=int, default=200)
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        certificates = Certificates(Path(folder))
        try:
            with servers(certificates) as ports:
                uvloop.run(report(mail_of(certificates), ports, options))
        except Failure as failure:
            sys.exit(f"benchmark failed: {failure}")


async def report(mail: Mail, ports: Servers, options: argparse.Namespace) -> None:
    await measure(mail, ports, options.at_once, options.at_once)
    gc.freeze()  # as the server does at its start
    print(f"{options.checks} checks, {options.at_once} at once: IMAP{' and SMTP' if ports.smtp else ''}")
    first = 0.0
    print(f"RSS before: {resident_mebibytes():.1f} MiB")
    print("| round | checks/s | p50 ms | p99 ms | longest stall ms | longest work ms | RSS MiB |")
    print("|---|---|---|---|---|---|---|")
    for number in range(1, options.rounds + 1):
        found = await measure(mail, ports, options.checks, options.at_once)
        print(found.told(number, resident_mebibytes()), flush=True)
        first = first or resident_mebibytes()
        hold(max(found.work), resident_mebibytes() - first)


def hold(work: float, growth: float) -> None:
    """Raises Failure where the promise is broken. A wall-clock stall counts other processes too, and is only told."""
    if work > MOST_WORK_SECONDS:
        raise Failure(f"the event loop was at work for {work * 1e3:.0f} ms without a break.")
    if growth > MOST_GROWTH_MEBIBYTES:
        raise Failure(f"memory grew by {growth:.0f} MiB after the first round.")


if __name__ == "__main__":
    main()
