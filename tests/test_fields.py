"""Hosts, URLs and addresses: what is taken, what is refused and how it is told, and that no text is a fault."""

import asyncio
import email
import email.policy
import time
from collections.abc import Sequence
from email.utils import getaddresses
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from mail.check import check_imap
from mail.compose import mailbox
from mail.hosts import HostPolicy, IPAddress, ascii_name, canonical
from mail.https import fetch
from mail.oauth2 import AccessTokens
from mail.service import Mail
from mail.tls import Trust
from mail.warnings import warnings
from models.account import Account
from models.config import InboxConfig
from models.errors import ErrorCode, MailFailure
from models.fields import EmailAddress, Host, HttpsUrl, address_key
from models.secrets import Secret
from models.validation import examine
from tests.api import Api
from tests.inboxes import consent, inbox_values

HOST, URL, ADDRESS = TypeAdapter(Host), TypeAdapter(HttpsUrl), TypeAdapter(EmailAddress)

ODD = st.sampled_from(
    ["xn--", "xn--a", "XN--A", "xn--80ak6aa92e", "%", "%eth0", "fe80::1", "::1", "[", "]", ":", "@", ".", "..", "-",
     "_", "=?utf-8?q?", "?=", "https://", "/", "?", "#", "\\", ":443", ":0", ":99999", "127.1", "0x7f.1", "256.1.1.1",
     "example", "org", "ü", "ß", "ﷺ", "。", "\uff20", "\u200b",
     "\u200d", "\ufeff", "\u00ad", "\u00a0", "\u202e", "\u0301",
     "\ud800", "\0", "\n", "\t", " ", "<", ">", '"', ",", ";", "(", ")", "a" * 64, "ü" * 40]
)  # fmt: skip
TEXT = st.text(max_size=30) | st.lists(ODD | st.text(max_size=3), max_size=8).map("".join)
EXAMPLES = settings(max_examples=300, deadline=None, derandomize=True)


async def nowhere(_: str) -> Sequence[str]:
    return []


class Unreachable(HostPolicy):
    """Judges hosts as ever. What may be connected to is not: an address that was made up may be somebody's."""

    async def resolve(self, server: str) -> list[IPAddress]:
        await super().resolve(server)
        raise MailFailure(ErrorCode.DNS_FAILED, "nowhere")


def accepted(field: TypeAdapter[str], text: str) -> bool:
    """Whether the field takes the text. It raises nothing else than what becomes a userError."""
    try:
        field.validate_python(text)
    except ValidationError:
        return False
    return True


# -------------------------------------------------------------------------------------------------------- any text


@given(text=TEXT)
@example("2606:4700::1111%" + "z" * 200)
@example("fe80::1%eth0")
@example("xn--a")
@EXAMPLES
def test_no_host_is_a_fault(text: str) -> None:
    """Neither in the input, nor, where it is stored from before the rule, in a check."""
    accepted(HOST, text)
    hosts = HostPolicy(["10.0.0.0/8"], lookup=nowhere)
    trust = Trust()
    mail = Mail(hosts, trust, AccessTokens(hosts, trust), Mail.of().names)
    found = asyncio.run(check_imap(mail, Account(text, 993, "a", True, Secret("b"))))
    assert found.failure is not None
    canonical(text)


@given(text=TEXT | TEXT.map("https://{}/".format))
@example("https://xn--a/")
@example("https://xn--/token")
@example("https://256.1.1.1/")
@EXAMPLES
def test_no_url_is_a_fault(text: str) -> None:
    accepted(URL, text)
    with pytest.raises(MailFailure):
        asyncio.run(fetch(Unreachable(lookup=nowhere), Trust(), text, form={}, seconds=5))


@given(text=TEXT | TEXT.map("{}@example.org".format) | TEXT.map("a@{}".format) | st.emails())
@example("=?utf-8?q?evil=40example.com?=@example.org")
@EXAMPLES
def test_an_address_is_read_as_it_was_written(text: str) -> None:
    """By whoever parses the header field that it is written into, and by whoever normalizes it first."""
    if not accepted(ADDRESS, text):
        return
    local, _, domain = text.rpartition("@")
    written = f"{local}@{ascii_name(domain)}"
    parsed = email.message_from_string(f"From: {mailbox(None, text)}\n\n", policy=email.policy.default)["From"]
    assert [one.addr_spec for one in parsed.addresses] == [written]
    assert getaddresses([mailbox("A, B", text)])[0][1] == written
    assert address_key(address_key(text)) == address_key(text)


FIELDS = ["email", "smtp__server", "imap__server", "smtp__oauth2", "smtp__username", "imap__username"]


@given(texts=st.lists(TEXT, min_size=len(FIELDS), max_size=len(FIELDS)))
@EXAMPLES
def test_any_text_in_every_field_gives_data_or_problems(texts: list[str]) -> None:
    values = dict(zip(FIELDS, texts, strict=True))
    changes: dict[str, Any] = {**values, "smtp__oauth2": consent(tokenUrl=values["smtp__oauth2"])}
    config, problems = examine(InboxConfig, inbox_values(smtp__password=..., **changes), "input")
    assert bool(config) != bool(problems)
    assert not config or all(problem.field for problem in warnings(config, ()))


