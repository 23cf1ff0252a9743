"""Clients that are slow, endless or no clients at all: each is let go, and nobody else notices."""

import json
import resource
import selectors
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.inboxes import inbox_values
from tests.process import Process, serving, until
from tests.running import ADMIN_ID, ADMIN_TOKEN

HEAD = b"POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
QUICK = 1.0
SOON = {"edge.protocol.HEAD_SECONDS": QUICK, "edge.protocol.BODY_SECONDS": 1.1, "edge.protocol.SEND_SECONDS": 0.5}
SLOW_CLIENTS = 500
CROWD = 64
ANSWERS = 60
"""More than what the kernel takes from the server for a client that reads nothing."""


def environment(folder: Path) -> dict[str, str]:
    return {
        "EMAIL_INBOX_DATA_DIR": str(folder / "data"),
        "EMAIL_INBOX_ADMIN_USER_ID": ADMIN_ID,
        "EMAIL_INBOX_ADMIN_TOKEN": ADMIN_TOKEN,
    }


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A server whose patience ends soon."""
    folder = tmp_path_factory.mktemp("quick")
    with serving(environment(folder), folder, patched=SOON) as process:
        yield process


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("patient")
    with serving(environment(folder), folder) as process:
        yield process


def connect(process: Process) -> socket.socket:
    url = httpx.URL(process.address)
    return socket.create_connection((url.host, url.port), timeout=10)


def read_all(connection: socket.socket) -> bytes:
    """What comes until the server closes the connection."""
    received = b""
    while piece := connection.recv(65_536):
        received += piece
    return received


def answered(received: bytes) -> tuple[int, dict[str, str], Any]:
    """The status, the headers and the body of an answer."""
    head, _, body = received.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(status.split()[1]), headers, json.loads(body)


@pytest.mark.parametrize(
    "sent",
    [b"", b"P", HEAD, HEAD + b"Content-Length: 100\r\n\r\n", HEAD + b'Content-Length: 100\r\n\r\n{"query":'],
    ids=["nothing", "a letter", "half a head", "no body", "half a body"],
)
def test_who_does_not_finish_a_request_is_let_go(quick: Process, sent: bytes) -> None:
    with closing(connect(quick)) as connection:
        connection.sendall(sent)
        status, headers, body = answered(read_all(connection))
    assert status == 408
    assert headers["connection"] == "close"
    assert body["error"] == "Request Timeout."
    assert body["errors"][0]["extensions"]["requestId"] == headers["x-request-id"]


def test_a_byte_now_and_then_buys_no_time(quick: Process) -> None:
    with closing(connect(quick)) as connection:
        connection.settimeout(0.05)
        received, sent = b"", 0
        while not received:
            assert sent < 100
            connection.sendall(HEAD[sent : sent + 1])
            sent += 1
            try:
                received = connection.recv(1)
            except TimeoutError:
                continue
    assert received == b"H"


def test_a_connection_that_is_kept_waits_for_its_next_request(quick: Process) -> None:
    request = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with closing(connect(quick)) as connection:
        connection.sendall(request)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200")
        connection.sendall(request[:10])
        assert answered(read_all(connection))[0] == 408


def test_who_does_not_take_the_answer_is_let_go(quick: Process) -> None:
    for number in range(100):
        values = inbox_values(id=f"i{number}", email=f"i{number}@example.org", description="d" * 2_000)
        assert quick.graphql("mutation($i: SetEmailInboxInput!) { setEmailInbox(input: $i) { success } }", i=values)
    head = b"GET /api/v1/email-inbox.list?count=100 HTTP/1.1\r\nHost: localhost\r\n"
    listing = head + b"X-User-Id: %b\r\nX-Auth-Token: %b\r\n\r\n"
    before = open_sockets(quick)
    with closing(connect(quick)) as connection:
        connection.sendall(listing % (ADMIN_ID.encode(), ADMIN_TOKEN.encode()) * ANSWERS)
        until(lambda: open_sockets(quick) > before)
        until(lambda: open_sockets(quick) <= before)
        assert read_all(connection).count(b"200 OK") < ANSWERS


def open_sockets(process: Process) -> int:
    return sum(link.is_socket() for link in Path(f"/proc/{process.pid}/fd").iterdir())


def test_who_leaves_the_end_of_an_answer_is_let_go(quick: Process) -> None:
    """Less than what makes the server pause is left, when the connection has been idle for as long as it is kept."""
    request = b"GET /api/v1/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
    before = open_sockets(quick)
    with closing(connect(quick)) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        for _ in range(200):
            connection.sendall(request)
        until(lambda: open_sockets(quick) <= before, seconds=20)


def test_what_follows_a_body_is_bounded(patient: Process) -> None:
    with closing(connect(patient)) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n")
        assert _send_until_refused(connection, b"X: y\r\n" * 2_000) in (400, 431)


@pytest.mark.parametrize("headers", [{"Cookie": "x" * 9_000}, {f"X-{number}": "" for number in range(200)}])
def test_a_websocket_with_too_large_a_head_is_refused(patient: Process, headers: dict[str, str]) -> None:
    upgrade = {"Host": "localhost", "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    lines = "".join(f"{name}: {value}\r\n" for name, value in {**upgrade, **headers}.items())
    with closing(connect(patient)) as connection:
        connection.sendall(f"GET /graphql HTTP/1.1\r\n{lines}Sec-WebSocket-Key: {'A' * 22}==\r\n\r\n".encode())
        assert answered(read_all(connection))[0] == 431


def test_a_request_in_time_behind_others_is_answered(quick: Process) -> None:
    """Each head has its own time, though one read ends a request and begins the next."""
    request = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
    half = len(request) // 2
    with closing(connect(quick)) as connection:
        started, received = time.monotonic(), 0
        connection.sendall(request[:half])
        while time.monotonic() - started < 3 * QUICK:
            connection.sendall(request[half:] + request[:half])
            answer = b""
            while not answer.endswith(b"}"):
                answer += connection.recv(65_536)
            assert answer.startswith(b"HTTP/1.1 200")
            received += 1
            time.sleep(QUICK / 4)  # nothing is under way when a timer ends that was not set anew
    assert received > 1


def test_the_head_is_bounded(patient: Process) -> None:
    for length, status in ((60_000, 200), (70_000, 431)):
        answer = patient.client.get("/health/live", headers={"X-Long": "x" * length})
        assert answer.status_code == status
    assert answer.json()["error"] == "Request Header Fields Too Large."
    with closing(connect(patient)) as connection:
        connection.sendall(b"GET /health/live HTTP/1.1\r\nX-Endless: ")
        status = _send_until_refused(connection)
    assert status == 431


def _send_until_refused(connection: socket.socket, piece: bytes = b"x" * 10_000) -> int:
    received = b""
    connection.settimeout(0.05)
    for _ in range(1_000):
        try:
            connection.sendall(piece)
            received += connection.recv(65_536)
        except TimeoutError:
            continue
        except ConnectionError:
            break
        if b"\r\n\r\n" in received:
            break
    return int(received.split()[1])


@pytest.mark.parametrize(
    "sent", [b"\0\0\0\0\r\n\r\n", b"GET / HTTP/9\r\n\r\n", b"{}\r\n\r\n", b"GET / HTTP/1.1\r\n \r\n\r\n"]
)
def test_what_is_no_http_is_refused_in_json(patient: Process, sent: bytes) -> None:
    with closing(connect(patient)) as connection:
        connection.sendall(sent)
        status, headers, body = answered(read_all(connection))
    assert (status, headers["content-type"]) == (400, "application/json")
    assert body["success"] is False
    assert body["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"


def test_five_hundred_slow_clients_hurt_nobody(patient: Process) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4 * SLOW_CLIENTS)), hard))
    with ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        slow = [stack.enter_context(closing(connect(patient))) for _ in range(SLOW_CLIENTS)]
        for number, connection in enumerate(slow):
            connection.sendall(HEAD + (b"Content-Length: 100\r\n\r\n{" if number % 2 else b""))
        for number in range(20):
            values = {**inbox_values(email=f"good{number}@example.org"), "_id": f"good{number}"}
            answer = patient.client.post("/api/v1/email-inbox", json=values, timeout=10)
            assert answer.status_code == 200


# ------------------------------------------------------------------------------------------------- many at once


def test_who_comes_with_many_others_is_answered_in_turn(patient: Process) -> None:
    """Nobody is answered again and again before everybody was answered once."""
    request = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        answers = dict.fromkeys(range(CROWD), 0)
        for number in answers:
            connection = stack.enter_context(connect(patient))
            connection.setblocking(False)
            connection.send(request)
            selector.register(connection, selectors.EVENT_READ, number)
        while min(answers.values()) == 0:
            for key, _ in selector.select(10):
                connection = key.fileobj  # type: ignore[assignment]
                answers[key.data] += connection.recv(1 << 20).count(b"HTTP/1.1 200")
                connection.send(request)
    assert max(answers.values()) < CROWD / 4, answers
