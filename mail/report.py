"""The report of a session with a mail server: stages, certificate, reply.

Importing it loads none of the mail protocol code.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from models.errors import MailFailure

GOOD, TEMPORARY, PERMANENT = 2, 4, 5
"""The first digit of a reply code (RFC 5321, 4.2.1)."""


class StageName(StrEnum):
    """The stages of a check, in order."""

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
    """A server's certificate. The fingerprint is its SHA-256 in 64 lower-case hexadecimal digits.

    `is_alone`: the server is known to have sent no other certificate with it.
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
    """One attempted stage. The hint of a successful stage is a warning."""

    stage: StageName
    success: bool = True
    duration_ms: float = 0.0
    failure: MailFailure | None = None
    hint: str | None = None

    def fail(self, failure: MailFailure) -> MailFailure:
        """Marks the stage as failed, and returns the failure."""
        self.success, self.failure, self.hint = False, failure, failure.hint
        return failure


@dataclass(slots=True)
class ServerCheck:
    """The result of checking one server."""

    stages: list[Stage] = field(default_factory=list)
    certificate: Certificate | None = None
    capabilities: list[str] = field(default_factory=list)

    @property
    def failure(self) -> MailFailure | None:
        """The failure of the first failed stage, if any."""
        return next((stage.failure for stage in self.stages if stage.failure), None)

    @property
    def success(self) -> bool:
        return self.failure is None


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply: its code, and its enhanced status code (RFC 3463) if it has one."""

    code: int
    enhanced: str | None = None

    def __str__(self) -> str:
        return f"{self.code} {self.enhanced}" if self.enhanced else str(self.code)
