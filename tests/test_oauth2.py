"""Access tokens: fetched once, kept while they are good, and why none is given told apart."""

import asyncio
import gc
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from mail import oauth2
from mail.hosts import HostPolicy
from mail.oauth2 import MAX_TOKEN_CHARACTERS, AccessTokens
from mail.tls import Trust
from models.account import Grant, StoredGrant
from models.config import MAIL_PORTS
from models.errors import ErrorCode, MailFailure
from models.secrets import Secret
from tests.mail.addresses import At
from tests.mail.certificates import Certificates
from tests.mail.token_endpoint import CLIENT_ID, CLIENT_SECRET, TokenEndpoint

USER = "support@example.test"
CANARY = "canary-of-the-endpoint"
Answer = tuple[int, bytes]


@dataclass
class Clock:
    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class World:
    """An endpoint, a consent of its user's, and whoever fetches tokens for it."""

    endpoint: TokenEndpoint
    tokens: AccessTokens
    clock: Clock
    grant: Grant

    async def token(self, grant: Grant | None = None) -> str:
        return (await self.tokens.token(grant or self.grant)).reveal()

    async def failure(self, grant: Grant | None = None) -> MailFailure:
        """Why there is none: with a field and a hint, and without a word of the endpoint's or a secret."""
        with pytest.raises(MailFailure) as raised:
            await self.token(grant)
        found = raised.value
        assert found.hint
        for secret in (CANARY, self.grant.refresh_token.reveal(), CLIENT_SECRET):
            assert secret not in f"{found} {found!r} {found.hint}"
        return found

    def answers(self, answer: Callable[[dict[str, str]], Answer]) -> None:
        """From now on the endpoint answers this; what it is asked is counted all the same."""

        def counted(form: dict[str, str]) -> Answer:
            self.endpoint.calls.append(form)
            return answer(form)

        self.endpoint.answer = counted

    def answers_with(self, status: int = 200, **values: Any) -> None:
        self.answers(lambda _form: (status, json.dumps(values).encode()))


@pytest.fixture(scope="module")
def endpoint(certificates: Certificates) -> Iterator[TokenEndpoint]:
    with TokenEndpoint(certificates.server_context()) as started:
        yield started


@pytest.fixture
async def world(endpoint: TokenEndpoint, certificates: Certificates) -> AsyncIterator[World]:
    endpoint.forget()
    clock = Clock()
    hosts = HostPolicy(["127.0.0.1", "localhost"], MAIL_PORTS | {endpoint.port})
    tokens = AccessTokens(hosts, Trust(certificates.ca_file), clock)
    refresh_token = Secret(endpoint.consent(USER))
    yield World(endpoint, tokens, clock, Grant(endpoint.url, CLIENT_ID, Secret(CLIENT_SECRET), refresh_token))
    endpoint.released.set()
    await tokens.finish()


# ------------------------------------------------------------------------------------------------------- fetching


async def test_a_token_is_asked_for_as_the_standard_says(world: World) -> None:
    assert await world.token(replace(world.grant, scope="mail other")) == f"access-1-{USER}"
    assert world.endpoint.calls == [
        {
            "grant_type": "refresh_token",
            "refresh_token": world.grant.refresh_token.reveal(),
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "scope": "mail other",
        }
    ]


async def test_what_a_grant_does_not_hold_is_not_sent(world: World) -> None:
    world.answers_with(access_token="a")
    await world.token(replace(world.grant, client_secret=None))
    assert set(world.endpoint.calls[0]) == {"grant_type", "refresh_token", "client_id"}
    assert "scope" not in oauth2._form(world.grant), "an empty field would be lost in the endpoint of the tests"


async def test_a_token_prints_itself_as_nothing(world: World) -> None:
    token = await world.tokens.token(world.grant)
    assert str(token) == repr(token) == "***"


# -------------------------------------------------------------------------------------------------------- keeping


