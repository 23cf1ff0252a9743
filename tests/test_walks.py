"""The walks in HACKING.md, held against the calls of real requests. Every function that a walk names is called, and
the steps of a walk come in the order in which the code takes them.
"""

import ast
import inspect
import re
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import FrameType
from typing import Any

import httpx

from settings import Settings
from tests.api import SET
from tests.inboxes import consent, inbox_values
from tests.mail.certificates import Certificates
from tests.mail.dialogues import IMAP, SMTP, dialogue
from tests.mail.inboxes import may_connect
from tests.mail.scripted import say, scripted
from tests.pages import ROOT
from tests.running import ADMIN_HEADERS
from tests.sockets import connected, listening

CHECK = """
    mutation ($input: CheckEmailInboxInput!) {
        checkEmailInbox(input: $input) { success smtp { success } imap { success } userErrors { code } }
    }
"""
CHANGES = "subscription { emailInboxChanged { kind cursor } }"


class Calls:
    """The functions of this project that were called, by file, in the order of their first calls."""

    def __init__(self) -> None:
        self.order: dict[tuple[str, str], int] = {}

    def __call__(self, frame: FrameType, event: str, _argument: Any) -> None:
        code = frame.f_code
        # Bodies of modules and classes run too, when they are imported: they are no functions.
        is_function = code.co_flags & inspect.CO_OPTIMIZED
        if event == "call" and is_function and code.co_filename.startswith(f"{ROOT}/"):
            self.order.setdefault((code.co_filename.removeprefix(f"{ROOT}/"), code.co_qualname), len(self.order))

    def first(self, path: str, name: str) -> int | None:
        """When a function, or any of a class, was called first."""
        found = [
            place
            for (file, function), place in list(self.order.items())  # other threads go on
            if file == path and (name == function or function.startswith(f"{name}.") or function.endswith(f".{name}"))
        ]
        return min(found, default=None)


@contextmanager
def followed() -> Iterator[Calls]:
    calls = Calls()
    sys.setprofile(calls)
    threading.setprofile(calls)
    try:
        yield calls
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def steps(heading: str) -> list[list[tuple[str, str]]]:
    """The functions and classes that each numbered step of a walk names; without numbers, all are one step."""
    text = (ROOT / "HACKING.md").read_text("utf-8")
    walk = text[text.index(f"### {heading}\n") :].partition("\n## ")[0][4:].partition("\n### ")[0]
    parts = re.split(r"^\d+\. ", walk, flags=re.MULTILINE)
    named = [re.findall(r"`([\w/]+\.py):([\w.]+)`", part) for part in (parts[1:] or parts)]
    return [[(path, name) for path, name in step if is_called(path, name)] for step in named]


def is_called(path: str, name: str) -> bool:
    """Whether it is a function, or a class with functions: protocols, constants and records are not called."""
    first, _, method = name.partition(".")
    for node in ast.walk(ast.parse((ROOT / path).read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == (method or first):
            return True
        if isinstance(node, ast.ClassDef) and node.name == first and not method:
            is_protocol = any(isinstance(base, ast.Name) and base.id == "Protocol" for base in node.bases)
            has_functions = any(isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef) for inner in node.body)
            return has_functions and not is_protocol
    return False


def hold(heading: str, calls: Calls, settings: Settings) -> None:
    other = "models/database/sqlite.py" if settings.database_url else "models/database/postgresql.py"
    places = []
    for step in steps(heading):
        found = {f"{path}:{name}": calls.first(path, name) for path, name in step if path != other}
        assert None not in found.values(), [name for name, place in found.items() if place is None]
        # Classes may be used before: a thread of the writer waits from the start. Functions say where a step begins.
        functions = [place for name, place in found.items() if name.rpartition(":")[2].rpartition(".")[2][0].islower()]
        places += [min(place for place in functions or found.values() if place is not None)] if found else []
    assert places, heading
    assert places == sorted(places), heading


@asynccontextmanager
async def following(settings: Settings) -> AsyncIterator[tuple[Calls, httpx.AsyncClient, str]]:
    """A server on a real socket whose calls are noted, once it has started."""
    with followed() as calls:
        async with listening(settings) as (_, url):
            calls.order.clear()
            address = url.replace("ws://", "http://").removesuffix("/graphql")
            async with httpx.AsyncClient(base_url=address, headers=ADMIN_HEADERS, timeout=30) as client:
                yield calls, client, url


async def graphql(client: httpx.AsyncClient, query: str, **variables: Any) -> Any:
    answer = await client.post("/graphql", json={"query": query, "variables": variables})
    return answer.json()


async def test_a_mutation(settings: Settings) -> None:
    async with following(settings) as (calls, client, _):
        for _ in range(2):
            answer = await graphql(client, SET, input=inbox_values(id="walked"))
            assert answer["data"]["setEmailInbox"]["success"], answer
        refused = await graphql(client, SET, input=inbox_values(email="none"))
        assert refused["data"]["setEmailInbox"]["userErrors"]
        assert (await graphql(client, "{ nothing }"))["errors"]
        hold("GraphQL: `setEmailInbox`", calls, settings)


async def test_a_call_of_rest(settings: Settings) -> None:
    async with following(settings) as (calls, client, _):
        assert (await client.post("/api/v1/email-inbox", json=inbox_values())).status_code == 200
        assert (await client.post("/api/v1/email-inbox", json=inbox_values(email="none"))).status_code == 400
        hold("REST: `POST /api/v1/email-inbox`", calls, settings)


async def test_a_subscription(settings: Settings) -> None:
    async with following(settings) as (calls, client, url):
        async with connected(url) as subscriber:
            await subscriber.start(CHANGES)
            await graphql(client, SET, input=inbox_values())
            assert (await subscriber.receive())["type"] == "next"
        accept = {"Accept": "text/event-stream"}
        async with client.stream("POST", "/graphql", json={"query": CHANGES}, headers=accept) as events:
            await graphql(client, SET, input=inbox_values(id="other", email="other@example.org"))
            assert await anext(events.aiter_lines())
        hold("A subscription", calls, settings)


async def test_a_check(settings: Settings, certificates: Certificates) -> None:
    context = certificates.server_context()
    refusing = dialogue(SMTP, AUTH=say("535 5.7.8 no")), dialogue(IMAP, AUTHENTICATE=say("{tag} NO no"))
    with scripted(context, *refusing[0]) as smtp, scripted(context, *refusing[1]) as imap:
        account = {"server": "localhost", "username": "a", "password": "b", "secure": False}
        by_consent = {"server": "localhost", "username": "a", "secure": True, "oauth2": consent(), "port": smtp.port}
        servers = {"smtp": {**account, "port": smtp.port}, "imap": {**account, "port": imap.port}}
        async with following(may_connect(settings, certificates, smtp.port, imap.port)) as (calls, client, _):
            await graphql(client, CHECK, input={"email": "a@example.org", **servers})
            found = await graphql(client, CHECK, input={"email": "a@example.org", "smtp": by_consent})
            assert found["data"]["checkEmailInbox"]["smtp"], found
            hold("A check: `checkEmailInbox`", calls, settings)