@pytest.mark.parametrize("field", [HOST, ADDRESS, URL])
@pytest.mark.parametrize("part", ["\u0301\u0316", "ﷺ", "ü.", "xn--a", "=?", "1:", "%"])
def test_the_length_is_judged_first(field: TypeAdapter[str], part: str) -> None:
    """What grows with the square of the length would take minutes: this is a hundredth of a second."""
    text = "a@a" + part * 300_000
    started = time.process_time()
    assert not accepted(field, text)
    with pytest.raises(ValueError, match="long"):
        address_key(text)
    canonical(text)
    assert time.process_time() - started < 3


# ---------------------------------------------------------------------------------------------------- what is taken


@pytest.mark.parametrize(
    "text",
    ["mail.example.org", "MX_1.example.", "bücher.example", "xn--bcher-kva.example", "xn--nxasmq6b", "localhost",
     "127.1", "2001:db8::1", "[2001:db8::1]", "ab--c.org", "faß.de", "\u0646\u0627\u0645\u0647\u200c\u0627\u06cc.com"],
)  # fmt: skip
def test_hosts(text: str) -> None:
    assert accepted(HOST, text)


@pytest.mark.parametrize(
    "text",
    ["xn--a", "XN--A.example.org", "mail.xn--", "fe80::1%eth0", "[fe80::1%25eth0]", "2606:4700::1111%1", "a..b", ".a",
     "<img\\032src=x>.example", "http://a", "a:25", "a/b", "a@b", "-", "a" * 64, "ü" * 63, "1.2.3.4%1"],
)  # fmt: skip
def test_what_is_no_host(text: str) -> None:
    assert not accepted(HOST, text)


@pytest.mark.parametrize(
    "text",
    ["https://a", "https://a/", "https://a:8443/x?y=z", "https://[2001:db8::1]/", "https://xn--bcher-kva.example/"],
)
def test_urls(text: str) -> None:
    assert accepted(URL, text)


@pytest.mark.parametrize(
    "text",
    ["https://xn--a/", "https://a.xn--a:443/", "https://u@a/", "https://u:p@a/", "https://a#b", "https://a/#b",
     "https://a?#b", "https://a:0/", "https://a:65536/", "https://a:/", "https://[fe80::1%25eth0]/", "https://a\\b/",
     "https:///a", "https://", "http://a/", "https://bücher.example/", "https://a b/", "//a/"],
)  # fmt: skip
def test_what_is_no_url(text: str) -> None:
    assert not accepted(URL, text)


@pytest.mark.parametrize(
    "text",
    ["=?utf-8?q?evil=40example.com?=@example.org", "=?x@example.org", "a=?b?=@example.org", '"a b"@example.org',
     '"=?utf-8?q?x?="@example.org', '""@example.org', "a\\@b@example.org", "a(b)@example.org",
     "a\uff20b@example.org",
     "a\uff1cb\uff1e@example.org", "\uff1d?utf-8?q?x?=@example.org", "a\ufe55b@example.org",
     "a,b@example.org", "A <a@example.org>",
     "a@[127.0.0.1]", "a@xn--a.org"],
)  # fmt: skip
def test_what_is_no_address(text: str) -> None:
    assert not accepted(ADDRESS, text)


@pytest.mark.parametrize("text", ["a=b@example.org", "a?b@example.org", "o'neil+x@example.org", "grüße@bücher.example"])
def test_addresses(text: str) -> None:
    assert accepted(ADDRESS, text)


# ------------------------------------------------------------------------------------------------------------ blanks


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (" mail.example.org", "begins with a space: remove it"),
        ("mail.example.org\u00a0", "ends with a no-break space (U+00A0): remove it"),
        ("\ufeffmail.example.org", "begins with a byte order mark (U+FEFF)"),
        ("mail.\u200bexample.org", "holds a zero-width space (U+200B)"),
        ("mail example.org", "holds a space"),
        ("mail.example.org\u202f", "ends with a narrow no-break space (U+202F)"),
        ("mail.ex\u00adample.org", "holds an invisible character (U+00AD)"),
    ],
)
def test_the_blank_in_an_address_is_named(text: str, part: str) -> None:
    address = f"a@{text}" if text.startswith("m") else f"{text[0]}a@{text[1:]}"
    changes: dict[str, Any] = {"smtp__server": text, "email": address}
    changes |= {"imap__password": ..., "imap__oauth2": consent(tokenUrl=f"https://{text}/")}
    _, problems = examine(InboxConfig, inbox_values(**changes), "input")
    told = {".".join((problem.field or ())[1:]): problem.message for problem in problems}
    assert set(told) == {"smtp.server", "email", "imap.oauth2.tokenUrl"}
    assert part in told["smtp.server"]
    assert part in told["email"]
    assert part[part.index(" a") :].removesuffix(": remove it") in told["imap.oauth2.tokenUrl"]


async def test_over_both_apis(api: Api) -> None:
    """None of them was a problem before it was a fault of the server."""
    for changes, field in (
        ({"smtp__server": "2606:4700::1111%" + "z" * 200}, "input.smtp.server"),
        ({"smtp__server": "xn--a"}, "input.smtp.server"),
        ({"email": "=?utf-8?q?evil=40example.com?=@example.org"}, "input.email"),
        ({"imap__password": ..., "imap__oauth2": consent(tokenUrl="https://xn--a/")}, "input.imap.oauth2.tokenUrl"),
    ):
        outcome = await api.set_inbox(inbox_values(**changes))
        assert outcome.problems == {(field, "INVALID")}
