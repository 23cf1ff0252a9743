"""Servers whose TLS is too old or too weak, and chains that break: each is told by its name. Real TLS servers."""

import ssl
from collections.abc import Callable

import pytest

from tests.mail.addresses import At
from tests.mail.certificates import Certificates
from tests.mail.checking import mail_of, outcome
from tests.mail.dialogues import Protocol, dialogue
from tests.mail.hostile import PROTOCOLS, TLS, check, nothing_got_out, port_of
from tests.mail.scripted import scripted

Make = Callable[[Certificates], ssl.SSLContext]

WEAK: dict[str, tuple[Make, str]] = {
    "weak DH": (lambda made: made.old_context("DHE-RSA-AES128-GCM-SHA256"), "too small (weak DH)"),
    "old versions": (lambda made: made.old_context("ALL", ssl.TLSVersion.TLSv1_1), "only old versions of TLS"),
    "old ciphers": (lambda made: made.old_context("AES128-SHA"), "none of the ciphers that are safe"),
    "no forward secrecy": (lambda made: made.old_context("AES128-GCM-SHA256"), "none of the ciphers that are safe"),
}


@PROTOCOLS
@TLS
@pytest.mark.parametrize("weak", WEAK)
async def test_what_is_too_weak_is_named(
    weak: str, implicit: bool, protocol: Protocol, certificates: Certificates
) -> None:
    make, part = WEAK[weak]
    with scripted(make(certificates), *dialogue(protocol), implicit=implicit) as server:
        port = port_of(protocol, implicit=implicit)
        found = await check(protocol, mail_of(certificates, ports={port: server.port}), port)
        assert outcome(found) == f"{'TLS' if implicit else 'STARTTLS'} TLS_FAILED server"
        assert part in str(found.failure)
        assert "operator" in str(found.stages[-1].hint)
        nothing_got_out(server, found)


CHAINS: dict[str, tuple[Make, str, str]] = {
    "self-signed": (lambda made: made.server_context(At.SELF_SIGNED), "is self-signed", "tlsFingerprint"),
    "weak key": (lambda made: made.weak_key_context(), "key that is too small", "2048 bits"),
    "leaf alone": (lambda made: made.alone_context(), "no intermediate certificate", "fullchain.pem"),
    "unknown authority": (lambda made: made.whole_context(), "not issued by an authority", "EMAIL_INBOX_CA_FILE"),
}


@PROTOCOLS
@TLS
@pytest.mark.parametrize("chain", CHAINS)
async def test_where_a_chain_breaks_is_named(
    chain: str, implicit: bool, protocol: Protocol, certificates: Certificates
) -> None:
    make, message, hint = CHAINS[chain]
    with scripted(make(certificates), *dialogue(protocol), implicit=implicit) as server:
        port = port_of(protocol, implicit=implicit)
        found = await check(protocol, mail_of(certificates, ports={port: server.port}), port)
        assert outcome(found) == f"{'TLS' if implicit else 'STARTTLS'} CERTIFICATE_INVALID tlsFingerprint"
        assert message in str(found.failure)
        assert hint in str(found.stages[-1].hint)
