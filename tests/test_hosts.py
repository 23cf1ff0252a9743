"""Which hosts a server of mail may be connected to: every spelling of what is not public, names, ports, rebinding."""

import asyncio
import errno
import re
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mail.hosts
from mail.hosts import HostPolicy, IPAddress, IPNetwork, system_lookup
from mail.service import Mail
from models.config import MAIL_PORTS
from models.errors import ErrorCode, MailFailure, StartError
from settings import read_settings
from tests.process import until

PUBLIC, PUBLIC_6 = "93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"
NOT_PUBLIC = {
    "loopback": "127.0.0.1 127.1 127.0.1 127.255.255.254 127.000.000.001 localhost LOCALHOST localhost. a.localhost "
    "localhost.localdomain ip6-localhost ::1 [::1] 0:0:0:0:0:0:0:1 0000:0000:0000:0000:0000:0000:0000:0001",
    "integer": "2130706433 017700000001 0x7f000001 0X7F000001 3232235777 2852039166 0xA9FEA9FE",
    "octal": "0177.0.0.1 0177.0.0.01 0177.1 00177.0.0.1 0300.0250.1.1 0251.0376.0251.0376 012.0.0.1",
    "hexadecimal": "0x7f.0.0.1 0x7F.0x0.0x0.0x1 0x7f.1 0xc0.0xa8.1.1 0xa.0.0.1 0xA9.0xFE.0xA9.0xFE",
    "in short": "10.1 192.168.257 172.1048577 169.16689662 0",
    "private": "10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.255 192.168.0.1 192.168.255.255",
    "link-local": "169.254.0.1 169.254.169.254 fe80::1 fe80::1%1 fe80::1%eth0 [fe80::1%25eth0] febf::1",
    "mapped": "::ffff:127.0.0.1 ::ffff:7f00:1 ::FFFF:10.0.0.1 [::ffff:192.168.1.1] 0:0:0:0:0:ffff:a9fe:a9fe",
    "compatible": "::127.0.0.1 ::7f00:1 ::10.0.0.1 ::ffff:0:127.0.0.1 ::ffff:0:7f00:1",
    "6to4": "2002:7f00:1:: 2002:7f00:0001::1 2002:a00:1::1 2002:c0a8:101::",
    "NAT64": "64:ff9b::127.0.0.1 64:ff9b::7f00:1 64:ff9b::10.0.0.1 64:ff9b::a9fe:a9fe 64:ff9b:1::7f00:1",
    "Teredo": "2001:0:7f00:1:: 2001:0000:4136:e378:8000:63bf:80ff:fffe 2001::1",
    "unique local": "fc00::1 fd00::1 fdff:ffff::1 fec0::1",
    "multicast": "224.0.0.1 239.255.255.250 ff02::1 ff0e::1",
    "broadcast and reserved": "255.255.255.255 240.0.0.1 0xffffffff 4294967295 0377.0377.0377.0377",
    "shared": "100.64.0.1 100.127.255.254",
    "documentation": "192.0.2.1 198.51.100.1 203.0.113.1 2001:db8::1 3fff::1",
    "benchmarks and protocols": "198.18.0.1 198.19.255.255 192.0.0.1 192.0.0.170 192.88.99.1 2001:2::1 100::1 5f00::1",
    "unspecified": "0.0.0.0 0.1.2.3 :: [::] ::0 0x0 00",
    "final dot": "127.0.0.1. 0x7f000001. 10.0.0.1. 2130706433.",
    "Unicode": "１２７.０.０.１ 127。0。0。1 １２７.0.0.1 ①②⑦.0.0.1 \U0001d7cf\U0001d7d0\U0001d7d5.0.0.1 127．0．0．1 "  # noqa: RUF001
    "ｌocalhost ⓛocalhost ˡocalhost 𝟏𝟎.0.0.1 0x7f.1 127｡0｡0｡1",  # noqa: RUF001
}
SPELLINGS = [spelling for spellings in NOT_PUBLIC.values() for spelling in spellings.split()]


class Lookup:
    """A resolver that gives these answers, one a question, and the last for ever."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, name: str) -> list[str]:
        self.asked.append(name)
        answer = self.answers[min(len(self.asked), len(self.answers)) - 1]
        if not answer:
            raise OSError(f"{name} is not known")
        return answer


async def reach(hosts: HostPolicy, server: str, port: int = 993) -> None:
    """All that is done before the first byte is sent."""
    hosts.permit(server, port)
    connection = await hosts.connect(await hosts.resolve(server), port)
    connection.close()


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that are connected to; all of them refuse."""
    found: list[str] = []

    def connect(_: socket.socket, address: tuple[str, int]) -> None:
        found.append(address[0])
        raise ConnectionRefusedError

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket.socket, "connect_ex", connect)
    return found


