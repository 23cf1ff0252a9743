"""Checks of an inbox over GraphQL: who is asked, and what is told. What each stage finds is tested elsewhere."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, nullcontext
from typing import Any

import pytest
import structlog
from sqlalchemy import text

import mail.check
from cli.context import shell
from mail.report import StageName
from models.user import Permission
from resolvers import mail_limits
from resolvers.check import check_email_inbox
from settings import Settings
from tests.api import SET
from tests.mail.accounts import PASSWORD, USER
from tests.mail.addresses import At
from tests.mail.certificates import Certificates
from tests.mail.dovecot import Dovecot
from tests.mail.inboxes import may_connect, working_inbox
from tests.mail.postfix import Postfix
from tests.mail.scripted import Scripted, hang, scripted
from tests.mail.token_endpoint import CLIENT_ID, CLIENT_SECRET
from tests.process import until
from tests.running import Running, running
from tests.users import ask, caller, codes

CHECK = """
    mutation ($input: CheckEmailInboxInput!) {
        checkEmailInbox(input: $input) {
            success
            smtp { ...Check }
            imap { ...Check }
            userErrors { code message field }
        }
    }
    fragment Check on ServerCheck {
        success
        stages { stage success durationMs hint error { code message field } }
        certificate { subject issuer names validFrom expiresAt fingerprint }
        capabilities
    }
