"""A server that follows a script and records all input. Knows no protocol.

A script is a list of steps. Each connection runs all of them, and then reads until its end:

    with scripted(context, say("* OK hello"), expect("LOGIN"), say("{tag} NO no")) as server: ...

`{tag}` is the first word of the last command, which a response repeats in IMAP.
"""

import itertools
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field

SECONDS = 10.0
"""The timeout of every read and write, and the longest that a step floods."""


class Peer:
    """A client, connected until `left` is set. `heard` is its input so far, in clear or within TLS."""

    def __init__(self, connection: socket.socket, context: ssl.SSLContext, released: threading.Event) -> None:
        self.connection, self.context, self.released = connection, context, released
        self.clear, self.secret = bytearray(), bytearray()
        self.line = b""
        self.left = threading.Event()
        self._pending = b""

    @property
    def tag(self) -> bytes:
        return self.line.partition(b" ")[0]

    @property
    def is_encrypted(self) -> bool:
        return isinstance(self.connection, ssl.SSLSocket)

    @property
    def heard(self) -> bytearray:
        return self.secret if self.is_encrypted else self.clear

    def receive(self) -> bytes:
        found = self.connection.recv(65_536)
        self.heard.extend(found)
        return found

    def read_line(self) -> bytes:
        while b"\n" not in self._pending:
            if not (found := self.receive()):
                raise EOFError
            self._pending += found
        line, _, self._pending = self._pending.partition(b"\n")
        return line.rstrip(b"\r")

    def secure(self) -> None:
        """Starts TLS. Discards cleartext that arrived together with the last line."""
        self._pending = b""
        self.connection = self.context.wrap_socket(self.connection, server_side=True)

    def listen(self) -> None:
        """Reads until the other side closes the connection."""
        while self.receive():
            pass


Step = Callable[[Peer], None]


@dataclass
class Scripted:
    """`implicit`: TLS from the first byte. `connections` is the number of clients so far, `peers` their input."""

    steps: list[Step]
    context: ssl.SSLContext
    implicit: bool = False
    peers: list[Peer] = field(default_factory=list)
    faults: list[BaseException] = field(default_factory=list)
    _released: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)
    _listener: socket.socket = field(init=False)

    @property
    def port(self) -> int:
        found: int = self._listener.getsockname()[1]
        return found

    @property
    def connections(self) -> int:
        return len(self.peers)

    @property
    def clear(self) -> bytes:
        """All input outside of TLS."""
        return b"".join(peer.clear for peer in self.peers)

    @property
    def secret(self) -> bytes:
        """All input within TLS."""
        return b"".join(peer.secret for peer in self.peers)

    @property
    def heard(self) -> bytes:
        return self.clear + self.secret

    def start(self, address: str) -> None:
        self._listener = socket.create_server((address, 0))
        self._run(self._accept)

    def stop(self) -> None:
        """Ends every connection, and raises the first error of a script."""
        self._released.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for peer in self.peers:
            with suppress(OSError):
                peer.connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(SECONDS)
        if self.faults:
            raise self.faults[0]

    def _run(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._released.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.settimeout(SECONDS)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.peers.append(Peer(connection, self.context, self._released))
            self._run(self._serve, self.peers[-1])

    def _serve(self, peer: Peer) -> None:
        try:
            if self.implicit:
                peer.secure()
            for step in self.steps:
                step(peer)
            peer.listen()
        except (OSError, EOFError):
            pass  # the other side closed the connection, as many tests expect
        except BaseException as fault:
            self.faults.append(fault)
        finally:
            peer.left.set()
            peer.connection.close()


@contextmanager
def scripted(
    context: ssl.SSLContext, *steps: Step, implicit: bool = False, address: str = "127.0.0.1"
) -> Iterator[Scripted]:
    """Runs a server with this script."""
    server = Scripted(list(steps), context, implicit)
    server.start(address)
    try:
        yield server
    finally:
        server.stop()


# ------------------------------------------------------------------------------------------------------------- steps


def say(*lines: str | bytes) -> Step:
    """Sends the lines at once."""

    def step(peer: Peer) -> None:
        peer.connection.sendall(b"".join(encoded(line, peer) + b"\r\n" for line in lines))

    return step


def send(text: str | bytes) -> Step:
    """Sends the text without a line end."""

    def step(peer: Peer) -> None:
        peer.connection.sendall(encoded(text, peer))

    return step


def expect(word: str) -> Step:
    """Reads a line, which must contain the word in any case."""

    def step(peer: Peer) -> None:
        peer.line = peer.read_line()
        assert word.lower().encode() in peer.line.lower(), f"{word} was expected, not {peer.line!r}"

    return step


def hear(last: bytes = b"") -> Step:
    """Reads a line that is not a command, or all lines up to this one."""

    def step(peer: Peer) -> None:
        while peer.read_line() != last and last:
            pass

    return step


def secure() -> Step:
    """Performs the TLS handshake."""
    return Peer.secure


def secure_in_vain() -> Step:
    """Performs the TLS handshake. If it fails, keeps the connection open so that the client can read the alert."""

    def step(peer: Peer) -> None:
        tls = peer.context.wrap_socket(peer.connection, server_side=True, do_handshake_on_connect=False)
        with suppress(ssl.SSLError):
            tls.do_handshake()
        peer.connection = socket.socket(fileno=tls.detach())
        peer.connection.settimeout(SECONDS)

    return step


def break_tls() -> Step:
    """Sends an invalid TLS record."""

    def step(peer: Peer) -> None:
        with closing(socket.socket(fileno=os.dup(peer.connection.fileno()))) as beneath:
            beneath.settimeout(SECONDS)
            beneath.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))

    return step


def at_first(once: Step, later: Step) -> Step:
    """Runs one step the first time, and another one afterwards."""
    times = itertools.count()

    def step(peer: Peer) -> None:
        (later if next(times) else once)(peer)

    return step


def pause(seconds: float) -> Step:
    """Waits."""

    def step(peer: Peer) -> None:
        peer.released.wait(seconds)

    return step


def drip(text: str | bytes, seconds: float) -> Step:
    """Sends a byte at a time, with a pause after each."""

    def step(peer: Peer) -> None:
        for byte in encoded(text, peer):
            peer.connection.sendall(bytes([byte]))
            if peer.released.wait(seconds):
                return

    return step


def flood(text: bytes, size: int | None = None) -> Step:
    """Sends the text repeatedly: this many bytes, or without end."""

    def step(peer: Peer) -> None:
        chunk = text * max(1, 65_536 // len(text))
        sent, deadline = 0, time.monotonic() + SECONDS
        while (size is None or sent < size) and not peer.released.is_set() and time.monotonic() < deadline:
            peer.connection.sendall(chunk)
            sent += len(chunk)

    return step


def both(*steps: Step) -> Step:
    """Runs the steps one after the other."""

    def step(peer: Peer) -> None:
        for each in steps:
            each(peer)

    return step


def hang() -> Step:
    """Sends nothing more, and reads on."""
    return Peer.listen


def close() -> Step:
    """Closes the connection."""

    def step(peer: Peer) -> None:
        with suppress(OSError):
            peer.connection.shutdown(socket.SHUT_RDWR)

    return step


def encoded(text: str | bytes, peer: Peer) -> bytes:
    return (text.encode() if isinstance(text, str) else text).replace(b"{tag}", peer.tag)
