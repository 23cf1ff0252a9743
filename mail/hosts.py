"""The policy for outgoing connections. A name is resolved once, and only the addresses that pass are connected to.

By default only public addresses and mail ports are allowed: a host that a client enters must not open a way into the
server's own network (OWASP: server-side request forgery).
"""

import asyncio
import contextlib
import errno
import functools
import ipaddress
import re
import socket
import threading
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

import aiohappyeyeballs
import idna

from mail.offload import in_thread
from mail.refusals.policy import host_not_allowed, neither_allowed, port_not_allowed
from models.config import MAIL_PORTS
from models.errors import ErrorCode, MailFailure
from models.fields import MAX_HOST

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network
Lookup = Callable[[str], Awaitable[Sequence[str]]]
"""Resolves a host name to its addresses as text. Raises OSError if it has none."""

HAPPY_EYEBALLS_SECONDS = 0.25
"""Head start of one address before the next is tried in parallel (RFC 8305, 5)."""
LOOKUP_SECONDS = 3.0
"""Timeout of a look-up that only improves an error message."""

SPECIAL: list[IPNetwork] = [
    # IANA, IPv4 Special-Purpose Address Registry, and multicast.
    *map(
        IPv4Network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.31.196.0/24",
            "192.52.193.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "192.175.48.0/24",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/3",
        ),
    ),
    # Inside global unicast: protocol assignments and Teredo, documentation, 6to4.
    *map(IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")),
]
GLOBAL_UNICAST = IPv6Network("2000::/3")
"""The only IPv6 addresses that are public (IANA, IPv6 address space)."""
NAT64 = IPv6Network("64:ff9b::/96")
"""The prefix of the addresses that DNS64 synthesizes for hosts with IPv4 only (RFC 6052)."""

LOOPBACK: Sequence[IPAddress] = (IPv4Address("127.0.0.1"), IPv6Address("::1"))

NO_ANSWER = (socket.EAI_AGAIN, errno.EAGAIN)
"""No name server answered, or too many look-ups are running: the name may still exist."""
_LOOKUP_SLOTS = threading.Semaphore(64)
"""Limits concurrent look-ups: one whose name server hangs outlives the request that started it."""
_NUMBERS = re.compile(r"(0[xX][0-9a-fA-F]*|[0-9]+)(\.(0[xX][0-9a-fA-F]*|[0-9]+)){0,3}")
_NAME = re.compile(r"\.?[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?")
_LOOPBACK_NAMES = ("localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback")


class HostPolicy:
    """The policy of this server. Hosts in `allowed` may be private or loopback; only `ports` may be connected to."""

    def __init__(
        self, allowed: Iterable[str] = (), ports: Collection[int] = MAIL_PORTS, lookup: Lookup | None = None
    ) -> None:
        """Raises ValueError if an entry of `allowed` is neither a host, an address nor a network."""
        self.ports = frozenset(ports)
        self._lookup = lookup or system_lookup
        self._networks: list[IPNetwork] = []
        self._names: set[str] = set()
        self._suffixes: list[str] = []
        for entry in allowed:
            self._allow(entry)

    def permit(self, server: str, port: int) -> None:
        """Checks host and port without a DNS look-up. Raises MailFailure, which reports both if both are refused."""
        try:
            self.permit_host(server)
        except MailFailure as failure:
            raise failure if port in self.ports else neither_allowed(canonical(server), port) from None
        if port not in self.ports:
            raise port_not_allowed(port, self.ports)

    async def admit(self, server: str, port: int) -> None:
        """Does what `permit` does. If the port is refused, also resolves the name, to report both faults at once."""
        try:
            self.permit(server, port)
        except MailFailure as failure:
            if failure.field == ("port",) and await self._is_forbidden(server):
                raise neither_allowed(canonical(server), port) from None
            raise

    def permit_host(self, server: str) -> None:
        """Checks the host alone, without a DNS look-up. Raises MailFailure."""
        name = canonical(server)
        address = as_address(name)
        if address is not None:
            self._select_permitted([address], server)
        elif not self._is_allowed_name(name) and _is_loopback_name(name):
            self._select_permitted(LOOPBACK, server)

    async def resolve(self, server: str) -> list[IPAddress]:
        """Resolves the host to the addresses that the policy allows. Raises MailFailure if there are none."""
        name = canonical(server)
        address = as_address(name)
        if address is not None:
            return self._select_permitted([address], server)
        try:
            spellings = await self._lookup(name)
        except (OSError, UnicodeError) as error:
            if isinstance(error, OSError) and error.errno in NO_ANSWER:
                raise _no_answer(name) from None
            spellings = []
        found = [found for spelling in spellings if (found := as_address(spelling.partition("%")[0])) is not None]
        if not found:
            raise MailFailure(
                ErrorCode.DNS_FAILED,
                f"No address was found for {name}.",
                "server",
                hint="Check the spelling of the server's name. Many are imap.… or smtp.… before the domain.",
            )
        return found if self._is_allowed_name(name) else self._select_permitted(found, server)

    async def connect(self, addresses: Sequence[IPAddress], port: int) -> socket.socket:
        """Connects to the first address that answers (Happy Eyeballs). Raises MailFailure."""
        targets: list[aiohappyeyeballs.AddrInfoType] = [
            (
                socket.AF_INET if address.version == 4 else socket.AF_INET6,
                socket.SOCK_STREAM,
                socket.IPPROTO_TCP,
                "",
                (str(address), port) if address.version == 4 else (str(address), port, 0, 0),
            )
            for address in addresses
        ]
        try:
            return await aiohappyeyeballs.start_connection(targets, happy_eyeballs_delay=HAPPY_EYEBALLS_SECONDS)
        except (OSError, RuntimeError) as error:
            raise _refusal(port) if _is_refusal(error) else _unreachable() from None

    async def _is_forbidden(self, server: str) -> bool:
        """Whether the policy refuses every address of the host. False if the look-up fails or times out."""
        try:
            async with asyncio.timeout(LOOKUP_SECONDS):
                await self.resolve(server)
        except MailFailure as failure:
            return failure.kind is ErrorCode.HOST_NOT_ALLOWED
        except TimeoutError:
            pass
        return False

    def _select_permitted(self, addresses: Sequence[IPAddress], server: str) -> list[IPAddress]:
        permitted = [address for address in addresses if self._is_permitted(address)]
        if not permitted:
            raise host_not_allowed(canonical(server))
        return permitted

    def _is_permitted(self, address: IPAddress) -> bool:
        inner = embedded(address)
        return is_public(inner) or _is_within(address, self._networks) or _is_within(inner, self._networks)

    def _is_allowed_name(self, name: str) -> bool:
        return name in self._names or any(name.endswith(suffix) for suffix in self._suffixes)

    def _allow(self, entry: str) -> None:
        text = entry.strip().strip("[]")
        try:
            self._networks.append(ipaddress.ip_network(text, strict=False))
            return
        except ValueError:
            pass
        name = canonical(text.removeprefix("*."))
        if not _NAME.fullmatch(name) or as_address(name):
            raise ValueError(f"{entry.strip()!r} is neither a host name, an address nor a network")
        if text.startswith(("*.", ".")):
            self._suffixes.append("." + name.lstrip("."))
        else:
            self._names.add(name)


