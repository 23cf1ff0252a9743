"""A password is never readable again: random canaries, looked for in every file, log, answer, event and backup."""

import base64
import json
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import pytest
from sqlalchemy import text
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from models.config import ImapConfig, InboxConfig
from models.database import open_database
from models.oauth2 import OAuth2Config
from models.validation import names_of
from settings import Settings
from tests import postgresql
from tests.api import JSON_TYPE, SET
from tests.inboxes import consent, consenting_values, inbox_values
from tests.process import BEGINNING, ROOT, Process, environment_of, run, serving
from tests.running import ADMIN_HEADERS

NAMES = (
    "smtp",
    "imap",
    "replaced",
    "user",
    "typed",
    "guessed",
    "misplaced",
    "literal",
    "header",
    "imported",
    "unlucky",
    "consent",
    "application",
)
CREATE_USER = "mutation ($input: CreateUserInput!) { createUser(input: $input) { success userErrors { message } } }"
LOGIN = "mutation ($user: String!, $password: String!) { login(username: $user, password: $password) { token } }"
CREATE_TOKEN = 'mutation { createAccessToken(input: { name: "canary" }) { token accessToken { id } } }'
UPDATE = (
    "mutation ($input: UpdateEmailInboxInput!) { updateEmailInbox(input: $input) { success userErrors { message } } }"
)
CHANGES = f"""subscription {{
    emailInboxChanged(after: "{BEGINNING}") {{
        kind emailInbox {{ description smtp {{ username hasPassword oauth2 {{ clientId scope }} }} }}
    }}
}}"""
# What is no text, no number and no switch: each is refused wherever it stands.
FIELDS = (*names_of(InboxConfig).values(), "other")
SERVER_FIELDS = (*names_of(ImapConfig).values(), "other")
SECRETS = ("password", "refreshToken", "clientSecret")
CONSENT_FIELDS = (*names_of(OAuth2Config).values(), "other")


class Canary:
    """A secret, and the forms in which it could hide. Its core is plain, so that no escaping can hide it."""

    def __init__(self, given: str | None = None) -> None:
        self.core = given or f"kanarie{secrets.token_hex(8)}"
        self.text = given or f'{self.core}/+ "é'

    def forms(self) -> Iterator[bytes]:
        raw = self.core.encode()
        yield raw
        yield self.core.encode("utf-16-le")
        yield raw.hex().encode()
        yield quote(self.text, safe="").encode()
        for shift in range(3):
            encoded = base64.b64encode(b"\0" * shift + raw)[4 if shift else 0 : -4]
            yield encoded
            yield encoded.replace(b"+", b"-").replace(b"/", b"_")

    def found_in(self, hay: bytes) -> bool:
        return any(form in hay for form in self.forms())


def test_the_search_finds_what_hides() -> None:
    canary = Canary()
    raw = canary.text.encode()
    for hay in (raw, canary.text.encode("utf-16-le"), raw.hex().encode(), quote(canary.text, safe="").encode()):
        assert canary.found_in(b"..." + hay + b"...")
    for before in (b"", b"a", b"ab", b"abc"):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            assert canary.found_in(encode(before + raw + b"after"))
    for escaped in (repr(canary.text), json.dumps({"a": canary.text}), ascii(canary.text)):
        assert canary.found_in(escaped.encode())
    assert not canary.found_in(base64.b64encode(b"something else entirely, and long enough"))


@dataclass
class Hay:
    """Everything that left the server, by the place where it was found."""

    places: dict[str, bytes] = field(default_factory=dict)

    def add(self, place: str, content: str | bytes) -> None:
        self.places[f"{len(self.places)} {place}"] = content.encode() if isinstance(content, str) else content

    def add_answer(self, answer: httpx.Response) -> None:
        content = answer.read()
        headers = "\n".join(f"{name}: {value}" for name, value in answer.headers.items())
        self.add(f"{answer.request.method} {answer.request.url.path} {answer.status_code}", headers.encode() + content)

    def add_files(self, when: str, *folders: Path) -> None:
        """Databases, write-ahead logs, keys, and what the processes printed; but for what was typed into them."""
        for path in (path for folder in folders for path in folder.rglob("*")):
            if path.is_file() and path.suffix != ".in":
                with suppress(FileNotFoundError):
                    self.add(f"{path.name} {when}", path.read_bytes().replace(bytes(4096), b""))

    def with_(self, canary: Canary) -> list[str]:
        return [place for place, content in self.places.items() if canary.found_in(content)]


