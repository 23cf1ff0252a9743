"""SMTP relays that ask for no login: set, changed, checked and sent through, over both APIs. IMAP asks for one."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from mail.check import check_smtp
from mail.warnings import warnings
from models.config import MAIL_PORTS, InboxConfig
from models.user import Permission
from models.validation import validated
from settings import Settings
from tests.api import SET, Api
from tests.inboxes import SMTP_PASSWORD, consent, inbox_values
from tests.mail.accounts import USER
from tests.mail.addresses import At
from tests.mail.certificates import Certificates
from tests.mail.checking import account, mail_of, outcome, stages
from tests.mail.checking import warnings as hints
from tests.mail.dialogues import SMTP, dialogue
from tests.mail.dovecot import Dovecot
from tests.mail.hostile import check_scripted
from tests.mail.inboxes import may_connect, working_inbox
from tests.mail.postfix import Postfix
from tests.mail.scripted import say, scripted
from tests.running import Running, running
from tests.test_check import CHECK
from tests.test_send_test import send, send_over_rest
from tests.users import caller

RELAY = {"smtp__username": "", "smtp__password": ""}


# ----------------------------------------------------------------------------------------------------------- the input


async def test_a_relay_is_stored_and_changed(api: Api) -> None:
    assert (await api.set_inbox(inbox_values(id="a", **RELAY))).inbox_id == "a"
    for changes in (RELAY, {"smtp__username": "", "smtp__password": ...}):
        assert (await api.set_inbox(inbox_values(id="a", name="Other", **changes))).inbox_id == "a"
        shown = await api.inbox("a")
        assert shown
        assert (shown["name"], shown["smtp"]["username"], shown["smtp"]["hasPassword"]) == ("Other", "", False)
        assert shown["imap"]["hasPassword"]
    refused = await api.set_inbox(inbox_values(id="a", smtp__password=...))
    assert refused.problems == {("input.smtp.password", "PASSWORD_REQUIRED")}
    assert (await api.set_inbox(inbox_values(id="a"))).inbox_id == "a"
    shown = await api.inbox("a")
    assert shown
    assert shown["smtp"]["hasPassword"]


@pytest.mark.parametrize(
    ("changes", "problems"),
    [
        ({"smtp__username": ""}, {("smtp.username", "REQUIRED")}),
        ({"smtp__username": "  ", "smtp__password": ""}, {("smtp.username", "REQUIRED"), ("smtp.password", "INVALID")}),
        ({"smtp__password": ""}, {("smtp.password", "INVALID")}),
        ({"smtp__username": "", "smtp__password": " "}, {("smtp.username", "REQUIRED")}),
        ({"smtp__username": "", "smtp__password": ...}, {("smtp.password", "PASSWORD_REQUIRED")}),
        ({"smtp__username": "", "smtp__password": None}, {("smtp.password", "PASSWORD_REQUIRED")}),
        ({"smtp__username": "", "smtp__password": ..., "smtp__oauth2": consent()}, {("smtp.username", "REQUIRED")}),
        ({"smtp__username": None, "smtp__password": ""}, {("smtp.username", "REQUIRED"), ("smtp.password", "INVALID")}),
        ({**RELAY, "smtp__port": 0, "name": ""}, {("smtp.port", "INVALID"), ("name", "REQUIRED")}),
        (
            {"imap__username": "", "imap__password": ""},
            {("imap.username", "REQUIRED"), ("imap.password", "INVALID")},
        ),
    ],
    ids=lambda value: str(sorted(value) if isinstance(value, set) else value),
)
async def test_one_alone_is_not_empty(changes: dict[str, Any], problems: set[tuple[str, str]], shared_api: Api) -> None:
    outcome = await shared_api.set_inbox(inbox_values(**changes))
    if "smtp__username" in changes and changes["smtp__username"] is None:
        assert outcome.problems or outcome.refused, "GraphQL refuses a null by its types"
        return
    assert outcome.problems == {(f"input.{field}", code) for field, code in problems}


UPDATE = """
    mutation ($smtp: SmtpConfigPatch!) {
        updateEmailInbox(input: { id: "a", smtp: $smtp }) {
            success emailInbox { smtp { username hasPassword port } }
            userErrors { code field } warnings { code message field }
        }
    }
