"""A `Mail` that connects to the servers of the tests; accounts; and summaries of the results of checks.

`mail_of(certificates, At.EXPIRED, {993: 12345})` resolves every name to the address, and maps port 993 to 12345.
"""

import base64
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from mail.hosts import HostPolicy, IPAddress
from mail.oauth2 import AccessTokens
from mail.report import ServerCheck
from mail.service import Mail
from mail.tls import Trust
from models.account import Account, Grant
from models.secrets import Secret
from tests.mail.accounts import PASSWORD, USER
from tests.mail.addresses import NAME, At
from tests.mail.certificates import Certificates
from tests.mail.token_endpoint import CLIENT_ID, CLIENT_SECRET, TokenEndpoint

ALL_PORTS = frozenset(range(1, 65_536))
LOOPBACK = ["127.0.0.0/8"]


class Leading(HostPolicy):
    """A policy that allows loopback, resolves every name to one address, and maps ports."""

    def __init__(self, address: str, ports: Mapping[int, int]) -> None:
        super().__init__(LOOPBACK, ALL_PORTS, self.look_up)
        self.address = address
        self.asked: list[str] = []
        self._led = ports

    async def look_up(self, name: str) -> list[str]:
        self.asked.append(name)
        return [str(At.GOOD) if name == "localhost" else self.address]

    async def connect(self, addresses: Sequence[IPAddress], port: int) -> socket.socket:
        return await super().connect(addresses, self._led.get(port, port))


def mail_of(certificates: Certificates, at: str = At.GOOD, ports: Mapping[int, int] | None = None) -> Mail:
    hosts, trust = Leading(at, ports or {}), trust_of(certificates.ca_file)
    return replace(Mail.of(), hosts=hosts, trust=trust, tokens=AccessTokens(hosts, trust))


@cache
def trust_of(ca_file: Path) -> Trust:
    """Caches the trust, because reading the machine's authorities takes longer than a check."""
    return Trust(ca_file)


def account(port: int, **more: Any) -> Account:
    """Returns an account at any port, with the right password unless a test changes it."""
    values = {"server": NAME, "username": USER, "secure": True, "login": PASSWORD, **more}
    if isinstance(values["login"], str):
        values["login"] = Secret(values["login"])
    return Account(port=port, **values)


def grant(tokens: TokenEndpoint, refresh_token: str, **more: Any) -> Grant:
    values = {"client_id": CLIENT_ID, "client_secret": Secret(CLIENT_SECRET), **more}
    return Grant(token_url=tokens.url, refresh_token=Secret(refresh_token), **values)


def stages(found: ServerCheck) -> list[str]:
    return [stage.stage.value for stage in found.stages]


def outcome(found: ServerCheck) -> str:
    """Returns `SUCCESS`, or the failed stage, the code and the field to change: `AUTHENTICATE TIMEOUT port`."""
    if found.failure is None:
        return "SUCCESS"
    last = found.stages[-1]
    assert last.failure is found.failure, "a stage was tried after one that broke"
    assert not last.success
    return f"{last.stage} {found.failure.kind} {'.'.join(found.failure.field or ())}".strip()


def warnings(found: ServerCheck) -> dict[str, str]:
    """Returns the hints of the successful stages."""
    return {stage.stage.value: stage.hint for stage in found.stages if stage.success and stage.hint}


def told(found: ServerCheck) -> str:
    """Returns all text in the result of the check."""
    failure = found.failure
    seen: list[object] = [found, *found.stages, found.certificate, found.capabilities]
    seen += [failure, str(failure), failure.hint, failure.field, failure.__dict__] if failure else []
    return "\n".join(map(repr, seen))


def encodings(secret: str) -> Iterator[bytes]:
    """Yields the forms of a secret on the network: as it is, and in base64 at every offset."""
    raw = secret.encode()
    yield raw
    for shift in range(3):
        encoded = base64.b64encode(bytes(shift) + raw)
        yield encoded[4 if shift else 0 : -4]
