"""Checks of scripted servers, and assertions that must hold after each."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from mail.check import check_imap, check_smtp
from mail.report import ServerCheck
from mail.service import Mail
from tests.mail.accounts import PASSWORD, USER
from tests.mail.certificates import Certificates
from tests.mail.checking import account, encodings, mail_of, told
from tests.mail.dialogues import CANARY, IMAP, SMTP, Protocol
from tests.mail.scripted import Scripted
from tests.process import until

PROTOCOLS = pytest.mark.parametrize("protocol", [IMAP, SMTP], ids=["imap", "smtp"])
TLS = pytest.mark.parametrize("implicit", [True, False], ids=["implicit", "STARTTLS"])


async def check(protocol: Protocol, mailing: Mail, port: int, **more: Any) -> ServerCheck:
    if protocol is IMAP:
        return await check_imap(mailing, account(port, **more))
    return await check_smtp(mailing, account(port, **more), USER)


def port_of(protocol: Protocol, *, implicit: bool = False) -> int:
    return {"IMAP": 993 if implicit else 143, "SMTP": 465 if implicit else 587}[protocol.name]


async def check_scripted(protocol: Protocol, server: Scripted, certificates: Certificates, **more: Any) -> ServerCheck:
    """Checks a scripted server, as if it were at the standard port."""
    port = port_of(protocol, implicit=server.implicit)
    return await check(protocol, mail_of(certificates, ports={port: server.port}), port, **more)


def nothing_got_out(server: Scripted, found: ServerCheck) -> None:
    """Asserts that the result has no text of the server, and that the password was not sent before TLS."""
    assert CANARY not in told(found).lower()
    for secret in encodings(PASSWORD):
        assert secret not in server.clear
        assert secret.decode() not in told(found)


@contextmanager
def nothing_stays(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Asserts that no thread is left waiting for the server afterwards, and that nothing it sent was logged."""
    caplog.set_level(logging.DEBUG)
    yield
    until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("mail-")], 5)
    logged = [record.getMessage() for record in caplog.get_records("call")]
    printed = "\n".join([*capfd.readouterr(), *logged])
    assert CANARY not in printed.lower()
    assert PASSWORD not in printed
