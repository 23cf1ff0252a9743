"""The mail services of this server, created once: host policy, TLS trust, access tokens, name servers."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from mail.dns import NameServers
from mail.hosts import HostPolicy
from mail.oauth2 import AccessTokens
from mail.tls import Trust
from models.config import MAIL_PORTS
from models.errors import StartError


@dataclass(frozen=True, slots=True)
class Mail:
    """The services that every session with a mail server uses."""

    hosts: HostPolicy
    trust: Trust
    tokens: AccessTokens
    names: NameServers

    @classmethod
    def of(cls, allowed: Iterable[str] = (), ports: Collection[int] | None = None, ca_file: Path | None = None) -> Self:
        """Creates the services from the operator's settings. Raises StartError."""
        try:
            hosts = HostPolicy(allowed, ports or MAIL_PORTS)
        except ValueError as error:
            raise StartError(f"EMAIL_INBOX_MAIL_HOSTS_ALLOW: {error}.") from None
        try:
            trust = Trust(ca_file)
        except ValueError:
            raise StartError(f"EMAIL_INBOX_CA_FILE: {ca_file} holds no certificate in PEM.") from None
        except OSError as error:
            raise StartError(f"EMAIL_INBOX_CA_FILE: {ca_file} can't be read: {error.strerror}.") from None
        return cls(hosts, trust, AccessTokens(hosts, trust), NameServers())
