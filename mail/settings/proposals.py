"""The settings proposed for an address, with their source and confidence."""

from dataclasses import dataclass, field
from enum import StrEnum

from mail.settings.providers import MailLogin


class ProposalSource(StrEnum):
    """The source of a proposal. Proposals of equal confidence are listed in this order."""

    PROVIDER = "PROVIDER"
    MX = "MX"
    SRV = "SRV"
    AUTOCONFIG = "AUTOCONFIG"


class Confidence(StrEnum):
    """How likely a proposal is right, highest first."""

    HIGH = "HIGH"
    MEDIUM = "MEDIUM"
    LOW = "LOW"


@dataclass(frozen=True, slots=True)
class Proposal:
    """A server to try."""

    server: str
    port: int
    secure: bool
    username: str
    login: MailLogin
    source: ProposalSource
    confidence: Confidence


@dataclass(frozen=True, slots=True)
class Proposals:
    """The proposals, best first. `provider` and `hint` come from our table, never from the domain."""

    provider: str | None = None
    hint: str | None = None
    smtp: list[Proposal] = field(default_factory=list)
    imap: list[Proposal] = field(default_factory=list)