@pytest.fixture
def hay() -> Hay:
    return Hay()


@pytest.fixture
def canaries() -> dict[str, Canary]:
    return {name: Canary() for name in NAMES}


@pytest.fixture
def backed_up(settings: Settings, request: pytest.FixtureRequest) -> Callable[[Path], bytes]:
    """What is in a backup: that of PostgreSQL is compressed."""
    if settings.database_url is None:
        return Path.read_bytes
    return lambda path: subprocess.run(["pg_restore", "--file=-", str(path)], check=True, capture_output=True).stdout


@pytest.fixture
def stored_in(settings: Settings, request: pytest.FixtureRequest) -> list[Path]:
    """The folders that hold what the server stores, and what PostgreSQL says of it."""
    if settings.database_url is None:
        return [settings.data_dir]
    cluster: postgresql.Cluster = request.getfixturevalue("cluster")
    cluster.run("psql", "--dbname=postgres", "--command=CHECKPOINT")
    oid = _ask(settings.url, "SELECT oid FROM pg_database WHERE datname = current_database()")
    data = cluster.folder / "data"
    return [settings.data_dir, data / "base" / oid, data / "pg_wal"]


def _ask(url: str, question: str) -> str:
    command = ["psql", "--no-align", "--tuples-only", "--command", question, url]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


async def test_no_secret_is_found_anywhere(
    settings: Settings,
    tmp_path: Path,
    canaries: dict[str, Canary],
    hay: Hay,
    backed_up: Callable[[Path], bytes],
    stored_in: list[Path],
) -> None:
    """The format of the log is another one on each database."""
    console = {"EMAIL_INBOX_LOG_FORMAT": "console" if settings.database_url else "json"}
    environment = environment_of(settings, EMAIL_INBOX_LOG_LEVEL="debug", **console)
    secret, shown = {name: canary.text for name, canary in canaries.items()}, Canary()
    folder = tmp_path / "work"
    folder.mkdir()
    with serving(environment, folder) as process:
        process.client.event_hooks["response"] = [hay.add_answer]
        with listening(process, hay):
            store(process, secret, shown.text)
            tokens = log_in(process, secret)
        misplace(process, secret)
        misspell(process, secret)
        intrude(process, secret, hay)
        tokens |= type_in(environment, folder, secret, hay)
        target = tmp_path / "backup"
        assert run(["backup", str(target)], environment, folder)[0] == 0
        hay.add("backup", backed_up(target))
        await fail(process, settings, secret)
        assert process.client.get("/metrics").status_code == 200
        hay.add_files("while it runs", folder, *stored_in)
        process.stop()
    hay.add_files("after the stop", folder, *stored_in)

    assert {name: hay.with_(canary) for name, canary in canaries.items() if hay.with_(canary)} == {}
    for name, token in tokens.items():
        assert len(hay.with_(Canary(token))) == (1 if name != "shell" else 0), name
    # That the search is worth something: what may be shown is found everywhere.
    found = " ".join(hay.with_(shown))
    for place in ("POST /graphql 200", "event", "backup", "while it runs", "after the stop"):
        assert place in found


# ------------------------------------------------------------------------------------------- what is sent, and where


@contextmanager
def listening(process: Process, hay: Hay) -> Iterator[None]:
    """Adds the events of what is done meanwhile."""
    with websocket(process) as socket:
        send(socket, {"type": "connection_init", "payload": ADMIN_HEADERS})
        send(socket, {"type": "subscribe", "id": "1", "payload": {"query": CHANGES}})
        send(socket, {"type": "ping"})
        yield
        for _ in range(5):  # that it is connected, that it is alive, and three changes
            hay.add("event", socket.recv(timeout=10))


