"""Guessing is slowed by user and by the network of whoever guesses, and many logins keep nobody else waiting."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, nullcontext
from typing import Any

import argon2
import httpx
import pytest
from limits import parse

from models import password
from models.errors import RateLimited
from resolvers import mail_limits
from resolvers.throttle import FAILED_LOGINS_PER_USER, FAILURES_PER_NETWORK, LOGINS_PER_USER, Throttle
from resolvers.windows import MovingWindows, network_of
from settings import Settings
from tests.process import PLAIN
from tests.running import ADMIN_HEADERS, ADMIN_ID, Running, client_of
from tests.sockets import listening
from tests.users import PASSWORD, ask, codes, make_user

LOGIN = """
    mutation ($username: String!, $password: String!) {
        login(username: $username, password: $password) { success userErrors { code } }
    }
"""
LIMITED, WRONG, RIGHT = "limited", "wrong", "right"
Login = Callable[[httpx.AsyncClient, str, str], Any]


async def over_graphql(client: httpx.AsyncClient, name: str, word: str) -> str:
    body = await ask(client, LOGIN, username=name, password=word)
    if codes(body):
        assert codes(body) in (["RATE_LIMITED"], ["SERVICE_UNAVAILABLE"])
        return LIMITED
    payload = body["data"]["login"]
    assert payload["success"] or [error["code"] for error in payload["userErrors"]] == ["AUTHENTICATION_FAILED"]
    return RIGHT if payload["success"] else WRONG


async def over_rest(client: httpx.AsyncClient, name: str, word: str) -> str:
    answer = await client.post("/api/v1/login", json={"user": name, "password": word})
    return {200: RIGHT, 401: WRONG, 429: LIMITED, 503: LIMITED}[answer.status_code]


@pytest.fixture(params=[over_graphql, over_rest])
def login(request: pytest.FixtureRequest) -> Login:
    found: Login = request.param
    return found


# ---------------------------------------------------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::ffff:c000:0201", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("unix", "unix"),
        ("x" * 1_000_000, "x" * 64),
        ("fe80::1%" + "z" * 1_000_000, ("fe80::1%" + "z" * 64)[:64]),
    ],
)
def test_an_address_is_counted_by_the_network_of_one_customer(address: str, network: str) -> None:
    found = network_of(address)
    assert found == network or (found == "fe80::/64" and address.startswith("fe80"))


async def test_ipv6_addresses_of_one_network_are_one_guesser(server: Running, login: Login) -> None:
    await make_user(server, "ada", password=PASSWORD)
    for number in range(FAILED_LOGINS_PER_USER.amount):
        assert await login(client_of(server.app, {}, f"2001:db8::{number}"), "ada", "guess") == WRONG
    assert await login(client_of(server.app, {}, "2001:db8::ffff:1"), "ada", PASSWORD) == LIMITED
    assert await login(client_of(server.app, {}, "2001:db8:0:1::1"), "ada", PASSWORD) == RIGHT
    assert await login(client_of(server.app, {}, "::ffff:192.0.2.1"), "ada", "guess") == WRONG
    for _ in range(FAILED_LOGINS_PER_USER.amount - 1):
        assert await login(client_of(server.app, {}, "192.0.2.1"), "ada", "guess") == WRONG
    assert await login(client_of(server.app, {}, "::ffff:192.0.2.1"), "ada", PASSWORD) == LIMITED


# -------------------------------------------------------------------------------------------------------------- users


@pytest.mark.parametrize("name", ["ada", "nobody"])
async def test_every_spelling_of_a_name_is_one_whether_or_not_it_is_somebodys(
    server: Running, login: Login, name: str
) -> None:
    await make_user(server, "ada", password=PASSWORD)
    for spelling in (name, name.upper(), name.title(), "".join(chr(ord(one) + 0xFEE0) for one in name), name):
        assert await login(server.as_caller(), spelling, "guess") == WRONG
    assert await login(server.as_caller(), name, "guess") == LIMITED


@pytest.mark.parametrize("name", ["ada", "nobody"])
async def test_who_guesses_by_another_name_of_the_user_is_told_what_a_stranger_is_told(
    server: Running, login: Login, name: str
) -> None:
    await make_user(server, "ada", email="ada@bücher.example", password=PASSWORD)
    client = server.as_caller()
    for _ in range(FAILED_LOGINS_PER_USER.amount):
        assert await login(client, name, "guess") == WRONG
    # Neither an answer nor a count may tell that both names are of one user; the right password is none then.
    answers = [
        await login(client, f"{name}@bücher.example", PASSWORD) for _ in range(FAILED_LOGINS_PER_USER.amount - 1)
    ]
    answers.append(await login(client, f"{name.upper()}@xn--bcher-kva.example", PASSWORD))
    assert answers == [WRONG] * FAILED_LOGINS_PER_USER.amount
    assert await login(client, f"{name}@bücher.example", PASSWORD) == LIMITED
    elsewhere = client_of(server.app, {}, "127.0.0.2")
    assert await login(elsewhere, "ada@bücher.example", PASSWORD) == RIGHT


async def test_right_logins_count_too(server: Running, login: Login) -> None:
    await make_user(server, "ada", password=PASSWORD)
    answers = [await login(server.as_caller(), "ada", PASSWORD) for _ in range(LOGINS_PER_USER.amount + 1)]
    assert answers == [RIGHT] * LOGINS_PER_USER.amount + [LIMITED]
    assert await login(client_of(server.app, {}, "127.0.0.2"), "ada", PASSWORD) == RIGHT


@pytest.mark.parametrize("name", ["ada", "nobody", "tokens-only", "disabled"])
async def test_whoever_it_is_one_password_is_verified(
    server: Running, login: Login, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The time that it takes must not tell whether there is such a user: the same work is done."""
    await make_user(server, "ada", password=PASSWORD)
    await make_user(server, "tokens-only")
    disabled = await make_user(server, "disabled", password=PASSWORD)
    await server.graphql(
        "mutation ($id: ID!) { updateUser(input: { id: $id, active: false }) { success } }", id=disabled
    )
    hasher, verified = password._HASHER, []

    class Counting:
        def verify(self, stored: str, word: str) -> bool:
            verified.append((argon2.extract_parameters(stored), word))
            return hasher.verify(stored, word)

    monkeypatch.setattr(password, "_HASHER", Counting())
    assert await login(server.as_caller(), name, "guess") == WRONG
    expected = argon2.extract_parameters(hasher.hash("x"))
    assert verified == [(expected, "guess")]


