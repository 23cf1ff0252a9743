"""Which core the server has and which one the generator, so that neither slows the other. Without two cores: none."""

import os
from pathlib import Path


def _both() -> tuple[int, int] | None:
    found = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return (found[0], found[1]) if len(found) > 1 else None


_CORES = _both()


def take_generators() -> None:
    """Puts this process, and what it starts, on the generator's core."""
    if _CORES:
        os.sched_setaffinity(0, {_CORES[1]})


def give_servers(pid: int) -> None:
    """Puts a process on the server's core; right after its start, before it has threads."""
    if _CORES:
        os.sched_setaffinity(pid, {_CORES[0]})


def described() -> str:
    """The model of the processor, and how it was shared out."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    pinned = f"server on core {_CORES[0]}, generator on core {_CORES[1]}" if _CORES else "nothing pinned"
    return f"{model}, {os.cpu_count()} cores, {pinned}"


def seconds_used(pid: int) -> float:
    """The processor time of a process so far, its threads included, in user and in system mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