def websocket(process: Process) -> Any:
    address = process.address.replace("http://", "ws://") + "/graphql"
    return connect(address, subprotocols=[Subprotocol("graphql-transport-ws")])


def send(socket: ClientConnection, message: Any) -> None:
    socket.send(json.dumps(message))


def graphql(process: Process, query: str, **variables: Any) -> Any:
    return process.client.post("/graphql", json={"query": query, "variables": variables}).json()


def rest(process: Process, values: Any) -> int:
    return process.client.post("/api/v1/email-inbox", json=values).status_code


def store(process: Process, secret: dict[str, str], shown: str) -> None:
    """What is right."""
    passwords = {"smtp__password": secret["smtp"], "imap__password": secret["imap"]}
    values = inbox_values(id="a", description=shown, **passwords)
    assert graphql(process, SET, input=values)["data"]["setEmailInbox"]["success"]
    assert rest(process, {**inbox_values(**passwords, email="b@example.org"), "_id": "b"}) == 200
    update = {"id": "a", "smtp": {"password": secret["replaced"]}}
    assert graphql(process, UPDATE, input=update)["data"]["updateEmailInbox"]["success"]
    oauth2 = consent(refreshToken=secret["consent"], clientSecret=secret["application"])
    consenting = consenting_values(id="d", email="d@example.org", smtp__oauth2=oauth2, imap__oauth2=oauth2)
    assert graphql(process, SET, input=consenting)["data"]["setEmailInbox"]["success"]
    assert rest(process, {**consenting_values(email="e@example.org", smtp__oauth2=oauth2), "_id": "e"}) == 200
    update = {"id": "d", "imap": {"oauth2": {"refreshToken": secret["consent"]}}}
    assert graphql(process, UPDATE, input=update)["data"]["updateEmailInbox"]["success"]
    user = {"username": "ada", "permissions": ["MANAGE_USERS"], "password": secret["user"]}
    assert graphql(process, CREATE_USER, input=user)["data"]["createUser"]["success"]
    for path in ("/api/v1/email-inbox.list", "/api/v1/email-inbox/a", "/api/v1/email-inbox.search?email=b@example.org"):
        assert process.client.get(path).status_code == 200


def log_in(process: Process, secret: dict[str, str]) -> dict[str, str]:
    """Tokens, each of which is shown once."""
    graphql(process, LOGIN, user="ada", password=secret["guessed"])
    body = {"user": "ada", "password": secret["guessed"]}
    assert process.client.post("/api/v1/login", json=body).status_code == 401
    process.client.post("/api/v1/login", json={"user": "ada", "password": [secret["guessed"]]})
    login = process.client.post("/api/v1/login", json={"user": "ada", "password": secret["user"]})
    return {
        "graphql": graphql(process, LOGIN, user="ada", password=secret["user"])["data"]["login"]["token"],
        "rest": login.json()["data"]["authToken"],
        "made": graphql(process, CREATE_TOKEN)["data"]["createAccessToken"]["token"],
    }


def misplace(process: Process, secret: dict[str, str]) -> None:
    """A secret of every shape in every field, over both APIs; what is text must not be taken."""
    canary = secret["misplaced"]
    odd: list[Any] = [[canary], {"x": canary}, f"{canary}\0"]
    paths: list[tuple[str, ...]] = [(name,) for name in FIELDS] + [
        (top, name) for top in ("smtp", "imap") for name in SERVER_FIELDS
    ]
    paths += [("imap", "oauth2", name) for name in CONSENT_FIELDS]
    for path in paths:
        for value in odd + [f"{canary}\ud800", canary * 500] * (path[-1] in SECRETS):
            values = inbox_values(**{"__".join(path): value})
            content = json.dumps(values)
            answer = process.client.post("/api/v1/email-inbox", content=content, headers=JSON_TYPE)
            assert answer.status_code == 400, (path, value)
            body = json.dumps({"query": SET, "variables": {"input": values}})
            answer = process.client.post("/graphql", content=body, headers=JSON_TYPE).json()
            assert "errors" in answer or not answer["data"]["setEmailInbox"]["success"], (path, value)


