"""A password is never readable again: random canaries, looked for in every file, log, answer, event and backup."""

import base64
import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from server import Settings
from tests.api import SET
from tests.inboxes import inbox_values
from tests.process import Process, environment_of, run, serving
from tests.running import ADMIN_HEADERS

JSON = {"Content-Type": "application/json"}
NAMES = ("smtp", "imap", "user", "wrong", "literal", "login", "token", "replaced")
CHANGES = "subscription { emailInboxChanged { kind emailInbox { name smtp { username hasPassword } } } }"
CREATE_USER = "mutation ($input: CreateUserInput!) { createUser(input: $input) { success userErrors { message } } }"


class Canary:
    """A secret, and the forms in which it could hide."""

    def __init__(self, name: str) -> None:
        self.text = f"{name}/{secrets.token_hex(8)}+é"

    def forms(self) -> Iterator[bytes]:
        raw = self.text.encode()
        yield raw
        yield self.text.encode("utf-16-le")
        yield raw.hex().encode()
        yield quote(self.text, safe="").encode()
        yield json.dumps(self.text).strip('"').encode()
        for shift in range(3):
            encoded = base64.b64encode(b"\0" * shift + raw)
            yield encoded[4 if shift else 0 : -4]

    def found_in(self, hay: bytes) -> bool:
        return any(form in hay for form in self.forms())


def test_the_search_finds_what_hides() -> None:
    canary = Canary("x")
    raw = canary.text.encode()
    for hay in (raw, canary.text.encode("utf-16-le"), raw.hex().encode(), quote(canary.text, safe="").encode()):
        assert canary.found_in(b"..." + hay + b"...")
    for before in (b"", b"a", b"ab", b"abc"):
        assert canary.found_in(base64.b64encode(before + raw + b"after"))
    assert not canary.found_in(base64.b64encode(b"something else entirely, and long enough"))


@pytest.fixture
def canaries() -> dict[str, Canary]:
    return {name: Canary(name) for name in NAMES}


def test_no_secret_is_found_anywhere(settings: Settings, tmp_path: Path, canaries: dict[str, Canary]) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    environment = environment_of(settings, EMAIL_INBOX_LOG_LEVEL="debug")
    with serving(environment, folder) as process:
        hay = {f"answer {number}": text for number, text in enumerate(use_everything(process, canaries))}
        status, _, complaint = run(["backup", str(tmp_path / "backup")], environment, folder)
        assert status == 0, complaint
        hay |= files_in(tmp_path)
        process.stop()
    hay |= {f"{name} after the stop": content for name, content in files_in(tmp_path).items()}
    hits = [(name, place) for name, canary in canaries.items() for place, text in hay.items() if canary.found_in(text)]
    assert hits == []


def files_in(folder: Path) -> dict[str, bytes]:
    """Databases, write-ahead logs, keys, the backup, and what the processes printed."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert any(name.endswith(".err") for name in found)
    assert any("backup" in name for name in found)
    return found


def use_everything(process: Process, canaries: dict[str, Canary]) -> Iterator[bytes]:
    """Sends every canary in every way that a client can, and gives every answer and event."""
    address = process.address.replace("http://", "ws://") + "/graphql"
    with connect(address, subprotocols=[Subprotocol("graphql-transport-ws")]) as socket:
        socket.send(json.dumps({"type": "connection_init", "payload": ADMIN_HEADERS}))
        yield received(socket.recv())
        socket.send(json.dumps({"type": "subscribe", "id": "1", "payload": {"query": CHANGES}}))
        socket.send(json.dumps({"type": "ping"}))
        yield received(socket.recv())
        yield from requests(process, {name: canary.text for name, canary in canaries.items()})
        for _ in range(3):
            yield received(socket.recv(timeout=10))
        yield from refused_over(socket, canaries["wrong"].text)


def received(message: str | bytes) -> bytes:
    return message.encode() if isinstance(message, str) else message


def refused_over(socket: Any, canary: str) -> Iterator[bytes]:
    for number, query in enumerate((f'{{ viewer(x: "{canary}") }}', f'{{ "{canary}"')):
        socket.send(json.dumps({"type": "subscribe", "id": f"wrong {number}", "payload": {"query": query}}))
        yield received(socket.recv(timeout=10))


def requests(process: Process, canary: dict[str, str]) -> Iterator[bytes]:
    def post(path: str, body: Any, **headers: str) -> bytes:
        return process.client.post(path, content=json.dumps(body), headers={**JSON, **headers}).content

    def graphql(query: str, **variables: Any) -> bytes:
        return post("/graphql", {"query": query, "variables": variables})

    stored = {"smtp__password": canary["smtp"], "imap__password": canary["imap"]}
    yield graphql(SET, input=inbox_values(id="a", **stored))
    yield post("/api/v1/email-inbox", {**inbox_values(**stored, email="b@example.org"), "_id": "b"})
    yield graphql(SET, input=inbox_values(id="a", smtp__password=canary["replaced"]))
    user = {"username": "ada", "permissions": [], "password": canary["user"]}
    yield graphql(CREATE_USER, input=user)
    login = 'mutation ($p: String!) { login(username: "ada", password: $p) { success userErrors { message } } }'
    yield graphql(login, p=canary["user"])
    yield graphql(login, p=canary["login"])
    yield post("/api/v1/login", {"user": "ada", "password": canary["login"]})
    yield post("/api/v1/login", {"user": "ada", "password": [canary["login"]]})
    for path in ("smtp__password", "smtp__port", "smtp__secure", "smtp__unknown", "active", "imap"):
        for value in ([canary["wrong"]], {"x": canary["wrong"]}, canary["wrong"] + "\n"):
            values = inbox_values(**{path: value})
            yield graphql(SET, input=values)
            yield post("/api/v1/email-inbox", values)
    for literal in (f'"{canary["literal"]}"', f'["{canary["literal"]}"]', f'{{ x: "{canary["literal"]}" }}'):
        yield graphql(f"mutation {{ setEmailInbox(input: {{ smtp: {{ password: {literal}, port: {literal} }} }}) }}")
        yield graphql(f"mutation {{ login(username: {literal} {literal})")
    bad = {"X-Auth-Token": canary["token"].encode("ascii", "ignore").decode(), "X-User-Id": "x"}
    yield post("/graphql", {"query": "{ viewer { id } }"}, **bad)
    yield process.client.get("/api/v1/me", headers=bad).content
    yield process.client.get("/api/v1/email-inbox.list").content
    yield process.client.get("/api/v1/email-inbox/a").content
