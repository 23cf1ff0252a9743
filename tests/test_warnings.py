"""What is odd about an inbox: that it is told, about the right field, and that ordinary settings say nothing."""

from typing import Any

import pytest

from mail.warnings import warnings
from models.config import MAIL_PORTS, InboxConfig
from models.errors import ErrorCode
from models.validation import validated
from tests.api import SET
from tests.inboxes import FINGERPRINT, consent, inbox_values
from tests.running import Running

APP_PASSWORD = "abcd efgh ijkl mnop"
ADDRESS = "support@example.org"


def found(**changes: Any) -> dict[str, str]:
    """The sentences, by field."""
    config = validated(InboxConfig, inbox_values(**changes), "input")
    problems = warnings(config, MAIL_PORTS)
    assert {problem.code for problem in problems} <= {ErrorCode.UNUSUAL}
    assert all(problem.message.startswith(".".join((problem.field or ())[1:])) for problem in problems)
    assert len({problem.field for problem in problems}) == len(problems)
    return {".".join((problem.field or ())[1:]): problem.message for problem in problems}


def at(provider: str, username: str, **changes: Any) -> dict[str, Any]:
    """Settings of an account at a provider."""
    servers = {
        "google": ("smtp.gmail.com", "imap.gmail.com"),
        "microsoft": ("smtp.office365.com", "outlook.office365.com"),
        "icloud": ("smtp.mail.me.com", "imap.mail.me.com"),
        "yahoo": ("smtp.mail.yahoo.com", "imap.mail.yahoo.com"),
        "gmx": ("mail.gmx.net", "imap.gmx.net"),
    }[provider]
    accounts = {f"{protocol}__username": username for protocol in ("smtp", "imap")}
    return {"smtp__server": servers[0], "imap__server": servers[1], **accounts, **changes}


CONSENTS = {"smtp__password": ..., "imap__password": ..., "smtp__oauth2": consent(), "imap__oauth2": consent()}
MICROSOFT = {
    **CONSENTS,
    "smtp__oauth2": consent(provider="MICROSOFT"),
    "imap__oauth2": consent(provider="MICROSOFT"),
}
KEPT = {"smtp__password": ..., "imap__password": ...}
APP_PASSWORDS = {"smtp__password": APP_PASSWORD, "imap__password": APP_PASSWORD}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"smtp__port": 587, "imap__port": 143},
        {"smtp__port": 2525},
        {"smtp__username": ADDRESS, "imap__username": "SUPPORT@Example.org"},
        {"smtp__server": "localhost", "smtp__secure": False, "smtp__port": 2525},
        {"imap__server": "dovecot", "imap__secure": False, "imap__port": 143},
        {"imap__server": "mail.firm.internal", "imap__secure": False, "imap__port": 143},
        {"imap__server": "mail.home.arpa.", "imap__secure": False, "imap__port": 143},
        {"imap__server": "10.1.2.3", "imap__secure": False, "imap__port": 143},
        {"imap__server": "8.8.8.8", "imap__tlsFingerprint": FINGERPRINT},
        {"smtp__server": "email-smtp.eu-west-1.amazonaws.com", "smtp__username": "AKIAEXAMPLE"},
        {"smtp__server": "smtp.sendgrid.net", "smtp__username": "apikey"},
        at("google", ADDRESS, **APP_PASSWORDS),
        at("google", ADDRESS, **CONSENTS),
        at("google", ADDRESS, **KEPT),
        at("icloud", "someone@icloud.com", smtp__password="abcd-efgh-ijkl-mnop", imap__password="abcd-efgh-ijkl-mnop"),
        at("microsoft", ADDRESS, **MICROSOFT),
        at("microsoft", ADDRESS, **KEPT),
        at("gmx", ADDRESS),
        {**CONSENTS, "smtp__oauth2": consent(provider=None, tokenUrl="https://a.b/")},
    ],
)
def test_ordinary_settings_say_nothing(changes: dict[str, Any]) -> None:
    assert found(**changes) == {}


