"""The one certificate that an inbox may trust, over both APIs: its spellings, and that it guards the password."""

from typing import Any

import pytest

from models.inbox import BY_ID
from models.secrets import Secret
from models.stored import account
from tests.api import Api
from tests.inboxes import FINGERPRINT, SMTP_PASSWORD, consent, inbox_values
from tests.running import Running

OTHER = "f" * 64
COLONS = ":".join(FINGERPRINT[start : start + 2] for start in range(0, 64, 2))
SPELLINGS = [
    FINGERPRINT,
    FINGERPRINT.upper(),
    COLONS,
    COLONS.upper(),
    COLONS.replace(":", " "),
    COLONS.replace(":", "-"),
    f"SHA256 Fingerprint={COLONS.upper()}",
    f"sha256 Fingerprint={COLONS.upper()}",
    f"sha256:{FINGERPRINT}",
    f"SHA-256: {COLONS}",
]
NONE = ["", " ", FINGERPRINT[:-1], FINGERPRINT[:-2], f"{FINGERPRINT}00", f" {FINGERPRINT}", f"{FINGERPRINT}\n"]
NONE += [
    f"{FINGERPRINT[:-1]}g",
    f"sha1:{FINGERPRINT}",
    f"sha256:{FINGERPRINT[:40]}",
    COLONS.replace(":", "::"),
    "\u0660" * 64,
]


async def shown(api: Api) -> Any:
    found = await api.inbox("a")
    assert found
    return found["smtp"]["tlsFingerprint"]


async def test_every_usual_spelling_is_the_same_fingerprint(api: Api, server: Running) -> None:
    await api.set_inbox(inbox_values(id="a"))
    for spelling in SPELLINGS:
        assert (await api.set_inbox(inbox_values(id="a", smtp__tlsFingerprint=spelling))).inbox_id, spelling
        assert await shown(api) == FINGERPRINT
        assert await password_of(server) == (SMTP_PASSWORD, FINGERPRINT)


async def test_what_is_no_fingerprint_is_refused_with_the_way_to_one(api: Api) -> None:
    for spelling in NONE:
        outcome = await api.set_inbox(inbox_values(smtp__tlsFingerprint=spelling))
        assert outcome.problems == {("input.smtp.tlsFingerprint", "INVALID")}, spelling
        assert "64 hexadecimal digits" in outcome.text
        assert "openssl x509 -noout -fingerprint -sha256" in outcome.text
    assert (await api.set_inbox(inbox_values(smtp__tlsFingerprint="0" * 201))).problems == {
        ("input.smtp.tlsFingerprint", "TOO_LONG")
    }


@pytest.mark.parametrize("stored", [None, FINGERPRINT])
async def test_a_password_is_not_shown_to_a_certificate_that_was_not_trusted(
    api: Api, server: Running, stored: str | None
) -> None:
    await api.set_inbox(inbox_values(id="a", smtp__tlsFingerprint=stored))
    for other in (OTHER, f"sha256:{OTHER.upper()}"):
        refused = await api.set_inbox(inbox_values(id="a", smtp__tlsFingerprint=other, smtp__password=...))
        assert refused.problems == {("input.smtp.password", "PASSWORD_REQUIRED")}
        assert await password_of(server) == (SMTP_PASSWORD, stored)
    given = inbox_values(id="a", smtp__tlsFingerprint=OTHER, smtp__password="new-secret-2")
    assert (await api.set_inbox(given)).inbox_id
    assert await password_of(server) == ("new-secret-2", OTHER)


async def test_a_password_stays_where_its_certificate_stays_or_must_be_verified_again(
    api: Api, server: Running
) -> None:
    await api.set_inbox(inbox_values(id="a", smtp__tlsFingerprint=FINGERPRINT))
    same = inbox_values(id="a", smtp__tlsFingerprint=COLONS.upper(), smtp__password=...)
    assert (await api.set_inbox(same)).inbox_id
    assert await password_of(server) == (SMTP_PASSWORD, FINGERPRINT)
    assert (await api.set_inbox(inbox_values(id="a", smtp__password=...))).inbox_id
    assert await password_of(server) == (SMTP_PASSWORD, None)


async def test_each_server_has_its_own(api: Api) -> None:
    await api.set_inbox(inbox_values(id="a", imap__tlsFingerprint=FINGERPRINT))
    found = await api.inbox("a")
    assert found
    assert (found["smtp"]["tlsFingerprint"], found["imap"]["tlsFingerprint"]) == (None, FINGERPRINT)
    refused = await api.set_inbox(
        inbox_values(id="a", smtp__tlsFingerprint=FINGERPRINT, smtp__password=..., imap__password=...)
    )
    assert refused.problems == {("input.smtp.password", "PASSWORD_REQUIRED")}


UPDATE = """
    mutation ($smtp: SmtpConfigPatch!) {
        updateEmailInbox(input: { id: "a", smtp: $smtp }) {
            emailInbox { smtp { tlsFingerprint } } userErrors { code field }
        }
    }
"""


async def test_an_update_keeps_it_unless_it_names_it(server: Running) -> None:
    values = inbox_values(id="a", smtp__tlsFingerprint=FINGERPRINT)
    assert (await server.client.post("/api/v1/email-inbox", json={**without(values, "id"), "_id": "a"})).is_success

    async def update(**smtp: Any) -> Any:
        payload = (await server.graphql(UPDATE, smtp=smtp))["data"]["updateEmailInbox"]
        return payload["userErrors"] or payload["emailInbox"]["smtp"]["tlsFingerprint"]

    assert await update(password="new-secret-2") == FINGERPRINT
    assert await update(tlsFingerprint=OTHER) == [{"code": "PASSWORD_REQUIRED", "field": ["input", "smtp", "password"]}]
    assert await update(tlsFingerprint=None) is None
    assert await update(tlsFingerprint=OTHER, oauth2=consent()) == OTHER


def without(values: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != name}


async def password_of(server: Running) -> tuple[str, str | None]:
    """The password for SMTP, and the certificate that it may be shown."""
    [inbox] = await server.context.database.find(BY_ID, id="a")
    found = account(inbox, "smtp", server.context.keyring)
    assert isinstance(found.login, Secret)
    return found.login.reveal(), found.tls_fingerprint