def misspell(process: Process, secret: dict[str, str]) -> None:
    """Documents and bodies that are wrong around a secret."""
    canary = secret["literal"]
    for literal in (json.dumps(canary), f'["{canary[:23]}"]', f'{{ x: "{canary[:23]}" }}', f'"""{canary[:23]}"""'):
        for query in (
            f"mutation {{ setEmailInbox(input: {{ imap: {{ password: {literal}, port: {literal} }} }}) {{ a }} }}",
            f"mutation {{ setEmailInbox(input: {literal}) {{ success }} }}",
            f"mutation {{ login(username: {literal} {literal}) {{ token }} }}",
            f"mutation {{ login(username: 1, password: {literal}, other: {literal}) {{ token }} }}",
            f"{{ emailInbox(id: {literal}, email: {literal}) {{ id }} }}",
            f"{{ emailInboxes(first: {literal}, after: {literal}) {{ totalCount }} }}",
            f"query ($a: Int = {literal}) {{ emailInboxes(first: $a) {{ totalCount }} }}",
            f"{{ viewer @skip(if: {literal}) {{ id }} }}",
            f"{{ viewer {{ id }} }} {literal}",
        ):
            graphql(process, query)
            process.client.get("/graphql", params={"query": query})
    for variables in (canary, [canary], {"input": canary}, {"input": [canary]}, {"input": {"smtp": canary}}):
        process.client.post("/graphql", json={"query": SET, "variables": variables})
    for path in ("/graphql", "/api/v1/email-inbox", "/api/v1/login"):
        for content in (canary, f'{{"password": "{canary[:23]}', json.dumps([canary]), urlencode({"password": canary})):
            for kind in ("application/json", "text/plain", "application/x-www-form-urlencoded"):
                process.client.post(path, content=content.encode(), headers={"Content-Type": kind})
    process.client.get("/graphql", params={"query": "{ viewer { id } }", "variables": canary})


def intrude(process: Process, secret: dict[str, str], hay: Hay) -> None:
    """Credentials that are none."""
    canary = secret["header"].encode("ascii", "ignore").decode()
    for headers in (
        {"X-Auth-Token": canary, "X-User-Id": "x"},
        {"X-Auth-Token": canary, "X-User-Id": canary},
        {"Authorization": f"Bearer {canary}", "X-Auth-Token": "", "X-User-Id": ""},
        {"Authorization": f"Basic {canary}", "X-Auth-Token": "", "X-User-Id": ""},
        {"X-Request-Id": canary, "Cookie": canary},
    ):
        process.client.get("/api/v1/me", headers=headers)
        process.client.post("/graphql", json={"query": "{ viewer { id } }"}, headers=headers)
    for first in (
        {"type": "connection_init", "payload": {"X-User-Id": "x", "X-Auth-Token": canary}},
        {"type": "connection_init", "payload": canary},
        {"type": canary},
        canary,
    ):
        converse(process, [first], hay)
    hello = {"type": "connection_init", "payload": ADMIN_HEADERS}
    for query in (
        f'{{ viewer(x: "{canary[:23]}") }}',
        f'{{ "{canary[:23]}"',
        f'subscription {{ x(y: "{canary[:23]}") }}',
    ):
        converse(process, [hello, {"type": "subscribe", "id": "1", "payload": {"query": query}}], hay)
    converse(
        process, [hello, {"type": "subscribe", "id": "1", "payload": {"query": CHANGES, "variables": canary}}], hay
    )