"""


async def test_an_update_leaves_a_relay_and_comes_back(server: Running) -> None:
    await server.graphql(SET, input=inbox_values(id="a"))

    async def update(**smtp: Any) -> dict[str, Any]:
        found: dict[str, Any] = (await server.graphql(UPDATE, smtp=smtp))["data"]["updateEmailInbox"]
        return found

    alone = await update(username="")
    assert alone["userErrors"] == [{"code": "PASSWORD_REQUIRED", "field": ["input", "smtp", "password"]}]
    relay = await update(username="", password="")
    assert relay["emailInbox"]["smtp"] == {"username": "", "hasPassword": False, "port": 465}
    [warning] = relay["warnings"]
    assert (warning["code"], warning["field"]) == ("UNUSUAL", ["input", "smtp", "username"])
    assert "without a login" in warning["message"]
    kept = await update(tlsFingerprint=None)
    assert kept["success"]
    assert kept["emailInbox"]["smtp"]["username"] == ""
    moved = await update(server="relay.example.org")
    assert moved["userErrors"] == [{"code": "PASSWORD_REQUIRED", "field": ["input", "smtp", "password"]}]
    back = await update(username="support", password=SMTP_PASSWORD)
    assert back["emailInbox"]["smtp"] == {"username": "support", "hasPassword": True, "port": 465}


def test_a_relay_is_warned_of_once() -> None:
    for changes in ({}, {"smtp__server": "smtp.gmail.com"}, {"smtp__secure": False, "smtp__port": 25}):
        config = validated(InboxConfig, inbox_values(**RELAY, **changes), "input")
        assert [problem.field for problem in warnings(config, MAIL_PORTS)] == [("input", "smtp", "username")]


# ----------------------------------------------------------------------------------------------------------- the check


async def test_no_login_is_tried(certificates: Certificates) -> None:
    """Not where one is offered either; the stage is told as skipped."""
    with scripted(certificates.server_context(), *dialogue(SMTP)) as server:
        found = await check_scripted(SMTP, server, certificates, username="", login="")
        assert outcome(found) == "SUCCESS"
        assert stages(found)[-2:] == ["AUTHENTICATE", "SENDER"]
        assert hints(found)["AUTHENTICATE"].startswith("Skipped")
        assert b"AUTH" not in server.heard


@pytest.mark.parametrize("reply", ["530 5.7.0 Authentication required", "550 5.7.1 Relaying denied"])
async def test_a_server_that_wants_a_login_after_all(reply: str, certificates: Certificates) -> None:
    with scripted(certificates.server_context(), *dialogue(SMTP, MAIL=say(reply), RCPT=say(reply))) as server:
        found = await check_scripted(SMTP, server, certificates, username="", login="")
        assert outcome(found).startswith("SENDER ")
        assert "set both, or have the operator" in str(found.stages[-1].hint)


async def test_a_relay_of_postfix_works(certificates: Certificates, postfix: Postfix) -> None:
    found = await check_smtp(mail_of(certificates), account(postfix.open, username="", login=""), USER)
    assert outcome(found) == "SUCCESS"
    assert "AUTH=PLAIN" not in found.capabilities


@pytest.fixture
async def relaying(
    settings: Settings, certificates: Certificates, dovecot: Dovecot, postfix: Postfix
) -> AsyncIterator[Running]:
    async with running(may_connect(settings, certificates, dovecot.imaps, postfix.open)) as started:
        yield started


async def test_a_test_mail_goes_through_a_relay(relaying: Running, dovecot: Dovecot, postfix: Postfix) -> None:
    postfix.forget()
    relay = {"smtp__port": postfix.open, **RELAY}
    body = await relaying.graphql(SET, input=working_inbox(dovecot, postfix, **relay))
    assert body["data"]["setEmailInbox"]["success"], body
    checked = (await relaying.graphql(CHECK, input={"id": "works"}))["data"]["checkEmailInbox"]
    assert checked["success"], checked
    found = await send(relaying.client, to=USER)
    assert (found["success"], found["smtpCode"]) == (True, 250)
    [message] = postfix.received()
    assert message["From"] == f"Example Support <{USER}>"
    manager = await caller(relaying, "manager", Permission.MANAGE_EMAIL_INBOX, email=USER)
    assert (await send_over_rest(manager))[0] == 200


async def test_a_relay_that_is_not_saved_is_checked(relaying: Running, postfix: Postfix) -> None:
    smtp = {"server": At.GOOD, "port": postfix.open, "username": "", "password": "", "secure": True}
    found = (await relaying.graphql(CHECK, input={"email": USER, "smtp": smtp}))["data"]["checkEmailInbox"]
    assert found["success"], found
    hint = next(stage["hint"] for stage in found["smtp"]["stages"] if stage["stage"] == "AUTHENTICATE")
    assert hint.startswith("Skipped")
