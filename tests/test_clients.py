"""What others have written works with the server: the audits of graphql-http, and the clients of docs/clients.md.

The clients are in clients/. Those of Node run as programs of their own, and check themselves what they are answered.
"""

import asyncio
import inspect
import itertools
import json
import os
import re
import shutil
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import ExitStack, aclosing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from gql.transport.exceptions import TransportQueryError

from clients import python_gql
from settings import Settings
from tests.conftest import IN_CI
from tests.inboxes import inbox_values
from tests.pages import DOCS, ROOT, blocks
from tests.process import Process, environment_of, serving, start, wait_until_ready
from tests.stored import fill
from tests.users import CREATE_USER, PASSWORD

CLIENTS = ROOT / "clients"
AUDITS = 61
SECONDS = 40.0
USERNAME = "anna"
NODE = shutil.which("node") or "node"
AWAY = ("box-0000", "box-0001", "box-0002")
"""The inboxes that are stored while the server is away."""

Changes = AsyncGenerator[dict[str, Any], None]

with_node = pytest.mark.skipif(
    not IN_CI and not (shutil.which("node") and (CLIENTS / "build").exists()),
    reason="Node is not installed, or the clients are not built (npm run build in clients/)",
)
on_sqlite = pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
"""No client sees which database there is; one of each protocol is run on both."""
with_curl = pytest.mark.skipif(not IN_CI and not shutil.which("curl"), reason="curl is not installed")


@dataclass
class World:
    """A server that can be restarted where it is, and a user with a password."""

    process: Process
    settings: Settings
    folder: Path
    stack: ExitStack
    started: list[Process] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{self.process.address}/graphql"

    async def restart(self) -> None:
        """Stops the server, stores inboxes while it is away, and starts it again."""
        await asyncio.to_thread((self.started or [self.process])[-1].stop)
        await fill(self.settings, len(AWAY))
        environment = environment_of(self.settings, EMAIL_INBOX_PORT=self.process.address.rpartition(":")[2])
        again = start([], environment, self.folder)
        again.client = self.process.client
        self.stack.callback(again.kill)
        self.started.append(again)
        await asyncio.to_thread(wait_until_ready, again)


@pytest.fixture
def world(settings: Settings, tmp_path: Path) -> Iterator[World]:
    with ExitStack() as stack:
        process = stack.enter_context(serving(environment_of(settings), tmp_path))
        values = {"username": USERNAME, "password": PASSWORD, "permissions": ["MANAGE_EMAIL_INBOX"]}
        payload = process.graphql(CREATE_USER, input=values)["data"]["createUser"]
        assert payload["success"], payload
        yield World(process, settings, tmp_path, stack)