def converse(process: Process, messages: list[Any], hay: Hay) -> None:
    """Adds all that is answered, the reason for closing too."""
    with websocket(process) as socket:
        try:
            for message in messages:
                send(socket, message)
            send(socket, {"type": "ping"})
            while '"pong"' not in (received := str(socket.recv(timeout=5))):
                hay.add("message", received)
            hay.add("message", str(socket.recv(timeout=0.2)))
        except TimeoutError:
            pass
        except ConnectionClosed as closed:
            hay.add("close", str(closed))


def type_in(environment: dict[str, str], folder: Path, secret: dict[str, str], hay: Hay) -> dict[str, str]:
    """At the shell. What the commands print is among the files; a token that one prints is not searched there."""
    run(["user", "add", "eve", "--password"], environment, folder, typed=secret["typed"] + "\n")
    run(["user", "set-password", "eve"], environment, folder, typed=secret["typed"] + "2\n")
    run(["user", "set-password", "eve"], environment, folder, typed=secret["typed"] + "\0\n")
    exported = folder.parent / "export.json"
    right = {**inbox_values(email="c@example.org", smtp__password=secret["imported"]), "_id": "c"}
    wrong = [{**right, "email": "nobody"}, {**right, "active": [secret["imported"]]}, {**right, "smtp": "x"}]
    for content, status in ((json.dumps(wrong), 1), (json.dumps(right)[:-5], 1), (json.dumps(right), 0)):
        exported.write_text(content)
        assert run(["import-rocketchat", str(exported)], environment, folder)[0] == status
    status, token, _ = run(["token", "add", "admin"], environment, folder)
    assert status == 0
    for path in folder.glob("*.out"):
        if path.read_text() == token:
            path.unlink()
    return {"shell": token.strip()}


async def fail(process: Process, settings: Settings, secret: dict[str, str]) -> None:
    """Somebody has taken away a table: what nobody foresees is masked, and logged without values."""
    async with open_database(settings.url) as database, database.engine.begin() as connection:
        await connection.execute(text("ALTER TABLE email_inbox_change RENAME TO elsewhere"))
    values = inbox_values(email="unlucky@example.org", smtp__password=secret["unlucky"])
    assert rest(process, values) == 500
    assert graphql(process, SET, input=values)["errors"][0]["extensions"]["code"] == "INTERNAL_SERVER_ERROR"


# ---------------------------------------------------------------------------------------------------------- the logs


def test_a_line_of_the_log_cannot_be_forged(settings: Settings, tmp_path: Path) -> None:
    environment = environment_of(settings, EMAIL_INBOX_LOG_FORMAT="console")
    with serving(environment, tmp_path) as process:
        for path in ("/a%0A2026-01-31%20forged", "/a%1B[2J", "/a%0D", "/a%E2%80%A8"):
            process.client.get(path)
        process.stop()  # a line is written after its answer
        lines = process.err.splitlines()
        assert len([line for line in lines if "path" in line and "/a" in line]) == 4
        assert not any(line.startswith("2026-01-31") for line in lines)
        assert "[2J" not in process.err


def test_a_library_that_logs_an_exception_says_its_place_and_no_value(canaries: dict[str, Canary]) -> None:
    canary = canaries["unlucky"].core
    command = [sys.executable, "-c", LOGGING]
    done = subprocess.run(command, input=canary, cwd=ROOT, capture_output=True, text=True, check=True)
    assert canary not in done.stderr + done.stdout
    for told in ("uvicorn failed", "ValueError", "<string>", "Task exception was never retrieved"):
        assert done.stderr.count(told) >= 2, told


LOGGING = """
import asyncio, gc, logging, sys
from edge import logs

secret = sys.stdin.read()

async def fail():
    raise ValueError(secret)

async def forget():
    task = asyncio.ensure_future(fail())
    await asyncio.sleep(0)
    del task
    gc.collect()

for as_json in (True, False):
    logs.configure("debug", as_json=as_json)
    try:
        raise ValueError(secret)
    except ValueError:
        logging.getLogger("uvicorn.error").exception("uvicorn failed")
    asyncio.run(forget())
"""