@pytest.mark.parametrize(
    ("changes", "field", "part"),
    [
        ({"smtp__port": 25}, "smtp.port", "STARTTLS, and many networks block it"),
        ({"smtp__secure": False}, "smtp.port", "set secure to true"),
        ({"imap__secure": False}, "imap.port", "set secure to true"),
        ({"smtp__port": 993}, "smtp.port", "is a port of IMAP"),
        ({"smtp__port": 143}, "smtp.port", "is a port of IMAP"),
        ({"imap__port": 465}, "imap.port", "is a port of SMTP"),
        ({"imap__port": 587}, "imap.port", "is a port of SMTP"),
        ({"imap__port": 25}, "imap.port", "is a port of SMTP"),
        ({"smtp__port": 5432}, "smtp.port", "is not one that this server connects to: choose from 25, 143, 465"),
        ({"smtp__port": 587, "smtp__secure": False}, "smtp.secure", "in clear"),
        ({"smtp__port": 25, "smtp__secure": False, "smtp__server": "8.8.8.8"}, "smtp.secure", "in clear"),
        (
            {"smtp__port": 587, "smtp__secure": False, "smtp__tlsFingerprint": FINGERPRINT},
            "smtp.tlsFingerprint",
            "protects nothing while secure is false",
        ),
        ({"imap__server": "192.0.2.1"}, "imap.server", "give the host name, or tlsFingerprint"),
        ({"imap__server": "[2001:db8::1]"}, "imap.server", "is an IP address"),
        ({"smtp__username": "suport@example.org"}, "smtp.username", "may refuse as the sender"),
        ({"imap__username": "a b@example.org"}, "imap.username", "mail of that account"),
        (at("google", ADDRESS, **CONSENTS, imap__username="box"), "imap.username", "whole e-mail address at Google"),
        (at("gmx", ADDRESS, imap__username="12345"), "imap.username", "whole e-mail address at GMX"),
        (at("google", ADDRESS, **APP_PASSWORDS) | {"smtp__password": "secret"}, "smtp.password", "an app password"),
        (at("yahoo", ADDRESS, **APP_PASSWORDS) | {"imap__password": "Secret-123"}, "imap.password", "Yahoo"),
        (at("microsoft", ADDRESS, **MICROSOFT) | {"smtp__password": "abcdefghijklmnop", "smtp__oauth2": ...},
         "smtp.password", "give oauth2"),
        (at("microsoft", ADDRESS, **MICROSOFT) | {"smtp__oauth2": consent()}, "smtp.oauth2.provider", "Microsoft"),
    ],
)  # fmt: skip
def test_what_is_odd_is_told_once_about_its_field(changes: dict[str, Any], field: str, part: str) -> None:
    problems = found(**changes)
    assert list(problems) == [field]
    assert part in problems[field]


BLANKS = [" ", "\u00a0", "\u202f", "\u200b", "\ufeff", "\u3000", "\u2800", "\u00ad"]


@pytest.mark.parametrize("blank", BLANKS, ids=lambda blank: f"U+{ord(blank):04X}")
def test_what_a_paste_has_left_is_told_and_saved_all_the_same(blank: str) -> None:
    outer = found(smtp__username=f"support{blank}", smtp__password=f"{blank}a", imap__password=f"a{blank}")
    assert list(outer) == ["smtp.username", "smtp.password", "imap.password"]
    assert all("begins or ends with a blank" in told for told in outer.values())
    inner = found(smtp__username=f"sup{blank}port", imap__password=f"a{blank}b")
    assert list(inner) == ([] if blank == " " else ["smtp.username", "imap.password"])
    assert all("invisible character" in told for told in inner.values())


def test_blanks_in_a_consent_are_told() -> None:
    spoilt = consent(clientId="client-1 ", clientSecret=" s", refreshToken="r\u200br")
    told = found(**{**CONSENTS, "smtp__oauth2": spoilt})
    assert list(told) == ["smtp.oauth2.clientId", "smtp.oauth2.clientSecret", "smtp.oauth2.refreshToken"]


@pytest.mark.parametrize(
    "text", ["a b", "p\u00e4ss w\u00f6rd", "\u0646\u0627\u0645\u0647\u200c\u0627\u06cc", "abcd efgh ijkl mnop", "-"]
)
def test_ordinary_passwords_say_nothing(text: str) -> None:
    assert found(smtp__password=text, imap__username=text) == {}


def test_a_field_is_told_of_once() -> None:
    told = found(**at("yahoo", "support ", smtp__password=" secret", imap__password="secret\u00a0"))
    assert all("blank" in sentence for sentence in told.values())
    assert not any("secret" in sentence for sentence in told.values())
    assert list(told) == ["smtp.username", "smtp.password", "imap.username", "imap.password"]


def test_no_sentence_repeats_a_secret() -> None:
    told = found(**at("yahoo", "support", smtp__password="pass-word-1", imap__password="pass-word-1"))
    assert "pass-word-1" not in str(told)
    assert list(told) == ["smtp.username", "smtp.password", "imap.username", "imap.password"]


UPDATE = """
    mutation ($imap: ImapConfigPatch!) {
        updateEmailInbox(input: { id: "a", imap: $imap }) { success warnings { code field } }
    }
"""


async def test_an_inbox_is_set_with_its_warnings(server: Running) -> None:
    values = inbox_values(id="a", smtp__port=7, imap__server="192.0.2.1")
    payload = (await server.graphql(SET, input=values))["data"]["setEmailInbox"]
    assert payload["success"]
    assert [warning["field"] for warning in payload["warnings"]] == [
        ["input", "smtp", "port"],
        ["input", "imap", "server"],
    ]
    updated = await server.graphql(UPDATE, imap={"tlsFingerprint": FINGERPRINT, "password": "x"})
    assert updated["data"]["updateEmailInbox"] == {
        "success": True,
        "warnings": [{"code": "UNUSUAL", "field": ["input", "smtp", "port"]}],
    }