async def test_a_token_is_kept_until_shortly_before_it_ends(world: World) -> None:
    world.endpoint.seconds = 3_600
    first = await world.token()
    world.clock.now += 3_600 - oauth2.EXPIRY_MARGIN_SECONDS - 1
    assert await world.token() == first
    world.clock.now += 2
    assert await world.token() != first
    assert len(world.endpoint.calls) == 2


@pytest.mark.parametrize(
    ("expires_in", "seconds"),
    [
        (3_600, 3_540),
        ("3600", 3_540),
        (40, 20),
        (None, oauth2.DEFAULT_LIFETIME_SECONDS - oauth2.EXPIRY_MARGIN_SECONDS),
        ("soon", oauth2.DEFAULT_LIFETIME_SECONDS - oauth2.EXPIRY_MARGIN_SECONDS),
        ([], oauth2.DEFAULT_LIFETIME_SECONDS - oauth2.EXPIRY_MARGIN_SECONDS),
        (10**12, oauth2.MAX_LIFETIME_SECONDS - oauth2.EXPIRY_MARGIN_SECONDS),
        ("inf", oauth2.MAX_LIFETIME_SECONDS - oauth2.EXPIRY_MARGIN_SECONDS),
    ],
)
async def test_how_long_a_token_is_good(expires_in: Any, seconds: float, world: World) -> None:
    world.answers_with(access_token="a", **({} if expires_in is None else {"expires_in": expires_in}))
    await world.token()
    world.clock.now += seconds - 0.5
    await world.token()
    assert len(world.endpoint.calls) == 1
    world.clock.now += 1
    await world.token()
    assert len(world.endpoint.calls) == 2


@pytest.mark.parametrize("expires_in", [0, -1, "-inf", "nan"])
async def test_a_token_that_has_ended_already_is_used_once(expires_in: Any, world: World) -> None:
    world.answers_with(access_token="a", expires_in=expires_in)
    assert [await world.token(), await world.token()] == ["a", "a"]
    assert len(world.endpoint.calls) == 2


@pytest.mark.parametrize(
    "other",
    [
        {"token_url": "https://localhost:{port}/other"},
        {"client_id": "other"},
        {"client_secret": Secret("other")},
        {"client_secret": None},
        {"refresh_token": Secret("other")},
        {"scope": "other"},
    ],
    ids=lambda other: next(iter(other)),
)
async def test_a_token_is_for_its_grant_alone(other: dict[str, Any], world: World) -> None:
    """What one inbox was given must never log another in."""
    world.answers_with(access_token="first")
    assert await world.token() == "first"
    world.answers_with(access_token="second")
    values = {
        name: value.format(port=world.endpoint.port) if name == "token_url" else value for name, value in other.items()
    }
    assert await world.token(replace(world.grant, **values)) == "second"
    assert await world.token() == "first"


async def test_a_grant_that_says_the_same_is_the_same(world: World) -> None:
    first = await world.token()
    secret, refresh_token = Secret(CLIENT_SECRET), Secret(world.grant.refresh_token.reveal())
    assert await world.token(replace(world.grant, client_secret=secret, refresh_token=refresh_token)) == first


async def test_a_token_that_a_mail_server_refused_is_forgotten(world: World) -> None:
    first = await world.tokens.token(world.grant)
    world.tokens.forget(world.grant)
    second = await world.tokens.token(world.grant)
    assert second.reveal() != first.reveal()
    world.tokens.forget(world.grant, first)
    assert await world.tokens.token(world.grant) is second
    world.tokens.forget(world.grant, second)
    assert (await world.tokens.token(world.grant)).reveal() != second.reveal()


async def test_grants_without_end_are_not_kept_without_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oauth2, "GRANTS", 3)
    tokens = AccessTokens(world.tokens._hosts, world.tokens._trust)
    world.answers_with(access_token="a")
    for number in range(6):
        await tokens.token(replace(world.grant, scope=str(number)))
    assert len(tokens._consents) == 3


