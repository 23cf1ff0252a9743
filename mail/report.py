"""What is told of a conversation with a mail server: its stages, the certificate, the reply. Knows no protocol.

Whoever tells it further needs nothing of what it takes to talk to a mail server.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from models.errors import MailFailure

GOOD, TEMPORARY, PERMANENT = 2, 4, 5
"""What the first digit of a code says (RFC 5321, 4.2.1)."""


class StageName(StrEnum):
    """The stages of a check, in the order in which they come."""

    POLICY = "POLICY"
    DNS = "DNS"
    CONNECT = "CONNECT"
    TLS = "TLS"
    GREETING = "GREETING"
    STARTTLS = "STARTTLS"
    AUTHENTICATE = "AUTHENTICATE"
    SELECT_INBOX = "SELECT_INBOX"
    SENDER = "SENDER"


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a server's certificate says. The fingerprint is its SHA-256 in 64 lower-case hexadecimal digits.

    `is_alone`: the server sent no other with it, as far as that is known.
    """

    subject: str
    issuer: str
    names: list[str]
    valid_from: datetime
    expires_at: datetime
    fingerprint: str
    is_alone: bool = False

    def days_left(self) -> int:
        return (self.expires_at - datetime.now(UTC)).days


@dataclass(slots=True)
class Stage:
    """One stage that was tried. The hint of one that passed is a warning."""

    stage: StageName
    success: bool = True
    duration_ms: float = 0.0
    failure: MailFailure | None = None
    hint: str | None = None

    def fail(self, failure: MailFailure) -> MailFailure:
        """Notes what broke the stage, and returns it."""
        self.success, self.failure, self.hint = False, failure, failure.hint
        return failure


@dataclass(slots=True)
class ServerCheck:
    """What came of the check of one server."""

    stages: list[Stage] = field(default_factory=list)
    certificate: Certificate | None = None
    capabilities: list[str] = field(default_factory=list)

    @property
    def failure(self) -> MailFailure | None:
        """What broke it, if anything did."""
        return next((stage.failure for stage in self.stages if stage.failure), None)

    @property
    def success(self) -> bool:
        return self.failure is None


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server answered: its code, and the enhanced one (RFC 3463) where it gives one."""

    code: int
    enhanced: str | None = None

    @property
    def is_temporary(self) -> bool:
        return self.code // 100 == TEMPORARY

    def __str__(self) -> str:
        return f"{self.code} {self.enhanced}" if self.enhanced else str(self.code)