def test_ever_new_names_and_addresses_take_no_more_memory() -> None:
    counts = MovingWindows(parse("5/minute"), keys=100)
    for number in range(10_000):
        counts.count(number)
    assert len(counts._moments) == 100
    assert counts.wait(9_999) == 0
    for _ in range(5):
        counts.count("one")
    assert 0 < counts.wait("one") <= 60
    assert counts.wait("another") == 0


# ------------------------------------------------------------------------------------------------------------- tokens


async def guess(client: httpx.AsyncClient, count: int) -> list[int]:
    return [(await client.get("/api/v1/me")).status_code for _ in range(count)]


async def test_too_many_wrong_tokens_are_hardly_looked_up(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up = _count_look_ups(server, monkeypatch)
    guesser = server.as_caller(Authorization="Bearer guess")
    assert await guess(guesser, FAILURES_PER_NETWORK.amount) == [401] * FAILURES_PER_NETWORK.amount
    assert set(await guess(guesser, 300)) == {429}
    assert FAILURES_PER_NETWORK.amount < len(looked_up) < FAILURES_PER_NETWORK.amount + 100


def _count_look_ups(server: Running, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    database, looked_up = server.context.database, []
    find = database.find

    async def counting(prepared: Any, **values: Any) -> Any:
        if "digest" in values:
            looked_up.append(values["digest"])
        return await find(prepared, **values)

    monkeypatch.setattr(database, "find", counting)
    return looked_up


@pytest.mark.parametrize("seen_before", [True, False])
async def test_a_right_token_passes_beside_a_flood_of_wrong_ones(server: Running, seen_before: bool) -> None:
    if seen_before:
        assert await guess(server.client, 1) == [200]
    guesser = server.as_caller(Authorization="Bearer guess")
    await guess(guesser, 2 * FAILURES_PER_NETWORK.amount)
    flood = asyncio.create_task(guess(guesser, 200))
    assert await guess(server.client, 25) == [200] * 25
    assert set(await flood) == {429}


async def test_who_tries_users_one_after_the_other_is_slowed_too(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up = _count_look_ups(server, monkeypatch)
    for number in range(FAILURES_PER_NETWORK.amount + 300):
        await guess(server.as_caller(**{"X-User-Id": f"user{number}", "X-Auth-Token": "guess"}), 1)
    assert len(looked_up) < FAILURES_PER_NETWORK.amount + 200


async def test_a_token_that_was_right_and_is_no_longer_is_slowed_as_any(server: Running) -> None:
    authenticator = server.app.state.authenticator
    await guess(server.client, 1)
    assert len(authenticator._valid_digests) == 1
    await server.graphql("mutation { logout { success } }")
    assert await guess(server.client, 1) == [401]
    assert not authenticator._valid_digests


async def test_wrong_tokens_keep_nobody_from_logging_in(server: Running, login: Login) -> None:
    await make_user(server, "ada", password=PASSWORD)
    await guess(server.as_caller(Authorization="Bearer guess"), 2 * FAILURES_PER_NETWORK.amount)
    assert await login(server.as_caller(), "ada", PASSWORD) == RIGHT


async def test_a_wrong_token_does_not_lock_the_user_out_elsewhere() -> None:
    counts = Throttle()
    for _ in range(FAILURES_PER_NETWORK.amount):
        counts.token_failed("192.0.2.1")
    with pytest.raises(RateLimited):
        counts.token_failed("192.0.2.1")
    for _ in range(100):
        counts.look_up("192.0.2.2", ADMIN_ID)


# ------------------------------------------------------------------------------------------------- many logins at once

LOGINS, READS = 80, 25
HASHING_SECONDS = 0.05


class SlowHasher(argon2.PasswordHasher):
    """Takes its time, as hashing does, but no processor."""

    def verify(self, *given: Any) -> Any:
        time.sleep(HASHING_SECONDS)
        return super().verify(*given)


@pytest.fixture
async def busy(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Running, str]]:
    """A server with a user who has a password, and its address."""
    async with listening(settings) as (server, url):
        await make_user(server, "ada", password=PASSWORD)
        monkeypatch.setattr(password, "_HASHER", SlowHasher(time_cost=1, memory_cost=8, parallelism=1))
        yield server, url.replace("ws", "http", 1).removesuffix("/graphql")


@pytest.mark.parametrize("addresses", [LOGINS, 1], ids=["from many addresses", "from one"])
@pytest.mark.parametrize("word", [PASSWORD, "guess"], ids=["right", "wrong"])
async def test_many_logins_at_once_keep_no_reader_waiting(
    busy: tuple[Running, str], login: Login, addresses: int, word: str
) -> None:
    _, url = busy
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(_client_from(url, f"127.0.1.{1 + number % addresses}"))
            for number in range(LOGINS)
        ]
        reader = httpx.AsyncClient(base_url=url, headers=ADMIN_HEADERS, timeout=30, verify=PLAIN)
        await stack.enter_async_context(reader)
        logins = [asyncio.create_task(login(client, "ada", word)) for client in clients]
        async with asyncio.timeout(30):
            while not _is_hashing(busy[0]):  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0)
        statuses = [(await reader.get("/api/v1/me")).status_code for _ in range(READS)]
        outcomes = await asyncio.gather(*logins)
    assert statuses == [200] * READS
    expected = RIGHT if word == PASSWORD else WRONG
    assert set(outcomes) == {expected, LIMITED}
    assert outcomes.count(expected) <= (mail_limits.MAX_RUNNING_HASHES + mail_limits.MAX_WAITING_LOGINS) * 3
    assert busy[0].app.state.load.working == 0