async def test_no_secret_is_a_key(world: World) -> None:
    await world.token()
    keys = str(list(world.tokens._consents))
    assert world.grant.refresh_token.reveal() not in keys
    assert CLIENT_SECRET not in keys
    assert world.grant.refresh_token.reveal() not in repr(vars(world.tokens))


# ------------------------------------------------------------------------------------------------------ many at once


@dataclass
class Gate:
    """Holds the endpoint's answers back until it is opened."""

    world: World
    came: threading.Event
    opened: threading.Event

    @classmethod
    def before(cls, world: World, answer: Callable[[dict[str, str]], Answer] | None = None) -> "Gate":
        gate = cls(world, threading.Event(), threading.Event())
        answer = answer or world.endpoint.grant

        def held(form: dict[str, str]) -> Answer:
            gate.came.set()
            gate.opened.wait(10)
            return answer(form)

        world.endpoint.answer = held
        return gate

    async def reached(self) -> None:
        assert await asyncio.to_thread(self.came.wait, 10)


async def test_however_many_ask_it_is_fetched_once(world: World) -> None:
    gate = Gate.before(world)
    asking = [asyncio.create_task(world.token()) for _ in range(50)]
    await gate.reached()
    gate.opened.set()
    assert set(await asyncio.gather(*asking)) == {f"access-1-{USER}"}
    assert len(world.endpoint.calls) == 1


async def test_grants_do_not_wait_for_each_other(world: World) -> None:
    gate = Gate.before(world)
    held = asyncio.create_task(world.token())
    await gate.reached()
    world.answers_with(access_token="other")
    assert await world.token(replace(world.grant, scope="other")) == "other"
    assert not held.done()
    gate.opened.set()
    await held


async def test_whoever_stops_asking_takes_it_from_nobody(world: World) -> None:
    gate = Gate.before(world)
    first = asyncio.create_task(world.token())
    await gate.reached()
    second = asyncio.create_task(world.token())
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    gate.opened.set()
    assert await second == f"access-1-{USER}"
    assert len(world.endpoint.calls) == 1


async def test_a_failure_is_everybodys_and_is_not_kept(world: World) -> None:
    gate = Gate.before(world, lambda _form: (503, b""))
    asking = [asyncio.create_task(world.failure()) for _ in range(5)]
    await gate.reached()
    gate.opened.set()
    assert {found.kind for found in await asyncio.gather(*asking)} == {ErrorCode.PROTOCOL_ERROR}
    world.endpoint.answer = world.endpoint.grant
    assert await world.token() == f"access-1-{USER}"


