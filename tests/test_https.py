"""One HTTPS request under the policy for hosts: where it may lead, whom it trusts, and how much it takes."""

import asyncio
import gzip
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from mail.hosts import HostPolicy
from mail.https import MAX_RESPONSE_BYTES, fetch
from mail.tls import Trust
from models.config import MAIL_PORTS
from models.errors import ErrorCode, MailFailure
from tests.mail.addresses import NAME, At
from tests.mail.certificates import Certificates
from tests.mail.scripted import both, break_tls, hang, hear, scripted, secure, secure_in_vain

CANARY = "canary-of-the-host"
Write = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Server:
    """An HTTPS server that answers as it was told. `requests` are the heads and bodies that came."""

    port: int = 0
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)


@asynccontextmanager
async def answering(certificates: Certificates, write: Write | bytes, at: At = At.GOOD) -> AsyncIterator[Server]:
    server, working = Server(), set[asyncio.Task[None] | None]()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        working.add(asyncio.current_task())
        server.connections += 1
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            body = await reader.readexactly(int(length[0].split(b":")[1])) if length else b""
            server.requests.append(head + body)
            if isinstance(write, bytes):
                writer.write(write)
            else:
                await write(writer)
            await writer.drain()
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    context = certificates.server_context(at)
    context.sni_callback = lambda _socket, name, _context: server.names.append(name)
    listener = await asyncio.start_server(handle, str(at), 0, ssl=context)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for task in working:
            assert task
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)  # type: ignore[arg-type]


def hosts_for(*servers: Server, addresses: Sequence[str] = ("127.0.0.1",)) -> HostPolicy:
    """A policy under which the servers may be connected to, and for which every name has these addresses."""

    async def lookup(_name: str) -> Sequence[str]:
        return addresses

    return HostPolicy(["127.0.0.0/8"], MAIL_PORTS | {server.port for server in servers}, lookup)


@pytest.fixture
def trust(certificates: Certificates) -> Trust:
    return Trust(certificates.ca_file)


def ok(body: bytes, *more: str) -> bytes:
    head = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *more]
    return "\r\n".join([*head, "", ""]).encode() + body


async def failure(work: Awaitable[object]) -> MailFailure:
    """How it failed: with a hint, without a field, and without a word of the host's."""
    with pytest.raises(MailFailure) as raised:
        await work
    assert raised.value.field is None
    assert raised.value.hint
    assert CANARY not in f"{raised.value} {raised.value.hint} {raised.value!r}"
    return raised.value


async def test_a_form_is_posted_to_what_was_resolved_in_the_name_of_the_host(
    certificates: Certificates, trust: Trust
) -> None:
    async with answering(certificates, ok(b"found")) as server:
        url = f"https://{NAME}:{server.port}/token?a=b"
        assert await fetch(hosts_for(server), trust, url, form={"a": "ü&="}) == (200, b"found")
    [request] = server.requests
    assert server.names == [NAME]
    head, _, body = request.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /token?a=b HTTP/1.1"
    assert f"Host: {NAME}:{server.port}" in lines
    assert "Accept-Encoding: identity" in lines
    assert body == b"a=%C3%BC%26%3D"


async def test_without_a_form_it_is_a_get(certificates: Certificates, trust: Trust) -> None:
    async with answering(certificates, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n") as server:
        assert await fetch(hosts_for(server), trust, f"https://{NAME}:{server.port}") == (404, b"")
    assert server.requests[0].startswith(b"GET / HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "url",
    [
        "http://{name}:{port}/",
        "ftp://{name}:{port}/",
        "https://user@{name}:{port}/",
        "https://{name}:25/",
        "https://{name}:8443/",
        "https://",
        "https://[::1/",
        "//{name}:{port}/",
        "",
    ],
)
async def test_only_https_to_ports_that_are_let_through(url: str, certificates: Certificates, trust: Trust) -> None:
    async with answering(certificates, ok(b"found")) as server:
        work = fetch(hosts_for(server), trust, url.format(name=NAME, port=server.port))
        assert (await failure(work)).kind is ErrorCode.HOST_NOT_ALLOWED
    assert server.connections == 0


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "127.1", "0x7f.1", NAME]
)
async def test_a_private_address_is_not_connected_to(host: str, certificates: Certificates, trust: Trust) -> None:
    """What is typed is judged before any name server is asked, a name by what it leads to."""
    asked = []

    async def lookup(name: str) -> Sequence[str]:
        asked.append(name)
        return ["127.0.0.1"]

    async with answering(certificates, ok(b"found")) as server:
        hosts = HostPolicy(["10.0.0.0/8"], {server.port}, lookup)
        work = fetch(hosts, trust, f"https://{host}:{server.port}/")
        assert (await failure(work)).kind is ErrorCode.HOST_NOT_ALLOWED
    assert server.connections == 0
    assert asked == ([NAME] if host == NAME else [])


