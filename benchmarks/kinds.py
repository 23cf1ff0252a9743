"""Which servers are measured, and what a machine needs to have to run them. Starts none."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

NODE = "node"
OLDEST_NODE = (20, 12)
PEERS_FOLDER = Path(__file__).resolve().parent / "peers"


@dataclass(frozen=True, slots=True)
class Kind:
    """A server program. All of them take the settings of the product that say where, and who the administrator is."""

    name: str
    title: str
    script: Path
    program: str = sys.executable
    knows_postgresql: bool = False


OURS = Kind("ours", "ours", PEERS_FOLDER.parent.parent / "server.py")


def checkout(folder: Path) -> Kind:
    """Ours as it is in another checkout: the commit before, say. It runs on that checkout's `.venv`, or on this one."""
    own = folder.resolve() / ".venv" / "bin" / "python"
    return Kind("before", "before", folder.resolve() / "server.py", str(own) if own.exists() else sys.executable, True)


CONSTANT = Kind("constant", "Starlette, constant answer", PEERS_FOLDER / "constant.py")
_PEERS = (
    Kind("mercurius", "mercurius + graphql-jit", PEERS_FOLDER / "mercurius.js", NODE),
    Kind("yoga", "graphql-yoga", PEERS_FOLDER / "yoga.js", NODE),
    Kind("apollo", "Apollo Server", PEERS_FOLDER / "apollo.js", NODE),
    Kind("plain", "strawberry + SQLModel", PEERS_FOLDER / "plain.py", knows_postgresql=True),
)
PEERS = {kind.name: kind for kind in _PEERS}


def missing(kind: Kind) -> str | None:
    """What this machine lacks to run it; None: nothing."""
    if kind.program != NODE:
        return None
    if shutil.which(NODE) is None:
        return "Node is not installed"
    version = node_version()
    if tuple(map(int, version.split(".")[:2])) < OLDEST_NODE:
        return f"Node {version} is older than {'.'.join(map(str, OLDEST_NODE))}"
    if not (PEERS_FOLDER / "node_modules" / ".package-lock.json").exists():
        return "its packages are not installed (npm ci in benchmarks/peers)"
    return None


def node_version() -> str:
    """Such as 20.19.1."""
    said = subprocess.run([NODE, "--version"], check=True, capture_output=True, text=True).stdout
    return said.strip().removeprefix("v")
