"""Composes messages (RFC 5322, 2045, 2047, 6532).

This module writes header fields itself. Python's newer email policies decode the encoded words of a display name before
they write it, which would turn `=?UTF-8?Q?x=0D=0ABcc:_...?=` into a separate header field.
"""

import quopri
import re
from datetime import UTC, datetime
from email.header import Header
from email.utils import format_datetime, make_msgid

from mail.hosts import ascii_name

_PLAIN = re.compile(r"[A-Za-z0-9 !#$%&'*+,./:;@()\[\]<>_`{|}~^-]+")
"""Text that a quoted string may hold as it is. Excludes `=`, `"` and backslash, so that it has only one reading."""

TEST_TEXT = (
    "This is a test mail from the shared inbox {email}.\r\n\r\nIf you read this, outgoing mail of the inbox works.\r\n"
)


def test_message(sender_info: str | None, email: str, to: str) -> bytes:
    """Composes the test mail of an inbox."""
    fields = {
        "From": mailbox(sender_info, email),
        "To": mailbox(None, to),
        "Subject": encoded(f"Test mail from {email}"),
        "Date": format_datetime(datetime.now(UTC)),
        "Message-ID": make_msgid(domain=ascii_name(email.rpartition("@")[2])),
        "Auto-Submitted": "auto-generated",  # RFC 3834: suppresses vacation replies
        "MIME-Version": "1.0",
        "Content-Type": "text/plain; charset=utf-8",
        "Content-Transfer-Encoding": "quoted-printable",
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return head.encode() + b"\r\n" + quopri.encodestring(TEST_TEXT.format(email=email).encode())


def mailbox(name: str | None, address: str) -> str:
    """Formats an address and its display name, one line of text, for a header field (RFC 5322, 3.4)."""
    local, _, domain = address.rpartition("@")
    ascii_address = f"{local}@{ascii_name(domain)}"
    if not name:
        return ascii_address
    phrase = f'"{name}"' if _PLAIN.fullmatch(name) and len(name) <= 60 else _encoded_words(name)
    return f"{phrase}\r\n <{ascii_address}>"


def encoded(text: str) -> str:
    """Encodes a line of text for an unstructured header field."""
    return text if _PLAIN.fullmatch(text) and len(text) <= 900 else _encoded_words(text)


def _encoded_words(text: str) -> str:
    return Header(text, "utf-8", maxlinelen=75, header_name="Subject").encode(linesep="\r\n")