async def test_a_name_is_resolved_once(certificates: Certificates, trust: Trust) -> None:
    """A second look could find another address, which nobody has judged."""
    asked = []

    async def rebinding(name: str) -> Sequence[str]:
        asked.append(name)
        return ["127.0.0.1"] if len(asked) == 1 else ["127.0.0.2"]

    async with answering(certificates, ok(b"found")) as server:
        hosts = HostPolicy(["127.0.0.1"], {server.port}, rebinding)
        assert await fetch(hosts, trust, f"https://{NAME}:{server.port}/") == (200, b"found")
    assert asked == [NAME]


async def test_a_name_without_addresses_is_told(trust: Trust) -> None:
    found = await failure(fetch(hosts_for(addresses=[]), trust, "https://nowhere.example/"))
    assert found.kind is ErrorCode.DNS_FAILED


async def test_the_next_address_is_tried_where_one_refuses(certificates: Certificates, trust: Trust) -> None:
    async with answering(certificates, ok(b"found")) as server:
        hosts = hosts_for(server, addresses=["127.0.0.9", "127.0.0.1"])
        assert await fetch(hosts, trust, f"https://{NAME}:{server.port}/") == (200, b"found")


async def test_a_host_that_refuses_is_told(certificates: Certificates, trust: Trust) -> None:
    async with answering(certificates, ok(b"")) as server:
        pass
    found = await failure(fetch(hosts_for(server), trust, f"https://{NAME}:{server.port}/"))
    assert found.kind is ErrorCode.CONNECTION_REFUSED


@pytest.mark.parametrize("at", [At.EXPIRED, At.STRANGER, At.SELF_SIGNED, At.MISNAMED])
async def test_the_certificate_is_verified(at: At, certificates: Certificates, trust: Trust) -> None:
    async with answering(certificates, ok(b"found"), at) as server:
        work = fetch(hosts_for(server, addresses=[at]), trust, f"https://{NAME}:{server.port}/", form={"secret": "s"})
        assert (await failure(work)).kind is ErrorCode.CERTIFICATE_INVALID
    assert server.requests == []


async def test_why_it_is_not_trusted_is_named(certificates: Certificates, trust: Trust) -> None:
    for at, part in ((At.SELF_SIGNED, "is self-signed"), (At.STRANGER, "sends no intermediate certificate")):
        async with answering(certificates, ok(b""), at) as server:
            work = fetch(hosts_for(server, addresses=[at]), trust, f"https://{NAME}:{server.port}/")
            found = await failure(work)
            assert part in f"{found} {found.hint}"
    with scripted(certificates.old_context("DHE-RSA-AES128-GCM-SHA256"), secure()) as weak:
        found = await failure(fetch(hosts_for(Server(weak.port)), trust, f"https://{NAME}:{weak.port}/"))
        assert found.kind is ErrorCode.TLS_FAILED
        assert "weak DH" in str(found)


async def test_an_authority_is_trusted_by_the_file_alone(certificates: Certificates) -> None:
    async with answering(certificates, ok(b"found")) as server:
        work = fetch(hosts_for(server), Trust(), f"https://{NAME}:{server.port}/")
        assert (await failure(work)).kind is ErrorCode.CERTIFICATE_INVALID


async def test_mail_servers_are_told_no_protocol_of_http(certificates: Certificates, trust: Trust) -> None:
    """An HTTP client sets ALPN in the context that it is given; a mail server may refuse whoever asks for HTTP."""
    async with answering(certificates, ok(b"found")) as server:
        await fetch(hosts_for(server), trust, f"https://{NAME}:{server.port}/")
    context = certificates.server_context()
    context.set_alpn_protocols(["http/1.1"])
    listener = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust.verifying, server_hostname=NAME)
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() is None
        writer.close()