def test_there_are_enough_spellings() -> None:
    assert len(SPELLINGS) > 100
    assert len(set(SPELLINGS)) > 100


@pytest.mark.parametrize("spelling", SPELLINGS, ids=ascii)
async def test_what_is_not_public_is_seen_through(spelling: str, connections: list[str]) -> None:
    """Even where the resolver says what the attacker wants to be believed."""
    for answer in (["127.0.0.1"], ["::1"], ["::ffff:10.0.0.1"]):
        with pytest.raises(MailFailure) as raised:
            await reach(HostPolicy(lookup=Lookup(answer)), spelling)
        assert raised.value.kind is ErrorCode.HOST_NOT_ALLOWED
        assert raised.value.field == ("server",)
    assert connections == []


@pytest.mark.parametrize("spelling", [text for text in SPELLINGS if re.fullmatch(r"\[?[0-9a-fA-FxX.:]+\]?", text)])
async def test_an_address_is_judged_before_any_name_is_looked_up(spelling: str) -> None:
    lookup = Lookup([PUBLIC])
    with pytest.raises(MailFailure):
        HostPolicy(lookup=lookup).permit(spelling, 993)
    assert lookup.asked == []


@pytest.mark.parametrize("address", [PUBLIC, PUBLIC_6, "1572394766", "0x5db8d70e", f"64:ff9b::{PUBLIC}", "8.8.8.8"])
async def test_public_addresses_are_connected_to(address: str, connections: list[str]) -> None:
    with pytest.raises(MailFailure) as raised:
        await reach(HostPolicy(), address)
    assert raised.value.kind is ErrorCode.CONNECTION_REFUSED
    assert len(connections) == 1


@pytest.mark.parametrize(
    "answer",
    [
        *(["127.0.0.1"], ["10.0.0.1"], ["169.254.169.254"], ["::1"], ["fe80::1%2"], ["::ffff:127.0.0.1"]),
        *(["64:ff9b::7f00:1"], ["100.64.0.1"], ["0.0.0.0"], ["10.0.0.1", "192.168.0.1", "fd00::1"]),
    ],
    ids=" ".join,
)
async def test_a_name_that_leads_inside_is_refused(answer: list[str], connections: list[str]) -> None:
    with pytest.raises(MailFailure) as raised:
        await reach(HostPolicy(lookup=Lookup(answer)), "mail.example.org")
    assert raised.value.kind is ErrorCode.HOST_NOT_ALLOWED
    assert connections == []
    assert not any(address in str(raised.value) + str(raised.value.hint) for address in answer), (
        "it tells of the inside"
    )


async def test_of_a_name_that_leads_both_ways_only_the_public_addresses_are_connected_to(
    connections: list[str],
) -> None:
    with pytest.raises(MailFailure):
        await reach(HostPolicy(lookup=Lookup(["127.0.0.1", PUBLIC, "::1", "10.0.0.1", PUBLIC_6])), "mail.example.org")
    assert set(connections) == {PUBLIC, PUBLIC_6}


async def test_a_name_is_looked_up_once(connections: list[str]) -> None:
    """A resolver that says something else the second time (DNS rebinding) is not asked a second time."""
    lookup = Lookup([PUBLIC], ["127.0.0.1"])
    with pytest.raises(MailFailure):
        await reach(HostPolicy(lookup=lookup), "mail.example.org")
    assert lookup.asked == ["mail.example.org"]
    assert connections == [PUBLIC]


async def test_a_name_that_nobody_knows(connections: list[str]) -> None:
    with pytest.raises(MailFailure) as raised:
        await reach(HostPolicy(lookup=Lookup([])), "mail.example.org")
    assert raised.value.kind is ErrorCode.DNS_FAILED
    assert raised.value.field == ("server",)
    assert connections == []


@pytest.mark.parametrize("answer", [["garbage"], [""], ["127.0.0.1; 10.0.0.1"], ["%"]], ids=ascii)
async def test_a_resolver_that_speaks_nonsense(answer: list[str], connections: list[str]) -> None:
    with pytest.raises(MailFailure) as raised:
        await reach(HostPolicy(lookup=Lookup(answer)), "mail.example.org")
    assert raised.value.kind is ErrorCode.DNS_FAILED
    assert connections == []


