"""Test mails over GraphQL and REST: what arrives, and every reason why none is sent."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import structlog
from sqlalchemy import text

from models.user import Permission
from resolvers import mail_limits
from settings import Settings
from tests.api import SET
from tests.mail.accounts import PASSWORD, UNKNOWN, USER
from tests.mail.certificates import Certificates
from tests.mail.dovecot import Dovecot
from tests.mail.inboxes import may_connect, working_inbox
from tests.mail.postfix import Postfix
from tests.running import Running, running
from tests.test_openapi import hold, told_of
from tests.users import ask, caller

SEND = """
    mutation ($id: ID!, $to: String) {
        sendTestEmail(id: $id, to: $to) {
            success recipient smtpCode enhancedCode userErrors { code message field }
        }
    }
"""
MANAGE = Permission.MANAGE_EMAIL_INBOX


@pytest.fixture
async def server(
    settings: Settings, certificates: Certificates, dovecot: Dovecot, postfix: Postfix
) -> AsyncIterator[Running]:
    ports = (dovecot.imaps, postfix.submission, postfix.submissions)
    async with running(may_connect(settings, certificates, *ports)) as started:
        yield started


@pytest.fixture
def values(dovecot: Dovecot, postfix: Postfix) -> dict[str, Any]:
    return working_inbox(dovecot, postfix)


async def store(server: Running, values: dict[str, Any], **changes: Any) -> None:
    body = await server.graphql(SET, input={**values, **changes})
    assert body["data"]["setEmailInbox"]["success"], body


async def send(client: httpx.AsyncClient, id: str = "works", to: str | None = None) -> dict[str, Any]:
    body = await ask(client, SEND, id=id, to=to)
    assert "errors" not in body, body
    found: dict[str, Any] = body["data"]["sendTestEmail"]
    return found


async def send_over_rest(client: httpx.AsyncClient, id: str = "works") -> tuple[int, dict[str, Any]]:
    answer = await client.post(f"/api/v1/email-inbox.send-test/{id}")
    hold(answer, told_of("POST", "/email-inbox.send-test/{id}")[str(answer.status_code)])
    return answer.status_code, answer.json()


def problems(found: dict[str, Any]) -> dict[str, str]:
    assert found["success"] == (not found["userErrors"])
    return {".".join(problem["field"] or []): problem["code"] for problem in found["userErrors"]}


# ------------------------------------------------------------------------------------------------------- what arrives


async def test_a_test_mail_arrives_from_the_inbox(server: Running, values: dict[str, Any], postfix: Postfix) -> None:
    await store(server, values)
    found = await send(server.client, to=USER)
    assert found == {"success": True, "recipient": USER, "smtpCode": 250, "enhancedCode": "2.0.0", "userErrors": []}
    [message] = postfix.received()
    assert message["From"] == f"Example Support <{USER}>"
    assert message["To"] == USER
    assert message["Return-Path"] == f"<{USER}>"
    assert message["Message-ID"]
    assert message["Subject"]


async def test_without_to_it_goes_to_the_caller(server: Running, values: dict[str, Any], postfix: Postfix) -> None:
    await store(server, values, senderInfo=None)
    manager = await caller(server, "manager", MANAGE, email=USER)
    assert (await send(manager))["recipient"] == USER
    [message] = postfix.received()
    assert (message["To"], message["From"]) == (USER, USER)


async def test_over_rest_it_goes_to_the_caller(server: Running, values: dict[str, Any], postfix: Postfix) -> None:
    await store(server, values)
    manager = await caller(server, "manager", MANAGE, email=USER)
    answer = await manager.post("/api/v1/email-inbox.send-test/works", json={"to": "somebody@example.org"})
    hold(answer, told_of("POST", "/email-inbox.send-test/{id}")["200"])
    assert (answer.status_code, answer.json()) == (200, {"_id": "works", "success": True})
    [message] = postfix.received()
    assert message["To"] == USER


# -------------------------------------------------------------------------------------------------- why none is sent


@pytest.mark.parametrize("id", ["nothing", "no id!"])
async def test_an_unknown_inbox(server: Running, id: str) -> None:
    assert problems(await send(server.client, id)) == {"id": "NOT_FOUND"}
    assert await send_over_rest(server.client, id) == (400, {"success": False, "error": "inbox-not-found"})


async def test_an_inbox_that_is_not_active(server: Running, values: dict[str, Any]) -> None:
    await store(server, values, active=False)
    found = await send(server.client, to=USER)
    assert problems(found) == {"id": "CONFLICT"}
    assert "activate" in found["userErrors"][0]["message"]
    assert await send_over_rest(server.client) == (400, {"success": False, "error": "inbox-not-found"})


async def test_a_caller_without_an_address(server: Running, values: dict[str, Any]) -> None:
    await store(server, values)
    assert problems(await send(server.client)) == {"to": "REQUIRED"}
    assert await send_over_rest(server.client) == (400, {"success": False, "error": "user-without-verified-email"})


async def test_an_address_that_is_none(server: Running, values: dict[str, Any]) -> None:
    await store(server, values, active=False)
    for to in ("nobody", "a@b.c\r\nBcc: d@e.f", ""):
        assert problems(await send(server.client, to=to)) == {"to": "INVALID", "id": "CONFLICT"}


async def test_a_wrong_password(server: Running, dovecot: Dovecot, postfix: Postfix) -> None:
    await store(server, working_inbox(dovecot, postfix, smtp__password="wrong-pass-9"))
    manager = await caller(server, "manager", MANAGE, email=USER)
    found = await send(manager)
    assert problems(found) == {"smtp.password": "AUTHENTICATION_FAILED"}
    status, body = await send_over_rest(manager)
    message = found["userErrors"][0]["message"]
    assert (status, body) == (
        400,
        {"success": False, "errorType": "error-smtp-authentication-failed", "error": message},
    )
    assert message.count(". ") >= 1
    assert postfix.files() == []


async def test_a_recipient_whom_the_server_refuses(server: Running, values: dict[str, Any]) -> None:
    await store(server, values)
    manager = await caller(server, "manager", MANAGE, email=UNKNOWN)
    assert problems(await send(manager)) == {"to": "RECIPIENT_REJECTED"}
    status, body = await send_over_rest(manager)
    assert (status, body["errorType"]) == (400, "error-smtp-recipient-rejected")


async def test_a_sender_whom_the_server_refuses(server: Running, values: dict[str, Any]) -> None:
    await store(server, values, email="other@example.org")
    found = await send(server.client, to=USER)
    assert problems(found) == {"email": "SENDER_REJECTED"}


async def test_a_password_that_is_lost(server: Running, values: dict[str, Any]) -> None:
    await store(server, values)
    swap = text("UPDATE email_inbox SET smtp_password = imap_password")
    await server.context.database.write(lambda session: session.connection().execute(swap))
    manager = await caller(server, "manager", MANAGE, email=USER)
    assert problems(await send(manager)) == {"smtp.password": "PASSWORD_REQUIRED"}
    status, body = await send_over_rest(manager)
    assert (status, body["errorType"]) == (400, "error-smtp-password-required")


async def test_a_server_that_is_not_allowed(server: Running, dovecot: Dovecot, postfix: Postfix) -> None:
    await store(server, working_inbox(dovecot, postfix, smtp__server="10.0.0.1"))
    assert problems(await send(server.client, to=USER)) == {"smtp.server": "HOST_NOT_ALLOWED"}


# ------------------------------------------------------------------------------------------------------ limits and log


async def test_test_mails_and_checks_share_their_turns(server: Running, dovecot: Dovecot, postfix: Postfix) -> None:
    await store(server, working_inbox(dovecot, postfix, smtp__server="10.0.0.1"))
    manager = await caller(server, "manager", MANAGE, email=USER)
    check = 'mutation { checkEmailInbox(input: { id: "works" }) { success } }'
    for number in range(mail_limits.CHECKS_PER_USER.amount):
        assert await (send(manager) if number % 2 else ask(manager, check))
    answer = await manager.post("/api/v1/email-inbox.send-test/works")
    assert (answer.status_code, answer.json()["error"]) == (429, "error-too-many-requests")
    assert answer.headers["X-RateLimit-Limit"] == str(mail_limits.CHECKS_PER_USER.amount)
    assert answer.headers["Retry-After"]


async def test_a_test_mail_is_logged_without_addresses(server: Running, values: dict[str, Any]) -> None:
    await store(server, values)
    with structlog.testing.capture_logs() as lines:
        await send(server.client, to=USER)
        await send(server.client, to=UNKNOWN)
    told = [line for line in lines if line["event"].startswith("test mail")]
    assert told == [
        {"event": "test mail sent", "inbox": "works", "log_level": "info"},
        {"event": "test mail refused", "inbox": "works", "code": "RECIPIENT_REJECTED", "log_level": "info"},
    ]
    for value in (PASSWORD, USER, UNKNOWN):
        assert value not in str(lines)
