"""The wire of a composed message, read again, equals what was asked, whatever a display name holds."""

import email
from email import policy
from email.header import decode_header, make_header
from email.utils import getaddresses

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mail.compose import mailbox, test_message
from models.fields import is_line

message_of = test_message
del test_message  # it is no test

LINES = st.text(max_size=200).filter(lambda text: is_line(text) and bool(text.strip()))


def fields_of(raw: bytes) -> email.message.Message:
    return email.message_from_bytes(raw, policy=policy.compat32)


def read(value: object) -> str:
    return str(make_header(decode_header(str(value))))


@given(name=LINES)
@example("=?UTF-8?Q?=0D=0A?=")
@example("=?UTF-8?Q?x=0D=0ABcc:_a@b.example?=")
@example("=?utf-8?b?AAAA?= ü")
@example('A "quoted", name <x@y.example>')
@example("ü" * 190)
@example("back\\slash")
@example("a" * 200)
@example("名前 =?x?=")
def test_a_display_name_is_on_the_wire_what_was_asked(name: str) -> None:
    message = fields_of(message_of(name, "support@example.org", "anna@example.org"))
    [(shown, address)] = getaddresses([str(message["From"]).replace("\r\n", "")])
    assert (read(shown), address) == (name, "support@example.org")
    assert message.keys() == [
        "From",
        "To",
        "Subject",
        "Date",
        "Message-ID",
        "Auto-Submitted",
        "MIME-Version",
        "Content-Type",
        "Content-Transfer-Encoding",
    ]


@given(name=LINES)
@example("=?UTF-8?Q?x=0D=0ABcc:_a@b.example?=")
def test_the_wire_is_lines_of_ascii_that_no_server_cuts(name: str) -> None:
    raw = message_of(name, "support@example.org", "anna@example.org")
    head, _, body = raw.partition(b"\r\n\r\n")
    assert raw.isascii()
    assert all(len(line) <= 998 for line in raw.split(b"\r\n"))
    assert b"\n" not in head.replace(b"\r\n", b"")
    assert b"support@example.org" in body


def test_a_field_holds_what_it_is_for() -> None:
    message = fields_of(message_of("Support", "support@example.org", "anna@example.org"))
    assert message["To"] == "anna@example.org"
    assert message["Subject"] == "Test mail from support@example.org"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Message-ID"].endswith("@example.org>")
    assert "outgoing mail of the inbox works" in message.get_payload()


@pytest.mark.parametrize(
    ("address", "written"),
    [
        ("support@bücher.example", "support@xn--bcher-kva.example"),
        ("jürgen@example.org", "jürgen@example.org"),
        ('"a b"@example.org', '"a b"@example.org'),
        ("support@123", "support@123"),
        ("support@0x7f.1", "support@0x7f.1"),
    ],
)
def test_a_domain_is_written_in_ascii(address: str, written: str) -> None:
    assert mailbox(None, address) == written
    assert written.encode() in message_of(None, address, "anna@example.org")


def test_nobody_named_is_an_address_alone() -> None:
    assert fields_of(message_of(None, "support@example.org", "a@example.org"))["From"] == "support@example.org"
    assert fields_of(message_of("", "support@example.org", "a@example.org"))["From"] == "support@example.org"