async def test_something_else_than_tls_is_told(trust: Trust) -> None:
    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"220 {CANARY}\r\n".encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as listener:
        server = Server(listener.sockets[0].getsockname()[1])
        found = await failure(fetch(hosts_for(server), trust, f"https://{NAME}:{server.port}/"))
    assert found.kind is ErrorCode.TLS_FAILED


@pytest.mark.parametrize("demanding", [True, False], ids=["wants a certificate of ours", "no record"])
async def test_tls_that_breaks_after_hands_were_shaken(
    demanding: bool, certificates: Certificates, trust: Trust
) -> None:
    context = certificates.demanding_context() if demanding else certificates.server_context()
    step = secure_in_vain() if demanding else both(secure(), hear(), break_tls(), hang())
    with scripted(context, step) as server:
        hosts = hosts_for(Server(server.port))
        found = await failure(fetch(hosts, trust, f"https://{NAME}:{server.port}/", form={"secret": "s"}))
    assert found.kind is ErrorCode.TLS_FAILED


async def test_a_redirect_is_not_followed(certificates: Certificates, trust: Trust) -> None:
    async with answering(certificates, ok(b"found")) as other:
        location = f"https://{NAME}:{other.port}/{CANARY}"
        answer = f"HTTP/1.1 307 Temporary Redirect\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()
        async with answering(certificates, answer) as server:
            work = fetch(hosts_for(server, other), trust, f"https://{NAME}:{server.port}/", form={"a": "b"})
            assert (await failure(work)).kind is ErrorCode.PROTOCOL_ERROR
    assert other.connections == 0


def redirect(location: str, status: int = 301) -> bytes:
    return f"HTTP/1.1 {status} x\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()


@asynccontextmanager
async def redirecting(certificates: Certificates, location: str, times: int = 1) -> AsyncIterator[Server]:
    """So many answers lead to `location`, in which {port} is the server's own; then it is found."""
    answers = 0

    async def write(writer: asyncio.StreamWriter) -> None:
        nonlocal answers
        answers += 1
        there = redirect(location.format(port=server.port, canary=CANARY), 302)
        writer.write(there if answers <= times else ok(b"found"))

    async with answering(certificates, write) as server:
        yield server


@pytest.mark.parametrize("location", ["/{canary}", f"https://{NAME}:{{port}}/x", f"https://{NAME.upper()}.:{{port}}/x"])
async def test_one_redirect_within_the_host_is_followed_where_it_may_be(
    location: str, certificates: Certificates, trust: Trust
) -> None:
    async with redirecting(certificates, location) as server:
        found = await fetch(hosts_for(server), trust, f"https://{NAME}:{server.port}/", redirects=1)
        assert found == (200, b"found")
        assert len(server.requests) == 2
    async with redirecting(certificates, location, times=2) as server:
        work = fetch(hosts_for(server), trust, f"https://{NAME}:{server.port}/", redirects=1)
        assert (await failure(work)).kind is ErrorCode.PROTOCOL_ERROR
        assert len(server.requests) == 2
    async with redirecting(certificates, location) as server:
        work = fetch(hosts_for(server), trust, f"https://{NAME}:{server.port}/", form={"a": "b"}, redirects=1)
        assert (await failure(work)).kind is ErrorCode.PROTOCOL_ERROR
        assert len(server.requests) == 1, "a secret is never handed on"


@pytest.mark.parametrize(
    "location",
    [
        "",
        f"http://{NAME}:{{port}}/",
        f"https://{NAME}/",
        "https://localhost:{port}/",
        "https://127.0.0.1:{port}/",
        f"//www.{NAME}:{{port}}/",
        f"https://user:password@{NAME}:{{port}}/",
        "https://xn--a/",
        "https://[::1",
        "javascript:{canary}",
    ],
)
async def test_a_redirect_that_leads_elsewhere_is_not_followed(
    location: str, certificates: Certificates, trust: Trust
) -> None:
    async with redirecting(certificates, location, times=2) as server:
        for allowed in (1, 0):
            found = await failure(fetch(hosts_for(server), trust, f"https://{NAME}:{server.port}/", redirects=allowed))
            assert found.kind in (ErrorCode.PROTOCOL_ERROR, ErrorCode.HOST_NOT_ALLOWED)
        assert len(server.requests) == 2