"""
SMTP_STAGES = ["POLICY", "DNS", "CONNECT", "GREETING", "STARTTLS", "AUTHENTICATE", "SENDER"]
IMAP_STAGES = ["POLICY", "DNS", "CONNECT", "TLS", "GREETING", "AUTHENTICATE", "SELECT_INBOX"]
FORBIDDEN = {"server": "10.0.0.1", "port": 465, "username": "a", "password": "b", "secure": True}
"""A server that is refused before anything is sent: a check of it is quick."""


@pytest.fixture
def other(certificates: Certificates) -> Iterator[Scripted]:
    """A server that nobody is to come to."""
    with scripted(certificates.server_context(), hang()) as started:
        yield started


@pytest.fixture
async def server(
    settings: Settings, certificates: Certificates, dovecot: Dovecot, postfix: Postfix, other: Scripted
) -> AsyncIterator[Running]:
    ports = (dovecot.imap, dovecot.imaps, dovecot.tokens.port, postfix.submission, postfix.submissions, other.port)
    async with running(may_connect(settings, certificates, *ports)) as started:
        yield started


@pytest.fixture
def values(dovecot: Dovecot, postfix: Postfix) -> dict[str, Any]:
    return working_inbox(dovecot, postfix)


async def check(server: Running, **given: Any) -> dict[str, Any]:
    body = await server.graphql(CHECK, input=given)
    assert "errors" not in body, body
    found: dict[str, Any] = body["data"]["checkEmailInbox"]
    assert found["success"] == (not found["userErrors"])
    return found


async def store(server: Running, values: dict[str, Any]) -> None:
    body = await server.graphql(SET, input=values)
    assert body["data"]["setEmailInbox"]["success"], body


def problems(found: dict[str, Any]) -> dict[str, str]:
    """The code by path of every problem."""
    return {".".join(problem["field"] or []): problem["code"] for problem in found["userErrors"]}


def stages(check: dict[str, Any]) -> list[str]:
    return [stage["stage"] for stage in check["stages"]]


# -------------------------------------------------------------------------------------------------------- what works


async def test_a_stored_inbox_that_works(server: Running, values: dict[str, Any], certificates: Certificates) -> None:
    await store(server, values)
    found = await check(server, id="works")
    assert found["success"], found
    for protocol, expected in (("smtp", SMTP_STAGES), ("imap", IMAP_STAGES)):
        assert stages(found[protocol]) == expected
        assert all(stage["success"] and stage["error"] is None for stage in found[protocol]["stages"])
        assert sum(stage["durationMs"] for stage in found[protocol]["stages"]) > 0
        assert found[protocol]["certificate"]["fingerprint"] == certificates.fingerprint(At.GOOD)
    assert "IDLE" in found["imap"]["capabilities"]
    assert "PIPELINING" in found["smtp"]["capabilities"]
    stored = await server.graphql('{ emailInbox(id: "works") { version } changesCursor }')
    assert stored["data"]["emailInbox"]["version"] == 1


async def test_what_is_not_saved_is_checked_and_stays_so(server: Running, values: dict[str, Any]) -> None:
    found = await check(server, email=USER, smtp=values["smtp"], imap=values["imap"])
    assert found["success"], found
    assert (await server.graphql("{ emailInboxes { totalCount } }"))["data"]["emailInboxes"]["totalCount"] == 0


@pytest.mark.parametrize("protocol", ["smtp", "imap"])
async def test_one_protocol_alone(server: Running, values: dict[str, Any], protocol: str) -> None:
    found = await check(server, email=USER, **{protocol: values[protocol]})
    assert found["success"], found
    assert [name for name in ("smtp", "imap") if found[name]] == [protocol]


async def test_both_protocols_are_asked_side_by_side(server: Running, certificates: Certificates) -> None:
    """Each waits until the other was connected to: one after the other, both would take too long."""
    with (
        scripted(certificates.server_context(), hang()) as smtp,
        scripted(certificates.server_context(), hang()) as imap,
    ):
        allowed = frozenset({smtp.port, imap.port})
        async with running(server.settings.model_copy(update={"mail_ports": allowed})) as started:
            account = {"server": At.GOOD, "username": "a", "password": "b", "secure": False}
            given = {"smtp": {**account, "port": smtp.port}, "imap": {**account, "port": imap.port}}
            checking = asyncio.create_task(check(started, email=USER, **given))
            await asyncio.to_thread(until, lambda: smtp.connections and imap.connections, 5)
            smtp.stop()
            imap.stop()
            found = await checking
    assert [found[name]["stages"][-1]["stage"] for name in ("smtp", "imap")] == ["GREETING", "GREETING"]


# --------------------------------------------------------------------------------------------------- what does not work


@pytest.mark.parametrize(("protocol", "other_one"), [("smtp", "imap"), ("imap", "smtp")])
async def test_a_wrong_password_is_told_with_its_field(
    server: Running, dovecot: Dovecot, postfix: Postfix, protocol: str, other_one: str
) -> None:
    changed = {f"{protocol}__password": "wrong-pass-9"}
    await store(server, working_inbox(dovecot, postfix, **changed))
    found = await check(server, id="works")
    assert problems(found) == {f"input.{protocol}.password": "AUTHENTICATION_FAILED"}
    assert found[other_one]["success"]
    broken = found[protocol]["stages"][-1]
    assert (broken["stage"], broken["success"]) == ("AUTHENTICATE", False)
    assert broken["error"]["code"] == "AUTHENTICATION_FAILED"
    assert broken["error"]["field"] == ["input", protocol, "password"]
    assert broken["hint"]
    assert found["userErrors"][0]["message"] == f"{broken['error']['message']} {broken['hint']}"
    assert not found[protocol]["success"]
    assert "wrong-pass-9" not in str(found)


async def test_a_host_that_is_not_allowed_is_not_connected_to(server: Running) -> None:
    found = await check(server, imap=FORBIDDEN)
    assert problems(found) == {"input.imap.server": "HOST_NOT_ALLOWED"}
    assert stages(found["imap"]) == ["POLICY"]


@pytest.mark.parametrize(("broken", "other_one"), [("smtp", "imap"), ("imap", "smtp")])
async def test_what_nobody_foresaw_ends_both_checks(
    server: Running, values: dict[str, Any], broken: str, other_one: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing goes on at a mail server once the answer is out."""
    begun, ended = asyncio.Event(), asyncio.Event()

    async def breaks(*_: object) -> None:
        await begun.wait()
        raise ZeroDivisionError

    async def goes_on(*_: object) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    monkeypatch.setattr(mail.check, f"check_{broken}", breaks)
    monkeypatch.setattr(mail.check, f"check_{other_one}", goes_on)
    given = {"email": USER, "smtp": values["smtp"], "imap": values["imap"]}
    assert codes(await server.graphql(CHECK, input=given)) == ["INTERNAL_SERVER_ERROR"]
    assert ended.is_set()


# --------------------------------------------------------------------------------------------------- what is refused


async def test_every_problem_of_the_input_is_told_at_once(server: Running, values: dict[str, Any]) -> None:
    smtp = {**values["smtp"], "port": 0, "password": None}
    imap = {name: value for name, value in values["imap"].items() if name != "password"}
    found = await check(server, smtp=smtp, imap={**imap, "server": "https://x"})
    assert problems(found) == {
        "input.smtp.port": "INVALID",
        "input.smtp.password": "PASSWORD_REQUIRED",
        "input.imap.server": "INVALID",
        "input.imap.password": "PASSWORD_REQUIRED",
        "input.email": "REQUIRED",
    }
    assert found["smtp"] is found["imap"] is None


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"input.id": "REQUIRED"}),
        ({"email": USER}, {"input.id": "REQUIRED"}),
        ({"id": None, "smtp": None}, {"input.id": "REQUIRED"}),
        ({"id": "nothing"}, {"input.id": "NOT_FOUND"}),
        ({"id": "no id!"}, {"input.id": "NOT_FOUND"}),
        ({"id": ""}, {"input.id": "NOT_FOUND"}),
        ({"imap": FORBIDDEN, "email": "nobody"}, {"input.email": "INVALID"}),
    ],
)
async def test_what_can_t_be_checked_is_refused(
    server: Running, given: dict[str, Any], expected: dict[str, str]
) -> None:
    assert problems(await check(server, **given)) == expected