@pytest.mark.parametrize("name", ["münchen.example", "MÜNCHEN.example.", "ｍünchen.example"])  # noqa: RUF001
async def test_a_name_is_looked_up_in_one_spelling(name: str) -> None:
    lookup = Lookup([PUBLIC])
    await HostPolicy(lookup=lookup).resolve(name)
    assert lookup.asked == ["xn--mnchen-3ya.example"]


# ----------------------------------------------------------------------------------------------- the machine's resolver


async def no_answer(hosts: HostPolicy) -> None:
    """The name is not to blame."""
    with pytest.raises(MailFailure) as raised:
        await hosts.resolve("mail.example.org")
    assert raised.value.kind is ErrorCode.DNS_FAILED
    assert raised.value.field == ("server",)
    assert "name servers" in str(raised.value.hint)


async def test_a_name_server_that_does_not_answer() -> None:
    async def lookup(name: str) -> list[str]:
        raise socket.gaierror(socket.EAI_AGAIN, name)

    await no_answer(HostPolicy(lookup=lookup))


async def test_only_so_many_names_are_looked_up_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail.hosts, "_LOOKUP_SLOTS", threading.Semaphore(0))
    await no_answer(HostPolicy())


@pytest.mark.parametrize("answer", [[(socket.AF_INET, 1, 6, "", ("93.184.215.14", 0))], OSError("no")], ids=repr)
async def test_a_look_up_that_ends_makes_room(answer: list[object] | OSError, monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*_: object, **__: object) -> list[object]:
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr(mail.hosts, "_LOOKUP_SLOTS", threading.Semaphore(1))
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    for _ in range(3):
        with suppress(OSError):
            assert await system_lookup("mail.example.org") == [PUBLIC]
        assert mail.hosts._LOOKUP_SLOTS._value == 1


