"""Checks through the API of servers that nobody should trust: what the answer and the log tell."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from settings import Settings
from tests.inboxes import inbox_values
from tests.mail.accounts import PASSWORD, USER
from tests.mail.certificates import Certificates
from tests.mail.checking import ALL_PORTS, LOOPBACK, encodings
from tests.mail.dialogues import CANARY, IMAP, SMTP, dialogue
from tests.mail.scripted import both, close, say, scripted
from tests.running import Running, running

CHECK = """
mutation Check($input: CheckEmailInboxInput!) {
  checkEmailInbox(input: $input) {
    success userErrors { code field message }
    smtp { success capabilities stages { stage success durationMs hint error { code field message } }
           certificate { subject issuer names validFrom expiresAt fingerprint } }
    imap { success capabilities stages { stage success durationMs hint error { code field message } }
           certificate { subject issuer names validFrom expiresAt fingerprint } }
  }
}
"""


@pytest.fixture
async def lenient(settings: Settings, certificates: Certificates) -> AsyncIterator[Running]:
    """A server that may connect to loopback."""
    allowed = {"mail_hosts_allow": LOOPBACK, "mail_ports": ALL_PORTS, "ca_file": certificates.ca_file}
    async with running(settings.model_copy(update=allowed)) as server:
        yield server


def values(smtp: int, imap: int, **more: Any) -> dict[str, Any]:
    """An inbox whose servers are on this machine."""
    servers = {
        f"{protocol}__{name}": value
        for protocol, port in (("smtp", smtp), ("imap", imap))
        for name, value in (("server", "127.0.0.1"), ("port", port), ("username", USER), ("password", PASSWORD))
    }
    return inbox_values(email=USER, **servers, **more)


def unsaved(given: dict[str, Any]) -> dict[str, Any]:
    return {name: given[name] for name in ("email", "smtp", "imap")}


async def check(server: Running, **given: Any) -> dict[str, Any]:
    body = await server.graphql(CHECK, input=given)
    assert "errors" not in body, body
    found: dict[str, Any] = body["data"]["checkEmailInbox"]
    return found


async def test_nothing_that_a_server_says_is_repeated(
    lenient: Running, certificates: Certificates, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither by the API nor in the log, wherever it is said."""
    context, bye = certificates.server_context(), both(say(f"* BYE {CANARY}"), close())
    no, refused = say(f"{{tag}} NO [ALERT] {CANARY}"), say(f"550 5.7.1 {CANARY}")
    cases: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"GREETING": say(f"554 {CANARY}")}, {"GREETING": bye}),
        ({"EHLO": say(f"{CANARY}")}, {"CAPABILITY": say(f"* {CANARY}")}),
        ({"AUTH": refused}, {"AUTHENTICATE": no}),
        ({"MAIL": refused}, {"EXAMINE": no}),
    ]
    for of_smtp, of_imap in cases:
        with (
            scripted(context, *dialogue(SMTP, **of_smtp)) as smtp,
            scripted(context, *dialogue(IMAP, **of_imap)) as imap,
        ):
            found = await check(lenient, **unsaved(values(smtp.port, imap.port)))
            assert not found["smtp"]["success"]
            assert not found["imap"]["success"]
            assert {error["field"][0] for error in found["userErrors"]} == {"input"}
            printed = json.dumps(found) + "".join(capfd.readouterr())
            assert CANARY not in printed.lower()
            assert not any(secret.decode() in printed for secret in encodings(PASSWORD))


async def test_what_is_inside_is_not_told_from_what_is_nowhere(settings: Settings, certificates: Certificates) -> None:
    """Without the operator's leave, a port that listens and one that doesn't look the same."""
    with scripted(certificates.server_context(), *dialogue(SMTP)) as server:
        async with running(settings.model_copy(update={"mail_ports": ALL_PORTS})) as strict:
            answers = []
            for port in (server.port, 9):
                found = await check(strict, **unsaved(values(port, port)))
                for protocol in ("smtp", "imap"):
                    [stage] = found[protocol]["stages"]
                    answers.append((stage["stage"], stage["error"]["code"], stage["error"]["message"]))
            assert set(answers) == {answers[0]}
            assert answers[0][:2] == ("POLICY", "HOST_NOT_ALLOWED")
        assert server.connections == 0