async def run(world: World, script: str, *arguments: str) -> str:
    """Runs a script of Node to its end. It may ask for a restart of the server. What it printed otherwise."""
    command = [str(CLIENTS / "build" / "tests" / f"{script}.js"), *arguments]
    node = await asyncio.create_subprocess_exec(
        NODE, *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert node.stdout
    assert node.stderr
    printed = []
    try:
        async with asyncio.timeout(SECONDS):
            async for line in node.stdout:
                if line == b"restart\n":
                    await world.restart()
                else:
                    printed.append(line.decode())
            complaints = (await node.stderr.read()).decode()
            assert await node.wait() == 0, complaints + "".join(printed)
    finally:
        if node.returncode is None:
            node.kill()
            await node.wait()
    return "".join(printed)


# ------------------------------------------------------------------------------------------------------------- Node


@with_node
@on_sqlite
@pytest.mark.parametrize("authenticated", [True, False], ids=["with credentials", "without"])
async def test_every_audit_of_graphql_http_passes(world: World, authenticated: bool) -> None:
    token = await python_gql.log_in(world.url, USERNAME, PASSWORD) if authenticated else ""
    assert await run(world, "audits", world.url, token) == f"{AUDITS} audits\n"


@with_node
@pytest.mark.parametrize(
    ("client", "settings"),
    [
        *itertools.product(["apollo", "graphql-sse", "graphql-ws", "inbox-client", "urql", "urql-ws"], ["sqlite"]),
        *itertools.product(["graphql-sse", "graphql-ws"], ["postgresql"]),
    ],
    indirect=["settings"],
)
async def test_a_client_of_node_does_it_all(world: World, client: str) -> None:
    assert await run(world, "journey", client, world.url, USERNAME, PASSWORD) == ""
    assert len(world.started) == 1


@with_node
@on_sqlite
async def test_apollos_cache_follows_and_its_persisted_queries_fall_back(world: World) -> None:
    assert await run(world, "apollo-cache", world.url, USERNAME, PASSWORD) == ""


@with_node
@on_sqlite
async def test_the_live_list_stays_as_the_server_has_it(world: World) -> None:
    assert await run(world, "live-list", world.url, USERNAME, PASSWORD) == ""
    assert len(world.started) == 1


# ------------------------------------------------------------------------------------------------------- Python, curl


@on_sqlite
async def test_pythons_gql_does_it_all(world: World) -> None:
    with pytest.raises(PermissionError):
        await python_gql.log_in(world.url, USERNAME, "not this one")
    token = await python_gql.log_in(world.url, USERNAME, PASSWORD)
    with pytest.raises(ValueError, match=r"\{'input\.smtp\.port': 'smtp\.port must be at least 1\.'\}"):
        await python_gql.set_inbox(world.url, token, inbox_values(smtp__port=0))
    names = [f"inbox-{number}" for number in range(5)]
    for name in names:
        await set_named(world, token, name)
    assert [inbox["id"] async for inbox in python_gql.inboxes(world.url, token, 2)] == names
    async with aclosing(python_gql.changes(world.url, token)) as changes, asyncio.timeout(SECONDS):
        await begun(changes, lambda name: set_named(world, token, name))
        await world.restart()
        seen = [await anext(changes) for _ in AWAY]
        await set_named(world, token, "inbox-2")
        seen.append(await anext(changes))
    away = [(name, "CREATED") for name in AWAY]
    assert [(change["id"], change["kind"]) for change in seen] == [*away, ("inbox-2", "UPDATED")]


@on_sqlite
async def test_pythons_gql_is_refused_with_bad_credentials(world: World) -> None:
    with pytest.raises(TransportQueryError, match="UNAUTHENTICATED"):
        await anext(python_gql.inboxes(world.url, "no such token"))
    with pytest.raises(PermissionError):
        await anext(python_gql.changes(world.url, "no such token"))


async def set_named(world: World, token: str, name: str) -> None:
    await python_gql.set_inbox(world.url, token, inbox_values(id=name, name=name, email=f"{name}@example.org"))


async def begun(changes: Changes, set_named: Callable[[str], Awaitable[object]]) -> dict[str, Any]:
    """The newest change, with none left to be read.

    A client is not told when it follows: `inbox-1` is changed until a change is seen, and then `inbox-0`.
    """
    following = asyncio.ensure_future(anext(changes))
    while not following.done():
        await set_named("inbox-1")
    seen = await following
    assert (seen["id"], seen["kind"]) == ("inbox-1", "UPDATED")
    await set_named("inbox-0")
    while seen["id"] == "inbox-1":
        seen = await anext(changes)
    return seen


@with_curl
@on_sqlite
async def test_curl_does_it_all(world: World) -> None:
    shell = Shell(world.url)
    assert (await shell.json("log_in", USERNAME, "not this one"))["data"]["login"]["token"] is None
    shell.token = (await shell.json("log_in", USERNAME, PASSWORD))["data"]["login"]["token"]
    payload = (await shell.json("set_inbox", json.dumps(inbox_values(smtp__port=0))))["data"]["setEmailInbox"]
    assert payload["userErrors"] == [{"code": "INVALID", "field": ["input", "smtp", "port"]}]
    for name in ("inbox-0", "inbox-1", "inbox-2"):
        assert await shell.set_named(name)
    first = (await shell.json("page"))["data"]["emailInboxes"]
    second = (await shell.json("page", json.dumps(first["pageInfo"]["endCursor"])))["data"]["emailInboxes"]
    assert [node["id"] for node in first["nodes"] + second["nodes"]] == ["inbox-0", "inbox-1", "inbox-2"]
    assert not second["pageInfo"]["hasNextPage"]
    async with aclosing(shell.follow()) as events, asyncio.timeout(SECONDS):
        live = await begun(events, shell.set_named)
    await world.restart()
    async with aclosing(shell.follow(json.dumps(live["cursor"]))) as events, asyncio.timeout(SECONDS):
        seen = [(await anext(events))["id"] for _ in AWAY]
        await shell.set_named("inbox-2")
        seen.append((await anext(events))["id"])
    assert seen == [*AWAY, "inbox-2"]


@with_curl
@on_sqlite
async def test_curl_is_refused_with_bad_credentials(world: World) -> None:
    shell = Shell(world.url, "no such token")
    [error] = (await shell.json("follow", fails_with=22))["errors"]
    assert error["extensions"]["code"] == "UNAUTHENTICATED"


@dataclass
class Shell:
    """A shell that has the functions of clients/curl.sh."""

    url: str
    token: str = ""

    async def json(self, *words: str, fails_with: int = 0) -> Any:
        """What a function prints."""
        shell = await self._start(*words)
        async with asyncio.timeout(SECONDS):
            printed, complaints = await shell.communicate()
        assert shell.returncode == fails_with, complaints
        return json.loads(printed)

    async def set_named(self, name: str) -> bool:
        values = json.dumps(inbox_values(id=name, name=name, email=f"{name}@example.org"))
        success: bool = (await self.json("set_inbox", values))["data"]["setEmailInbox"]["success"]
        return success

    async def follow(self, *cursor: str) -> Changes:
        """The changes."""
        shell = await self._start("follow", *cursor)
        assert shell.stdout
        try:
            async for line in shell.stdout:
                if line.startswith(b"data: "):
                    yield json.loads(line.removeprefix(b"data: "))["data"]["emailInboxChanged"]
        finally:
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
            await shell.communicate()

    async def _start(self, *words: str) -> asyncio.subprocess.Process:
        script = f'. "{CLIENTS / "curl.sh"}"; INBOX_URL="{self.url}"; TOKEN="{self.token}"; "$@"'
        return await asyncio.create_subprocess_exec(
            *("/bin/sh", "-c", script, "sh", *words),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )


# ---------------------------------------------------------------------------------------------------------- the page


def test_the_page_shows_the_code_that_is_tested() -> None:
    """Each block is in the file that was named last before it; where lines are left out, a blank one stands."""
    path = ""
    for block in blocks(DOCS / "clients.md"):
        path = next(iter(re.findall(r"\]\(\.\./(clients/[^)]+)\)", block.label)), path)
        code, position = unindented((ROOT / path).read_text("utf-8")), 0
        for part in re.split(r"\n{2,}|\n(?=[A-Z_]+ = )", unindented(block.text)):
            position = code.find(part, position)
            assert position >= 0, f"{path} has not, in this order:\n{part}"
    assert path


def test_the_python_of_the_page_runs_as_pasted() -> None:
    pasted = "\n\n".join(block.text for block in blocks(DOCS / "clients.md") if block.language == "python")
    names: dict[str, Any] = {}
    exec(compile(pasted, "pasted.py", "exec"), names)
    functions = [found for found in names.values() if getattr(found, "__globals__", None) is names]
    assert len(functions) > 5
    for function in functions:
        used = inspect.unwrap(function).__code__.co_names
        assert not {name for name in used if name in vars(python_gql) and name not in names}


@pytest.mark.parametrize("client", ["apollo", "urql", "graphql-ws", "graphql-sse"])
def test_the_first_block_of_a_client_imports_what_it_uses(client: str) -> None:
    """Only packages, so that it runs in any folder, and nothing that it has no use for."""
    label = f"[clients/src/{client}.ts]"
    text = next(block.text for block in blocks(DOCS / "clients.md") if block.label.startswith(label))
    imports = re.findall(r"^import \{ (.+) \} from '(.+)';$", text, re.MULTILINE)
    rest = re.sub(r" // .*", "", text[text.index("export ") :])
    assert imports
    for names, package in imports:
        assert not package.startswith(".")
        assert all(re.search(rf"\b{name.split()[-1]}\b", rest) for name in names.split(", "))
    given = {name.split()[-1] for names, _ in imports for name in names.split(", ")}
    made = set(re.findall(r"\bnew (\w+)\(|(?<![\w.])(\w+)\(", rest))
    assert {first or second for first, second in made} <= {*given, "open"}


def unindented(code: str) -> str:
    return "\n".join(line.strip() for line in code.splitlines())