async def test_a_look_up_takes_its_room_as_long_as_it_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asked for it may be gone: the thread is not."""
    began, answered = threading.Event(), threading.Event()

    def getaddrinfo(*_: object, **__: object) -> list[object]:
        began.set()
        answered.wait(10)
        return []

    monkeypatch.setattr(mail.hosts, "_LOOKUP_SLOTS", threading.Semaphore(1))
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    asking = asyncio.create_task(system_lookup("mail.example.org"))
    assert await asyncio.to_thread(began.wait, 10)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await no_answer(HostPolicy())
    answered.set()
    await asyncio.to_thread(until, lambda: mail.hosts._LOOKUP_SLOTS._value == 1, 10)


# -------------------------------------------------------------------------------------------------------- connecting

REFUSING, UNREACHABLE = "127.0.0.1", "2001:db8::1"


@pytest.mark.parametrize(
    ("addresses", "field"),
    [
        ([REFUSING], "port"),
        ([REFUSING, UNREACHABLE], "port"),
        ([UNREACHABLE, REFUSING], "port"),
        ([UNREACHABLE], "server"),
        ([UNREACHABLE, "2001:db8::2"], "server"),
    ],
    ids=str,
)
async def test_one_that_refuses_says_more_than_one_without_a_way(
    addresses: list[str], field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host may have an IPv6 address, and this machine no IPv6."""
    connect = socket.socket.connect

    def connect_without_ipv6(self: socket.socket, address: tuple[str, int]) -> None:
        if ":" in address[0]:
            raise OSError(errno.ENETUNREACH, "Network is unreachable")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_without_ipv6)
    with socket.create_server((REFUSING, 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(MailFailure) as raised:
        await HostPolicy().connect(list(map(ip_address, addresses)), port)
    assert raised.value.kind is ErrorCode.CONNECTION_REFUSED
    assert raised.value.field == (field,)


# ----------------------------------------------------------------------------------------------------- the operator


@pytest.mark.parametrize(
    "entry", ["mail.example.org", "*.example.org", ".example.org", "10.1.2.3", "10.0.0.0/8", "MAIL.example.org."]
)
async def test_the_operator_lets_a_host_in(entry: str, connections: list[str]) -> None:
    with pytest.raises(MailFailure) as raised:
        await reach(HostPolicy([entry], lookup=Lookup(["10.1.2.3"])), "mail.example.org")
    assert raised.value.kind is ErrorCode.CONNECTION_REFUSED
    assert connections == ["10.1.2.3"]


@pytest.mark.parametrize(
    ("entry", "server"),
    [
        ("mail.example.org", "other.example.org"),
        ("mail.example.org", "amail.example.org"),
        ("mail.example.org", "10.1.2.3"),
        ("*.example.org", "mail.anexample.org"),
        ("*.example.org", "example.org.example.net"),
        ("10.1.2.4", "mail.example.org"),
        ("192.168.0.0/16", "mail.example.org"),
        ("::1", "127.0.0.1"),
        ("127.0.0.1", "127.0.0.2"),
        ("127.0.0.1", "::1"),
    ],
)
async def test_what_the_operator_lets_in_lets_in_nothing_else(entry: str, server: str, connections: list[str]) -> None:
    with pytest.raises(MailFailure) as raised:
        await reach(HostPolicy([entry], lookup=Lookup(["10.1.2.3"])), server)
    assert raised.value.kind is ErrorCode.HOST_NOT_ALLOWED
    assert connections == []


@pytest.mark.parametrize(
    ("entry", "server"),
    [("127.0.0.1", "127.1"), ("127.0.0.0/8", "::ffff:127.0.0.1"), ("localhost", "localhost"), ("::1", "[::1]")],
)
def test_what_the_operator_lets_in_may_be_spelled_in_any_way(entry: str, server: str) -> None:
    HostPolicy([entry]).permit(server, 993)


@pytest.mark.parametrize("entry", ["", "10.0.0.0/33", "a/b", "1.2.3", "[", "http://mail.example.org"])
def test_an_entry_that_means_nothing_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="neither"):
        HostPolicy([entry])


# ------------------------------------------------------------------------------------------------------------- ports


@pytest.mark.parametrize("port", [1, 22, 80, 443, 3306, 5432, 6379, 8080, 11211, 27017, 65535])
async def test_what_is_no_port_of_mail_is_refused(port: int, connections: list[str]) -> None:
    with pytest.raises(MailFailure) as raised:
        await reach(HostPolicy(), PUBLIC, port)
    assert raised.value.kind is ErrorCode.HOST_NOT_ALLOWED
    assert raised.value.field == ("port",)
    assert connections == []


@pytest.mark.parametrize("port", [25, 143, 465, 587, 993, 2525])
def test_ports_of_mail(port: int) -> None:
    HostPolicy().permit(PUBLIC, port)


def test_the_operator_says_which_ports_are_of_mail() -> None:
    hosts = HostPolicy(ports={10_993})
    hosts.permit(PUBLIC, 10_993)
    with pytest.raises(MailFailure):
        hosts.permit(PUBLIC, 993)


@pytest.mark.parametrize(
    ("value", "ports"),
    [
        ("10996", {10_996}),
        ("25,465,10996", {25, 465, 10_996}),
        ("+10996", MAIL_PORTS | {10_996}),
        ("+10996, +10997", MAIL_PORTS | {10_996, 10_997}),
        (" + 8025-8027,10996", MAIL_PORTS | {8_025, 8_026, 8_027, 10_996}),
        ("+25", MAIL_PORTS),
        ("25,465,+10996", {25, 465, 10_996}),
    ],
)
def test_ports_are_added_or_replaced(value: str, ports: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMAIL_INBOX_MAIL_PORTS", value)
    assert read_settings().mail_ports == frozenset(ports)


@pytest.mark.parametrize("value", ["+", "+0", "25,++1", "+-1", "++1", "+65536", "+25-", "smtp", "+smtp", ","])
def test_ports_that_are_none(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMAIL_INBOX_MAIL_PORTS", value)
    with pytest.raises(StartError, match=r"EMAIL_INBOX_MAIL_PORTS: must be ports .* \+2526"):
        read_settings()


async def test_the_hint_of_a_port_does_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """And takes no port away from the inboxes that are there."""
    with pytest.raises(MailFailure) as raised:
        await HostPolicy().admit(PUBLIC, 10_996)
    assert raised.value.field == ("port",)
    value, name = str(raised.value.hint).partition(" add ")[2].rstrip(".").split(" to ")
    monkeypatch.setenv(name, value)
    hosts = Mail.of(ports=read_settings().mail_ports).hosts
    for port in (10_996, *MAIL_PORTS):
        await hosts.admit(PUBLIC, port)


@pytest.mark.parametrize("server", ["10.0.0.1", "localhost", "mail.internal"])
async def test_host_and_port_are_told_together(server: str, connections: list[str]) -> None:
    """And what the hint says lets both through."""

    async def lookup(name: str) -> Sequence[str]:
        return ["10.0.0.1"]

    with pytest.raises(MailFailure) as raised:
        await HostPolicy(lookup=lookup).admit(server, 10_996)
    assert raised.value.kind is ErrorCode.HOST_NOT_ALLOWED
    assert raised.value.field == ("server",)
    for text in (str(raised.value), str(raised.value.hint)):
        assert server in text
        assert "10996" in text
    assert f"add {server} to EMAIL_INBOX_MAIL_HOSTS_ALLOW, and +10996 to" in str(raised.value.hint)
    await HostPolicy([server], MAIL_PORTS | {10_996}, lookup).admit(server, 10_996)
    assert connections == []


@pytest.mark.parametrize("answer", [[], ["93.184.216.34"], OSError(), None])
async def test_a_name_of_which_nothing_is_known_hides_no_port(
    answer: list[str] | OSError | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail.hosts, "LOOKUP_SECONDS", 0.05)

    async def lookup(_: str) -> Sequence[str]:
        if answer is None:
            await asyncio.Event().wait()
        if isinstance(answer, OSError):
            raise answer
        return answer or []

    with pytest.raises(MailFailure) as raised:
        await HostPolicy(lookup=lookup).admit("mail.example.org", 10_996)
    assert raised.value.field == ("port",)


# --------------------------------------------------------------------------------------------------- random spellings

INSIDE_4: list[IPNetwork] = [
    *map(IPv4Network, ("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16")),
    *map(IPv4Network, ("172.16.0.0/12", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4")),
]
INSIDE_6: list[IPNetwork] = [
    *map(IPv6Network, ("::/96", "fc00::/7", "fe80::/10", "ff00::/8", "2002:7f00::/24", "2001:db8::/32")),
]
OUTSIDE_4: list[IPNetwork] = [
    *map(IPv4Network, ("1.1.1.0/24", "8.8.0.0/16", "93.184.0.0/16", "126.0.0.0/8", "193.0.0.0/9"))
]


@st.composite
def within(draw: st.DrawFn, networks: list[IPNetwork]) -> IPAddress:
    network = draw(st.sampled_from(networks))
    return network[draw(st.integers(0, network.num_addresses - 1))]


def spelled(address: IPAddress, chance: Random) -> str:
    """Any of the ways in which a resolver would take it."""
    if isinstance(address, IPv6Address):
        text = chance.choice([str(address), address.exploded])
    else:
        ways: list[Callable[[IPv4Address, Random], str]] = [dotted, mapped, translated]
        text = chance.choice(ways)(address, chance)
    text = chance.choice([text, text.upper(), text.replace("X", "x")])
    if ":" in text:
        return chance.choice([text, f"[{text}]", f" {text}"])
    return wide(chance.choice([text, f"{text}.", f"{text} "]), chance)


def dotted(address: IPv4Address, chance: Random) -> str:
    """One to four numbers, each in base 8, 10 or 16: the last stands for all bytes that are left."""
    parts = chance.randint(1, 4)
    numbers = [*address.packed[: parts - 1], int.from_bytes(address.packed[parts - 1 :])]
    return ".".join(chance.choice([f"{number}", f"{number:#x}", f"0{number:o}"]) for number in numbers)


def mapped(address: IPv4Address, chance: Random) -> str:
    text = f"::ffff:{address}"
    return chance.choice([text, str(IPv6Address(text)), IPv6Address(text).exploded])


def translated(address: IPv4Address, chance: Random) -> str:
    return f"64:ff9b::{address}"


def wide(text: str, chance: Random) -> str:
    """Some of its digits and dots in full width, which names are looked up without."""
    if chance.random() < 0.7:
        return text
    return "".join(chr(ord(one) + 0xFEE0) if one in "0123456789." and chance.random() < 0.5 else one for one in text)


@settings(max_examples=1_000, deadline=None)
@given(within(INSIDE_4) | within(INSIDE_6), st.randoms(use_true_random=False))
def test_no_spelling_of_an_inner_address_gets_by(address: IPAddress, chance: Random) -> None:
    with pytest.raises(MailFailure) as raised:
        HostPolicy().permit(spelled(address, chance), 993)
    assert raised.value.kind is ErrorCode.HOST_NOT_ALLOWED


@settings(max_examples=300, deadline=None)
@given(within(OUTSIDE_4), st.randoms(use_true_random=False))
def test_every_spelling_of_a_public_address_gets_by(address: IPv4Address, chance: Random) -> None:
    HostPolicy().permit(spelled(address, chance), 993)


@settings(max_examples=500, deadline=None)
@given(st.text(max_size=60) | st.text("0123456789abcdefxX.:%[]/@ ", max_size=40))
def test_any_text_is_permitted_or_refused(text: str) -> None:
    """Never anything else."""
    with suppress(MailFailure):
        HostPolicy().permit(text, 993)
