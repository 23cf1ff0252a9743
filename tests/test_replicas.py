"""Several processes on one database, and refresh tokens that are good for one time: nobody loses a consent."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from sqlalchemy import text

from models import lease
from models.inbox import BY_ID
from models.stored import account
from settings import Settings
from tests.api import GraphQLApi
from tests.inboxes import consenting_values
from tests.mail.certificates import Certificates
from tests.mail.inboxes import may_connect
from tests.mail.token_endpoint import CLIENT_ID, CLIENT_SECRET, TokenEndpoint
from tests.running import Running, running

USER = "support@example.test"
NAMES = ("a", "b")


@pytest.fixture
def endpoint(certificates: Certificates) -> Iterator[TokenEndpoint]:
    """Its refresh tokens are good for one time."""
    with TokenEndpoint(certificates.server_context()) as started:
        started.rotates()
        yield started


@pytest.fixture
async def replicas(
    settings: Settings, certificates: Certificates, endpoint: TokenEndpoint
) -> AsyncIterator[list[Running]]:
    """Three servers on one database, with two inboxes that hold one consent, for SMTP and for IMAP."""
    async with AsyncExitStack() as stack:
        started = [
            await stack.enter_async_context(running(may_connect(settings, certificates, endpoint.port)))
            for _ in range(3)
        ]
        token = endpoint.consent(USER)
        held = {"tokenUrl": endpoint.url, "clientId": CLIENT_ID, "clientSecret": CLIENT_SECRET, "refreshToken": token}
        for name in NAMES:
            values = consenting_values(
                id=name, email=f"{name}@example.org", smtp__oauth2=held, imap__oauth2=held, smtp__username=name
            )
            assert (await GraphQLApi(started[0].client).set_inbox(values)).inbox_id == name
        yield started


async def ask(server: Running, name: str, protocol: Any) -> str:
    """What a check does that logs in."""
    [inbox] = await server.context.database.find(BY_ID, id=name)
    login: Any = account(inbox, protocol, server.context.keyring).login
    server.context.mail.tokens.forget(login)
    return (await server.context.mail.tokens.token(login)).reveal()


async def test_all_at_once_everybody_gets_a_token(replicas: list[Running], endpoint: TokenEndpoint) -> None:
    """By grants that were read before anybody asked."""
    for _ in range(3):
        asked = [ask(server, name, protocol) for server in replicas for name in NAMES for protocol in ("smtp", "imap")]
        tokens = await asyncio.gather(*asked)
        assert set(tokens) <= set(endpoint.access_tokens)
    sent = [call["refresh_token"] for call in endpoint.calls]
    assert len(sent) == len(set(sent)) >= 9
    await nothing_is_left_behind(replicas[0], endpoint)


async def test_what_was_read_before_another_process_rotated_it_still_works(
    replicas: list[Running], endpoint: TokenEndpoint
) -> None:
    first, second, _ = replicas
    [inbox] = await second.context.database.find(BY_ID, id="b")
    old: Any = account(inbox, "imap", second.context.keyring).login
    await ask(first, "a", "smtp")
    await second.context.mail.tokens.token(old)
    assert len(endpoint.calls) == 2
    await nothing_is_left_behind(first, endpoint)


async def test_a_replica_that_died_keeps_nobody_waiting_for_long(
    replicas: list[Running], endpoint: TokenEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, _ = replicas
    [inbox] = await first.context.database.find(BY_ID, id="a")
    monkeypatch.setattr(lease, "LEASE_SECONDS", lease.LEASE_SECONDS / 30)
    held = f"consent-{inbox.smtp_consent_id}"
    assert await first.context.database.write(lambda transaction: lease.take(transaction, held, "who died"))
    assert not await second.context.database.write(lambda transaction: lease.take(transaction, held, "another"))
    assert await ask(second, "a", "smtp") in endpoint.access_tokens


async def nothing_is_left_behind(server: Running, endpoint: TokenEndpoint) -> None:
    """Every inbox holds the newest refresh token, and no lease is left."""
    [newest] = endpoint.refresh_tokens
    for name in NAMES:
        [inbox] = await server.context.database.find(BY_ID, id=name)
        for protocol in ("smtp", "imap"):
            login: Any = account(inbox, protocol, server.context.keyring).login
            assert login.refresh_token.reveal() == newest
    async with server.context.database.engine.connect() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM lease"))).scalar() == 0