async def test_where_a_redirect_leads_is_judged_again(certificates: Certificates, trust: Trust) -> None:
    """A name that leads to a private address by now (DNS rebinding)."""
    answers = [["127.0.0.1"], ["10.0.0.1"]]

    async def lookup(_name: str) -> Sequence[str]:
        return answers.pop(0)

    async with redirecting(certificates, "/x") as server:
        hosts = HostPolicy(["127.0.0.0/8"], MAIL_PORTS | {server.port}, lookup)
        work = fetch(hosts, trust, f"https://{NAME}:{server.port}/", redirects=1)
        assert (await failure(work)).kind is ErrorCode.HOST_NOT_ALLOWED
        assert len(server.requests) == 1


async def test_no_proxy_of_the_environment_is_used(
    certificates: Certificates, trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with answering(certificates, ok(b"found")) as server:
        assert await fetch(hosts_for(server), trust, f"https://{NAME}:{server.port}/") == (200, b"found")


async def test_a_body_is_taken_to_its_limit_and_no_further(certificates: Certificates, trust: Trust) -> None:
    async with answering(certificates, ok(b"x" * MAX_RESPONSE_BYTES)) as server:
        status, body = await fetch(hosts_for(server), trust, f"https://{NAME}:{server.port}/")
        assert (status, len(body)) == (200, MAX_RESPONSE_BYTES)
    sent = 0

    async def flood(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        for _ in range(10_000):
            writer.write(CANARY.encode() * 1_000)
            sent += 1
            await writer.drain()

    async with answering(certificates, flood) as server:
        work = fetch(hosts_for(server), trust, f"https://{NAME}:{server.port}/")
        assert (await failure(work)).kind is ErrorCode.PROTOCOL_ERROR
    assert sent < 10_000


async def test_a_body_that_is_compressed_is_refused(certificates: Certificates, trust: Trust) -> None:
    bomb = gzip.compress(b"0" * 10_000_000)
    async with answering(certificates, ok(bomb, "Content-Encoding: gzip")) as server:
        work = fetch(hosts_for(server), trust, f"https://{NAME}:{server.port}/")
        assert (await failure(work)).kind is ErrorCode.PROTOCOL_ERROR


@pytest.mark.parametrize(
    "answer",
    [
        f"220 {CANARY} ESMTP\r\n".encode(),
        b"",
        f"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{CANARY}".encode(),
        f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{CANARY}".encode(),
        b"HTTP/1.1 200 OK\r\nX: " + CANARY.encode() * 20_000,
    ],
    ids=["smtp", "nothing", "short", "chunks", "head"],
)
async def test_what_is_no_http_is_told(answer: bytes, certificates: Certificates, trust: Trust) -> None:
    async with answering(certificates, answer) as server:
        work = fetch(hosts_for(server), trust, f"https://{NAME}:{server.port}/")
        assert (await failure(work)).kind is ErrorCode.PROTOCOL_ERROR


async def _silent(writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def _drop_by_drop(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.05)


async def _informing(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("write", [_silent, _drop_by_drop, _informing])
async def test_the_whole_of_it_has_its_time(write: Write, certificates: Certificates, trust: Trust) -> None:
    """A bound on each read alone would let a server that sends a byte now and then hold it for ever."""
    async with answering(certificates, write) as server:
        started = time.monotonic()
        work = fetch(hosts_for(server), trust, f"https://{NAME}:{server.port}/", seconds=0.4)
        assert (await failure(work)).kind is ErrorCode.TIMEOUT
        assert time.monotonic() - started < 3


async def test_a_lookup_that_hangs_is_part_of_the_time(trust: Trust) -> None:
    async def hang(_name: str) -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    found = await failure(fetch(HostPolicy(["127.0.0.1"], lookup=hang), trust, "https://slow.example/", seconds=0.1))
    assert found.kind is ErrorCode.TIMEOUT


def test_a_context_verifies_whatever_is_asked_of_it(trust: Trust) -> None:
    assert trust.https.verify_mode is ssl.CERT_REQUIRED
    assert trust.https.check_hostname