async def system_lookup(name: str) -> Sequence[str]:
    """Resolves a name with the system resolver, which includes the hosts file. Raises OSError."""
    if not _LOOKUP_SLOTS.acquire(blocking=False):
        raise OSError(errno.EAGAIN, "too many names are looked up")

    def look_up() -> list[Any]:
        try:
            return socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
        finally:
            _LOOKUP_SLOTS.release()

    try:
        found = await in_thread(look_up)
    except RuntimeError:  # no thread could be started
        _LOOKUP_SLOTS.release()
        raise OSError(errno.EAGAIN, "there is no thread for it") from None
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@functools.lru_cache(256)
def canonical(server: str) -> str:
    """Normalizes a host: ASCII (IDNA 2008, UTS 46), lower case, without brackets and final dot."""
    text = server.strip()
    if text.startswith("["):
        text = text[1:].removesuffix("]")
    text = ascii_name(text).removesuffix(".")
    address = as_address(text)
    return text if address is None else str(address)


def ascii_name(name: str) -> str:
    """Converts a domain name to IDNA's ASCII form in lower case. Only lowers what is not a valid name."""
    if ":" not in name and not name.isascii() and len(name) <= MAX_HOST:
        with contextlib.suppress(UnicodeError):  # idna.IDNAError is one
            name = idna.encode(name, uts46=True).decode("ascii")
    return name.lower()


@functools.lru_cache(256)
def as_address(text: str) -> IPAddress | None:
    """Parses an address in every notation that resolvers accept, such as 127.1, 0x7f000001 and 2130706433.

    Returns None for an address with a zone, which is local to one machine and may be any text.
    """
    try:
        return None if "%" in text else ipaddress.ip_address(text)
    except ValueError:
        pass
    if not _NUMBERS.fullmatch(text):
        return None
    try:
        return IPv4Address(socket.inet_aton(text))
    except OSError:
        return None


def embedded(address: IPAddress) -> IPAddress:
    """Returns the IPv4 address that an IPv4-mapped or NAT64 address leads to; any other address unchanged."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped:
            return address.ipv4_mapped
        if address in NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def is_public(address: IPAddress) -> bool:
    """Whether the address is globally routable."""
    if isinstance(address, IPv6Address) and address not in GLOBAL_UNICAST:
        return False
    return not _is_within(address, SPECIAL)


def _is_within(address: IPAddress, networks: Iterable[IPNetwork]) -> bool:
    return any(address.version == network.version and address in network for network in networks)


def _is_loopback_name(name: str) -> bool:
    """Whether the name always resolves to loopback (RFC 6761, 6.3)."""
    return name in _LOOPBACK_NAMES or name.endswith(".localhost")


def _no_answer(name: str) -> MailFailure:
    return MailFailure(
        ErrorCode.DNS_FAILED,
        f"No name server answered for {name}.",
        "server",
        hint="Try again. If it lasts, the operator of this server must look at its name servers.",
    )


def _is_refusal(error: Exception) -> bool:
    """Whether any address refused the connection, which is more specific than an unreachable one."""
    return isinstance(error, ConnectionRefusedError) or f"[Errno {errno.ECONNREFUSED}]" in str(error)


def _refusal(port: int) -> MailFailure:
    return MailFailure(
        ErrorCode.CONNECTION_REFUSED,
        f"The server refuses connections to port {port}.",
        "port",
        hint="Nothing listens there. " + _usual_ports(port),
    )


def _unreachable() -> MailFailure:
    return MailFailure(
        ErrorCode.CONNECTION_REFUSED,
        "The server can't be reached.",
        "server",
        hint="The network has no way to it, or a firewall is in between.",
    )


def _usual_ports(port: int) -> str:
    if port in (143, 993):
        return "IMAP is on 993, or on 143 with STARTTLS."
    return "Outgoing mail is on 587 with STARTTLS, or on 465; IMAP is on 993."
