"""Logins that are refused where a paste has left something in them: the hint says so, and nothing of the password."""

from collections.abc import Iterator

import pytest

from mail import pasted
from tests.mail.certificates import Certificates
from tests.mail.checking import told
from tests.mail.dialogues import Protocol, dialogue
from tests.mail.hostile import PROTOCOLS, check_scripted, nothing_stays
from tests.mail.scripted import both, hear, say, scripted

USER = "support@example.test"
SECRET = "Tr0ub4dor"


@pytest.fixture(autouse=True)
def _nothing_stays(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with nothing_stays(capfd, caplog):
        yield


REFUSALS = {
    "IMAP": {"AUTHENTICATE": both(say("+ "), hear(), say("{tag} NO [AUTHENTICATIONFAILED] no"))},
    "SMTP": {"AUTH": say("535 5.7.8 no")},
}


@PROTOCOLS
@pytest.mark.parametrize(
    ("username", "password", "part"),
    [
        (USER, f"{SECRET} ", "The password begins or ends with a blank"),
        (USER, f"\u00a0{SECRET}", "The password begins or ends with a blank"),
        (USER, f"{SECRET}\u200b{SECRET}", "The password holds a no-break space or another invisible character"),
        (f"{USER} ", SECRET, "The username begins or ends with a blank"),
        (USER, "abcd efgh ijkl mnop", "in groups with blanks"),
        ("grüße@bücher.example", SECRET, "grüße@xn--bcher-kva.example"),
    ],
)
async def test_the_hint_of_a_refused_login(
    username: str, password: str, part: str, protocol: Protocol, certificates: Certificates
) -> None:
    with scripted(certificates.server_context(), *dialogue(protocol, **REFUSALS[protocol.name])) as server:
        found = await check_scripted(protocol, server, certificates, username=username, login=password)
    assert found.failure
    assert found.failure.field == ("password",)
    assert part in str(found.stages[-1].hint)
    assert "The username is often the whole address" in str(found.stages[-1].hint), "what may be wrong beside it"
    assert SECRET not in told(found)
    assert "efgh" not in told(found)


@pytest.mark.parametrize(
    ("username", "password"),
    [
        (USER, SECRET),
        (USER, "correct horse battery"),
        (USER, "a b"),
        (USER, "abcd-efgh-ijkl-mnop"),
        ("support", SECRET),
    ],
)
def test_of_an_ordinary_login_nothing_is_said(username: str, password: str) -> None:
    """Words with blanks between them are a password as people make them, unless they are all of one length."""
    assert pasted.hint(username, password) is None


@pytest.mark.parametrize("size", [1, 5, 40, 900])
def test_the_length_of_a_password_is_told_to_nobody(size: int) -> None:
    assert pasted.hint(USER, "x" * size + " ") == pasted.hint(USER, "y "), "nor anything else of it"
