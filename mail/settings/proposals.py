"""Settings that were found for an address: what is proposed, and where it comes from. Knows no source."""

from dataclasses import dataclass, field
from enum import StrEnum

from mail.settings.providers import MailLogin


class ProposalSource(StrEnum):
    """Where a proposal comes from, in the order in which equals are shown."""

    PROVIDER = "PROVIDER"
    MX = "MX"
    SRV = "SRV"
    AUTOCONFIG = "AUTOCONFIG"


class Confidence(StrEnum):
    """How likely a proposal is right, the best first."""

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
    """What was found, the best first. `provider` and `hint` are written by us, never by the domain."""

    provider: str | None = None
    hint: str | None = None
    smtp: list[Proposal] = field(default_factory=list)
    imap: list[Proposal] = field(default_factory=list)
