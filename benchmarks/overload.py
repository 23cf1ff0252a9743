"""What is left of the server's work when ten times as many clients ask as it can answer. Knows no peer.

    python -m benchmarks.overload [--seconds 10] [--work create]

Each client sends its next request as soon as the last one is answered, with 503 as well. First as many as keep the
server busy, then ten times as many.
"""

import argparse
import asyncio
import itertools
import secrets
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from benchmarks import cpus, kinds, servers
from benchmarks.work import FIRST, ID_OF_FIRST, WORKS, Work

ENOUGH = 64
TIMES = 10


@dataclass
class Found:
    """What a load came to. Latencies are in seconds."""

    served: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    other: int = 0
    seconds: float = 0.0

    def note(self, status: int, took: float) -> None:
        if status == 200:
            self.served.append(took)
        elif status == 503:
            self.refused.append(took)
        else:
            self.other += 1


async def load(server: servers.Server, work: Work, clients: int, seconds: float) -> Found:
    """So many clients ask for so long."""
    found, numbers, nonce = Found(), itertools.count(), secrets.token_hex(4)
    started = time.perf_counter()

    def request() -> bytes:
        body = work.text(ID=ID_OF_FIRST, NEW=f"{nonce}-{next(numbers):08d}").encode()
        headers = {"Host": "x", "Content-Length": str(len(body)), **servers.HEADERS}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"POST {work.path} HTTP/1.1\r\n{lines}\r\n".encode() + body

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        while time.perf_counter() - started < seconds:
            sent = time.perf_counter()
            writer.write(request())
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
            await reader.readexactly(int(length.partition(b":")[2]))
            found.note(int(head[9:12]), time.perf_counter() - sent)
        writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    found.seconds = time.perf_counter() - started
    return found


def told(title: str, found: Found, mebibytes: float) -> str:
    refused = f"{_ms(found.refused, 0.5)} / {_ms(found.refused, 0.99)} / {_ms(found.refused, 1)}"
    served = f"{_ms(found.served, 0.5)} / {_ms(found.served, 0.99)}"
    rate = len(found.served) / found.seconds
    return (
        f"| {title} | {rate:.0f} | {served} | {len(found.refused) / found.seconds:.0f} | {refused} "
        f"| {found.other} | {mebibytes:.0f} |"
    )


def _ms(latencies: list[float], part: float) -> str:
    """A quantile in milliseconds."""
    if not latencies:
        return "-"
    ordered = sorted(latencies)
    return f"{ordered[min(int(part * len(ordered)), len(ordered) - 1)] * 1e3:.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--work", choices=WORKS, default="create")
    options = parser.parse_args()
    work = WORKS[options.work]
    cpus.take_generators()
    with tempfile.TemporaryDirectory() as folder, servers.running(kinds.OURS, Path(folder)) as server:
        server.post(FIRST)
        ratios = []
        print("| clients | served/s | p50 / p99 ms | refused/s | p50 / p99 / max ms | other | RSS MiB |")
        print("|---|---|---|---|---|---|---|")
        uvloop.run(load(server, work, ENOUGH, 2))
        for _ in range(3):
            calm = uvloop.run(load(server, work, ENOUGH, options.seconds))
            print(told(str(ENOUGH), calm, server.resident_mebibytes()), flush=True)
            flooded = uvloop.run(load(server, work, ENOUGH * TIMES, options.seconds))
            print(told(str(ENOUGH * TIMES), flooded, server.resident_mebibytes()), flush=True)
            ratios.append(len(flooded.served) / flooded.seconds / (len(calm.served) / calm.seconds))
    print(f"goodput kept: {statistics.median(ratios):.2f} (of {', '.join(f'{ratio:.2f}' for ratio in ratios)})")


if __name__ == "__main__":
    main()