async def test_a_failure_that_nobody_waits_for_is_no_fault(world: World) -> None:
    """asyncio would complain of an exception that was never retrieved."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
    gate = Gate.before(world, lambda _form: (503, b""))
    asking = asyncio.create_task(world.token())
    await gate.reached()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    gate.opened.set()
    await asyncio.wait(world.tokens._tasks)  # which retrieves nothing
    world.tokens._consents.clear()
    gc.collect()
    assert complaints == []


# ---------------------------------------------------------------------------------------------------------- rotation


async def test_a_rotated_refresh_token_is_used_from_then_on(world: World) -> None:
    world.endpoint.rotates()
    for _ in range(4):
        world.tokens.forget(world.grant)
        await world.token()
    sent = [call["refresh_token"] for call in world.endpoint.calls]
    assert len(set(sent)) == 4
    assert world.endpoint.refresh_tokens.keys().isdisjoint(sent)


async def test_it_is_stored_before_the_access_token_is_handed_out(world: World) -> None:
    world.endpoint.rotates()
    storing, stored = asyncio.Event(), asyncio.Event()
    told: list[tuple[str, str]] = []

    async def store(grant: Grant, rotated: Secret) -> None:
        storing.set()
        await stored.wait()
        told.append((grant.refresh_token.reveal(), rotated.reveal()))

    world.tokens.on_rotation = store
    asking = asyncio.create_task(world.token())
    await storing.wait()
    assert not asking.done()
    stored.set()
    await asking
    assert told == [(world.grant.refresh_token.reveal(), next(iter(world.endpoint.refresh_tokens)))]


async def test_the_stored_one_is_the_same_consent(world: World) -> None:
    """Whether somebody slow asks with the old one, or somebody who has read it with the new one."""
    world.endpoint.rotates()
    first = await world.token()
    new = replace(world.grant, refresh_token=Secret(next(iter(world.endpoint.refresh_tokens))))
    assert await world.token(new) == first
    world.tokens.forget(new)
    second = await world.token(world.grant)
    assert second != first
    assert await world.token(new) == second
    assert len(world.endpoint.calls) == 2


async def test_whoever_stops_asking_does_not_lose_it(world: World) -> None:
    world.endpoint.rotates()
    storing, stored, kept = asyncio.Event(), asyncio.Event(), list[str]()

    async def store(_grant: Grant, rotated: Secret) -> None:
        storing.set()
        await stored.wait()
        kept.append(rotated.reveal())

    world.tokens.on_rotation = store
    asking = asyncio.create_task(world.token())
    await storing.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    stored.set()
    await world.tokens.finish()
    assert kept == list(world.endpoint.refresh_tokens)


async def test_one_that_can_not_be_stored_is_used_all_the_same(world: World) -> None:
    world.endpoint.rotates()

    async def store(_grant: Grant, rotated: Secret) -> None:
        raise OSError(f"no space for {rotated.reveal()}")

    world.tokens.on_rotation = store
    with capture_logs() as logs:
        await world.token()
        world.tokens.forget(world.grant)
        await world.token()
    assert [entry["event"] for entry in logs] == ["refresh token not stored"] * 2
    for secret in (*world.endpoint.refresh_tokens, world.grant.refresh_token.reveal()):
        assert secret not in str(logs)


async def test_what_could_not_be_stored_is_stored_at_the_next_asking(world: World) -> None:
    world.endpoint.rotates()
    told = []

    async def store(grant: Grant, rotated: Secret) -> None:
        told.append((grant.refresh_token.reveal(), rotated.reveal()))
        if len(told) == 1:
            raise OSError

    world.tokens.on_rotation = store
    first = await world.token()
    assert await world.token() == first
    newest = next(iter(world.endpoint.refresh_tokens))
    assert told == [(world.grant.refresh_token.reveal(), newest)] * 2
    await world.token(replace(world.grant, refresh_token=Secret(newest)))
    assert len(told) == 2
    assert len(world.endpoint.calls) == 1


async def test_it_is_stored_for_all_who_hold_the_old_one(world: World) -> None:
    """Two inboxes may hold one consent under two names. Where they have one name, one storing serves both."""
    told = []

    async def store(grant: Grant, _rotated: Secret) -> None:
        assert grant.origin
        told.append(grant.origin.consent_id)

    world.tokens.on_rotation = store
    world.endpoint.rotates()
    origins = [StoredGrant("a", "smtp", "first"), StoredGrant("a", "imap", "first"), StoredGrant("b", "imap", "second")]
    await asyncio.gather(*(world.token(replace(world.grant, origin=origin)) for origin in origins))
    assert sorted(told) == ["first", "second"]
    assert len(world.endpoint.calls) == 1


async def test_it_is_asked_for_with_what_another_process_has_stored(world: World) -> None:
    world.endpoint.rotates()
    others = Secret(world.endpoint.consent(USER))
    stored: list[tuple[str, str]] = []

    @asynccontextmanager
    async def alone(grant: Grant) -> AsyncIterator[Grant]:
        yield replace(grant, refresh_token=others)
        assert stored, "it is to be stored before anybody else may ask"

    async def store(grant: Grant, rotated: Secret) -> None:
        stored.append((grant.refresh_token.reveal(), rotated.reveal()))

    world.tokens.alone, world.tokens.on_rotation = alone, store
    await world.token()
    [call] = world.endpoint.calls
    assert call["refresh_token"] == others.reveal() == stored[0][0]
    world.tokens.forget(world.grant)
    await world.token()
    assert world.endpoint.calls[1]["refresh_token"] == stored[0][1], "what is newer than the store goes before it"


@pytest.mark.parametrize("refresh_token", ["", "a b", "a\r\nb", 5, None, "x" * (MAX_TOKEN_CHARACTERS + 1)])
async def test_a_rotated_one_that_is_none_replaces_nothing(refresh_token: Any, world: World) -> None:
    world.answers_with(access_token="a", refresh_token=refresh_token, expires_in=0)
    await world.token()
    await world.token()
    assert {call["refresh_token"] for call in world.endpoint.calls} == {world.grant.refresh_token.reveal()}


async def test_the_same_one_again_is_no_rotation(world: World) -> None:
    async def store(_grant: Grant, _rotated: Secret) -> None:
        raise AssertionError("nothing is to be stored")

    world.tokens.on_rotation = store
    world.answers_with(access_token="a", refresh_token=world.grant.refresh_token.reveal())
    with capture_logs() as logs:
        await world.token()
    assert logs == []


# ----------------------------------------------------------------------------------------------------------- failures


@pytest.mark.parametrize(
    ("status", "error", "kind", "name"),
    [
        (400, "invalid_grant", ErrorCode.CONSENT_REQUIRED, "refreshToken"),
        (403, "invalid_grant", ErrorCode.CONSENT_REQUIRED, "refreshToken"),
        (200, "invalid_grant", ErrorCode.CONSENT_REQUIRED, "refreshToken"),
        (400, "interaction_required", ErrorCode.CONSENT_REQUIRED, "refreshToken"),
        (401, "invalid_client", ErrorCode.AUTHENTICATION_FAILED, "clientSecret"),
        (400, "unauthorized_client", ErrorCode.AUTHENTICATION_FAILED, "clientId"),
        (400, "invalid_scope", ErrorCode.AUTHENTICATION_FAILED, "scope"),
        (400, "invalid_request", ErrorCode.PROTOCOL_ERROR, "tokenUrl"),
        (400, "unsupported_grant_type", ErrorCode.PROTOCOL_ERROR, "tokenUrl"),
        (400, "temporarily_unavailable", ErrorCode.PROTOCOL_ERROR, "tokenUrl"),
        (400, "slow_down", ErrorCode.PROTOCOL_ERROR, "tokenUrl"),
        (400, "server_error", ErrorCode.PROTOCOL_ERROR, "tokenUrl"),
        (429, "invalid_grant", ErrorCode.PROTOCOL_ERROR, "tokenUrl"),
        (500, "invalid_grant", ErrorCode.PROTOCOL_ERROR, "tokenUrl"),
        (503, None, ErrorCode.PROTOCOL_ERROR, "tokenUrl"),
        (404, None, ErrorCode.PROTOCOL_ERROR, "tokenUrl"),
        (400, CANARY, ErrorCode.PROTOCOL_ERROR, "tokenUrl"),
        (400, [CANARY], ErrorCode.PROTOCOL_ERROR, "tokenUrl"),
        (200, CANARY, ErrorCode.PROTOCOL_ERROR, "tokenUrl"),
    ],
)
async def test_why_there_is_no_token(status: int, error: Any, kind: ErrorCode, name: str, world: World) -> None:
    values = {"error_description": CANARY, "access_token": "a", **({} if error is None else {"error": error})}
    world.answers_with(status, **values)
    found = await world.failure()
    assert (found.kind, found.field) == (kind, ("oauth2", name))


async def test_a_client_without_a_secret_is_told_of_its_id(world: World) -> None:
    world.answers_with(401, error="invalid_client")
    found = await world.failure(replace(world.grant, client_secret=None))
    assert found.field == ("oauth2", "clientId")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>" + CANARY.encode(),
        b"\xff\xfe",
        b"[" * 60_000,
        b"[]",
        b'"' + CANARY.encode() + b'"',
        b"{}",
        b'{"access_token": null}',
        b'{"access_token": ""}',
        b'{"access_token": 5}',
        b'{"access_token": ["a"]}',
        b'{"access_token": "a\\r\\nb"}',
        b'{"access_token": "a\\u0000b"}',
        b'{"access_token": "a\\u0001auth=b"}',
        b'{"access_token": "a b"}',
        '{"access_token": "ä"}'.encode(),
        b'{"access_token": "' + b"x" * (MAX_TOKEN_CHARACTERS + 1) + b'"}',
        b'{"access_token": "' + b"x" * 70_000 + b'"}',
        b'{"access_token": "a", "token_type": "mac"}',
        b'{"access_token": "a"',
    ],
    ids=range(20),
)
async def test_what_is_no_token_is_told(body: bytes, world: World) -> None:
    world.answers(lambda _form: (200, body))
    found = await world.failure()
    assert (found.kind, found.field) == (ErrorCode.PROTOCOL_ERROR, ("oauth2", "tokenUrl"))


async def test_a_long_token_is_taken(world: World) -> None:
    world.answers_with(access_token="x" * MAX_TOKEN_CHARACTERS, token_type="bearer")
    assert await world.token() == "x" * MAX_TOKEN_CHARACTERS


async def test_the_network_is_never_taken_for_a_withdrawn_consent(world: World, certificates: Certificates) -> None:
    closed = replace(world.grant, token_url=f"https://localhost:{await _unused_port()}/")
    private = replace(world.grant, token_url=f"https://10.0.0.1:{world.endpoint.port}/")
    nowhere = replace(world.grant, token_url="https://nowhere.invalid/")
    ports = MAIL_PORTS | {world.endpoint.port, int(closed.token_url.rpartition(":")[2].strip("/"))}

    async def lookup(name: str) -> list[str]:
        return [] if name.endswith(".invalid") else ["127.0.0.1"]

    tokens = AccessTokens(HostPolicy(["127.0.0.0/8", "localhost"], ports, lookup), Trust(certificates.ca_file))
    there = replace(world, tokens=tokens)
    for grant, kind in (
        (closed, ErrorCode.CONNECTION_REFUSED),
        (private, ErrorCode.HOST_NOT_ALLOWED),
        (nowhere, ErrorCode.DNS_FAILED),
    ):
        found = await there.failure(grant)
        assert (found.kind, found.field) == (kind, ("oauth2", "tokenUrl")), grant.token_url
    untrusting = replace(world, tokens=AccessTokens(world.tokens._hosts, Trust()))
    found = await untrusting.failure()
    assert (found.kind, found.field) == (ErrorCode.CERTIFICATE_INVALID, ("oauth2", "tokenUrl"))
    assert world.endpoint.calls == []


async def test_an_endpoint_that_hangs_is_a_timeout(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oauth2, "TOKEN_ENDPOINT_SECONDS", 0.3)
    world.endpoint.hangs()
    started = time.monotonic()
    found = await world.failure()
    assert time.monotonic() - started < 3
    assert (found.kind, found.field) == (ErrorCode.TIMEOUT, ("oauth2", "tokenUrl"))


async def test_a_withdrawn_consent_is_told_and_a_new_one_works(world: World) -> None:
    await world.token()
    world.endpoint.withdraw()
    world.tokens.forget(world.grant)
    assert (await world.failure()).kind is ErrorCode.CONSENT_REQUIRED
    again = replace(world.grant, refresh_token=Secret(world.endpoint.consent(USER)))
    assert await world.token(again)


async def _unused_port() -> int:
    listener = await asyncio.start_server(lambda _reader, _writer: None, str(At.GOOD), 0)
    port: int = listener.sockets[0].getsockname()[1]
    listener.close()
    await listener.wait_closed()
    return port
