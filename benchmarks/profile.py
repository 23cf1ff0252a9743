"""Where a request's processor time goes: `python -m benchmarks.profile`, by py-spy, which samples the server's threads.

Needs `wrk`, and `py-spy` on the PATH (`pip install py-spy`). With `--checkout FOLDER` it profiles the server of another
checkout, which must have its own `.venv`. A sample counts for the part that the innermost known frame belongs to.
"""

import argparse
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import cpus, load
from benchmarks.failure import Failure
from benchmarks.filling import fill
from benchmarks.kinds import OURS, Kind
from benchmarks.servers import Server, running
from benchmarks.work import WORKS, Work

PARTS = {
    "HTTP: uvicorn, Starlette": ("/uvicorn/", "/starlette/", "/asyncio/"),
    "log and metrics": ("/structlog/", "/prometheus_client/", "/edge/logs.py", "/edge/metrics.py"),
    "HTTP: `edge/`, `rest/`": ("/edge/", "/rest/"),
    "GraphQL: graphql-core, strawberry": ("/graphql/", "/strawberry/"),
    "GraphQL: `schema/`": ("/schema/", "<string>"),
    "`resolvers/`, `mail/`": ("/resolvers/", "/mail/"),
    "SQLAlchemy, SQLModel, aiosqlite, with the commit": ("/sqlalchemy/", "/sqlmodel/", "/aiosqlite/"),
    "`models/`, with SQLite, pydantic and encryption": ("/models/", "/pydantic/", "/cryptography/"),
}
OTHER = "anything else"
WAITING = ("_batch (", "SqliteWriter._batch (", "_connection_worker_thread (", "_worker (")
"""Where threads wait for work, which py-spy takes for work."""
INBOXES = 1_000
RATE = "500"
WARM_UP_SECONDS = 2


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile")
    parser.add_argument("--work", default="create,read,list", help="what is asked (%(default)s)")
    parser.add_argument("--seconds", type=int, default=10, help="seconds for each (%(default)s)")
    parser.add_argument("--connections", type=int, default=64, help="how many (%(default)s)")
    parser.add_argument("--checkout", type=Path, help="profile the server of this checkout")
    options = parser.parse_args(arguments)
    if not shutil.which("py-spy"):
        raise Failure("py-spy is not installed: pip install py-spy.")
    cpus.take_generators()
    with TemporaryDirectory(prefix="email-inbox-profile-") as name:
        folder = Path(name) / "data"
        kind = _kind(options.checkout)
        fill(kind, folder, INBOXES)
        with running(kind, folder) as server:
            profiles = {
                each: _profile(server, WORKS[each], options.connections, options.seconds)
                for each in options.work.split(",")
            }
    print(_table(profiles))


def _kind(checkout: Path | None) -> Kind:
    if checkout is None:
        return OURS
    return Kind("ours", "ours", checkout.resolve() / "server.py", str(checkout.resolve() / ".venv/bin/python"))


def _profile(server: Server, work: Work, connections: int, seconds: int) -> dict[str, float]:
    """Microseconds of processor time for a request, by part."""
    load.run(server, work, connections, WARM_UP_SECONDS, INBOXES)
    used = load.run(server, work, connections, seconds, INBOXES).cpu_us  # not slowed by the sampling
    with TemporaryDirectory() as name:
        found = Path(name) / "samples"
        command = ["py-spy", "record", "--pid", str(server.pid), "--format", "raw", "--output", str(found)]
        command += ["--rate", RATE, "--duration", str(seconds)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as sampling:
            load.run(server, work, connections, seconds + 1, INBOXES)
        if sampling.returncode:
            raise Failure("py-spy failed: it may need root, or the right to trace processes.")
        samples = _samples(found.read_text())
    total = sum(samples.values())
    return {part: samples[part] / total * used for part in (*PARTS, OTHER)}


def _samples(raw: str) -> Counter[str]:
    """How many samples fell on each part. A line is the frames, outermost first, and their number."""
    samples: Counter[str] = Counter()
    for line in raw.splitlines():
        stack, _, number = line.rpartition(" ")
        frames = stack.split(";")
        if not frames[-1].startswith(WAITING):
            samples[_part(frames)] += int(number)
    return samples


def _part(stack: Sequence[str]) -> str:
    for frame in reversed(stack):
        place = "/" + frame.rpartition("(")[2]
        for part, paths in PARTS.items():
            if any(path in place for path in paths):
                return part
    return OTHER


def _table(profiles: dict[str, dict[str, float]]) -> str:
    rows = [(part, [profile[part] for profile in profiles.values()]) for part in (*PARTS, OTHER)]
    rows.append(("together", [sum(profile.values()) for profile in profiles.values()]))
    lines = [f"| {part} | {' | '.join(f'{figure:,.0f}' for figure in figures)} |" for part, figures in rows]
    head = [f"| CPU µs a request | {' | '.join(profiles)} |", f"| --- |{' ---: |' * len(profiles)}"]
    return "\n".join([*head, *lines])


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except Failure as failure:
        sys.exit(str(failure))