# ---------------------------------------------------------------------------------------------------------- passwords


@pytest.mark.parametrize("protocol", ["smtp", "imap"])
@pytest.mark.parametrize("change", ["server", "port", "username", "secure"])
async def test_a_stored_password_never_reaches_another_server(
    server: Running, other: Scripted, values: dict[str, Any], protocol: str, change: str
) -> None:
    """With the old server, what is left of it goes to the old one; with another one, to nobody."""
    await store(server, {**values, protocol: {**values[protocol], "port": other.port}})
    changes = {"server": "localhost", "port": values[protocol]["port"], "username": "other", "secure": False}
    given = {**values[protocol], "port": other.port, change: changes[change]}
    del given["password"]
    found = await check(server, id="works", **{protocol: given})
    assert problems(found) == {f"input.{protocol}.password": "PASSWORD_REQUIRED"}
    assert found["smtp"] is found["imap"] is None
    assert other.connections == 0


async def test_a_password_may_be_left_out_where_it_was_set_for(server: Running, values: dict[str, Any]) -> None:
    await store(server, values)
    given = {name: value for name, value in values["imap"].items() if name != "password"}
    found = await check(server, id="works", imap={**given, "maxRetries": 3})
    assert found["success"], found
    assert found["smtp"]["success"]


async def test_what_is_given_is_checked_as_if_it_were_set(server: Running, dovecot: Dovecot, postfix: Postfix) -> None:
    await store(server, working_inbox(dovecot, postfix, smtp__password="wrong", email="other@example.org"))
    right = working_inbox(dovecot, postfix)["smtp"]
    found = await check(server, id="works", smtp=right)
    assert problems(found) == {"input.email": "SENDER_REJECTED"}
    assert (await check(server, id="works", smtp=right, email=USER))["success"]


async def test_a_password_that_is_lost_is_told(server: Running, values: dict[str, Any]) -> None:
    await store(server, values)
    swap = text("UPDATE email_inbox SET imap_password = smtp_password, smtp_password = imap_password")
    await server.context.database.write(lambda session: session.connection().execute(swap))
    found = await check(server, id="works")
    assert problems(found) == {
        "input.smtp.password": "PASSWORD_REQUIRED",
        "input.imap.password": "PASSWORD_REQUIRED",
    }
    found = await check(server, id="works", smtp=values["smtp"])
    assert problems(found) == {"input.imap.password": "PASSWORD_REQUIRED"}
    assert (await check(server, id="works", smtp=values["smtp"], imap=values["imap"]))["success"]


async def test_a_consent_that_is_lost_is_told(server: Running, values: dict[str, Any], consent: dict[str, Any]) -> None:
    await store(server, by_consent(values, consent))
    await server.context.database.write(
        lambda session: session.connection().execute(
            text("UPDATE email_inbox SET imap_refresh_token = smtp_refresh_token")
        )
    )
    assert problems(await check(server, id="works")) == {"input.imap.oauth2.refreshToken": "PASSWORD_REQUIRED"}


# ----------------------------------------------------------------------------------------------------------- consents


@pytest.fixture
def consent(dovecot: Dovecot) -> dict[str, Any]:
    """The input of a consent whose refresh token is good for one time."""
    dovecot.tokens.rotates()
    return {
        "tokenUrl": dovecot.tokens.url,
        "clientId": CLIENT_ID,
        "clientSecret": CLIENT_SECRET,
        "refreshToken": dovecot.tokens.consent(USER),
    }


def by_consent(values: dict[str, Any], consent: dict[str, Any]) -> dict[str, Any]:
    """The inbox whose both servers are logged in to by the same consent."""
    for protocol in ("smtp", "imap"):
        server = {name: value for name, value in values[protocol].items() if name != "password"}
        values = {**values, protocol: {**server, "oauth2": consent}}
    return values


async def test_a_new_refresh_token_takes_the_place_of_the_stored_one(
    server: Running, values: dict[str, Any], consent: dict[str, Any], dovecot: Dovecot
) -> None:
    """A server that starts later knows the stored one only."""
    given = by_consent(values, consent)
    smtp = values["smtp"]
    await store(server, {**given, "smtp": smtp})
    assert (await check(server, id="works"))["success"]
    version = '{ emailInbox(id: "works") { version } }'
    assert (await server.graphql(version))["data"]["emailInbox"]["version"] == 1
    async with running(server.settings) as later:
        assert (await check(later, id="works"))["success"]
    asked = [call["refresh_token"] for call in dovecot.tokens.calls]
    assert asked[0] == consent["refreshToken"]
    assert len(set(asked)) == len(asked) == 2