def _is_hashing(server: Running) -> bool:
    places: Any = getattr(server.context.mail_quota, "logins", None)
    return places is None or places._entered >= mail_limits.MAX_RUNNING_HASHES


def _client_from(url: str, address: str) -> httpx.AsyncClient:
    transport = httpx.AsyncHTTPTransport(verify=PLAIN, local_address=address)
    return httpx.AsyncClient(base_url=url, transport=transport, timeout=60)


async def test_a_login_too_many_is_refused_before_it_waits(busy: tuple[Running, str], login: Login) -> None:
    server, url = busy
    for _ in range(LOGINS_PER_USER.amount):
        server.context.throttle.login("127.0.0.1", "ada")
    async with AsyncExitStack() as stack:
        for _ in range(mail_limits.MAX_RUNNING_HASHES):
            await stack.enter_async_context(server.context.mail_quota.logins.slot(nullcontext))
        async with _client_from(url, "127.0.0.1") as client, asyncio.timeout(10):
            assert await login(client, "ada", PASSWORD) == LIMITED


async def test_passwords_that_are_set_wait_in_a_queue_of_their_own(server: Running, login: Login) -> None:
    await make_user(server, "ada", password=PASSWORD)
    async with AsyncExitStack() as stack:
        for _ in range(mail_limits.MAX_RUNNING_HASHES):
            await stack.enter_async_context(server.context.mail_quota.passwords.slot(nullcontext))
        setting = [
            asyncio.create_task(make_user(server, f"u{number}", password=PASSWORD))
            for number in range(mail_limits.MAX_WAITING_PASSWORDS)
        ]
        async with asyncio.timeout(30):
            room = mail_limits.MAX_RUNNING_HASHES + mail_limits.MAX_WAITING_PASSWORDS
            while server.context.mail_quota.passwords._entered < room:  # noqa: ASYNC110
                await asyncio.sleep(0)
        assert server.app.state.load.working == 0
        values = {"username": "more", "permissions": [], "password": PASSWORD}
        body = await server.graphql(
            "mutation ($input: CreateUserInput!) { createUser(input: $input) { success } }", input=values
        )
        assert codes(body) == ["SERVICE_UNAVAILABLE"]
        assert await login(server.as_caller(), "ada", PASSWORD) == RIGHT
    await asyncio.gather(*setting)