async def test_a_new_refresh_token_is_stored_before_the_server_ends(
    server: Running, values: dict[str, Any], consent: dict[str, Any], dovecot: Dovecot
) -> None:
    rotate, asked, answered = dovecot.tokens.answer, threading.Event(), threading.Event()

    def slowly(form: dict[str, str]) -> tuple[int, bytes]:
        asked.set()
        answered.wait(5)
        return rotate(form)

    dovecot.tokens.answer = slowly
    async with running(server.settings) as ending:
        await store(ending, by_consent(values, consent))
        checking = asyncio.create_task(check(ending, id="works"))
        assert await asyncio.to_thread(asked.wait, 5)
        checking.cancel()
        await asyncio.gather(checking, return_exceptions=True)
        threading.Timer(0.3, answered.set).start()
    async with running(server.settings) as later:
        assert (await check(later, id="works"))["success"]


async def test_a_consent_that_is_not_saved_is_stored_nowhere(
    server: Running, values: dict[str, Any], consent: dict[str, Any], dovecot: Dovecot
) -> None:
    await store(server, by_consent(values, {**consent, "refreshToken": "refresh-of-old"}))
    given = by_consent(values, consent)["imap"]
    assert (await check(server, imap=given))["success"]
    found = await check(server, id="works")
    assert problems(found)["input.imap.oauth2.refreshToken"] == "CONSENT_REQUIRED"
    assert dovecot.tokens.calls[-1]["refresh_token"] == "refresh-of-old"


# ------------------------------------------------------------------------------------------------------ limits and log


async def test_a_user_has_ten_checks_a_minute(server: Running) -> None:
    manager = await caller(server, "manager", Permission.MANAGE_EMAIL_INBOX)
    for _ in range(mail_limits.CHECKS_PER_USER.amount):
        assert not codes(await ask(manager, CHECK, input={"imap": FORBIDDEN}))
    answer = await manager.post("/graphql", json={"query": CHECK, "variables": {"input": {"imap": FORBIDDEN}}})
    assert (answer.status_code, codes(answer.json())) == (429, ["RATE_LIMITED"])
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert problems(await check(server, imap=FORBIDDEN))


async def test_what_is_refused_takes_no_turn(server: Running) -> None:
    for _ in range(mail_limits.CHECKS_PER_USER.amount + 1):
        assert problems(await check(server, id="nothing"))
    assert problems(await check(server, imap=FORBIDDEN)) == {"input.imap.server": "HOST_NOT_ALLOWED"}


@pytest.mark.parametrize("protocol", ["smtp", "imap"])
async def test_a_check_that_nobody_waits_for_leaves_nothing_behind(
    server: Running, other: Scripted, values: dict[str, Any], protocol: str
) -> None:
    given = {"email": USER, protocol: {**values[protocol], "port": other.port, "secure": False}}
    checking = asyncio.ensure_future(check_email_inbox(server.context.acting_as(shell), given))
    await asyncio.to_thread(until, lambda: other.connections)
    checking.cancel()
    await asyncio.gather(checking, return_exceptions=True)
    assert checking.cancelled()
    await asyncio.to_thread(until, lambda: other.peers[0].connection.fileno() == -1)
    async with asyncio.timeout(5), AsyncExitStack() as stack:
        for _ in range(mail_limits.MAX_RUNNING_CHECKS):
            await stack.enter_async_context(
                server.context.mail_quota.slot(mail_limits.CHECKS_PER_USER, None, nullcontext)
            )


async def test_a_check_is_logged_by_its_outcome_alone(server: Running, values: dict[str, Any]) -> None:
    await store(server, {**values, "imap": {**values["imap"], "password": "wrong"}})
    with structlog.testing.capture_logs() as lines:
        await check(server, id="works")
        await check(server, imap=FORBIDDEN)
    stored, unsaved = [line for line in lines if line["event"] == "inbox checked"]
    assert stored["inbox"] == "works"
    assert (stored["smtp"], stored["imap"]) == ("ok", "AUTHENTICATION_FAILED")
    assert stored["smtp_ms"] > 0
    assert set(unsaved) == {"event", "inbox", "imap", "imap_ms", "log_level"}
    assert unsaved["inbox"] == "unsaved"
    for value in (PASSWORD, USER, At.GOOD, str(FORBIDDEN["server"])):
        assert value not in str(lines)


def test_every_stage_is_in_the_schema() -> None:
    from schema import build_schema

    described = build_schema()._schema.type_map["CheckStageName"].values  # type: ignore[attr-defined]
    assert set(described) == set(StageName.__members__)
