"""Checks of mail servers and test mails in the GraphQL language. Says nothing about how."""

from datetime import datetime
from typing import Annotated, Any

import strawberry

from mail import report
from mail.report import StageName
from models.check import CheckConfig
from models.config import Protocol
from resolvers import check as resolvers
from resolvers.trial import Sent
from resolvers.trial import send_test_email as send
from schema import inbox  # noqa: F401 - makes the configs input types
from schema.context import Info
from schema.enums import described_enum
from schema.input import input_of
from schema.payload import Payload, UserError, answer, printed

described_enum(
    StageName,
    "A step on the way into a mailbox.",
    {
        StageName.POLICY: "May this server connect to that host and port?",
        StageName.DNS: "The host's name is resolved; every address is held against the policy.",
        StageName.CONNECT: "A connection is made.",
        StageName.TLS: "TLS is agreed on, and the certificate is judged.",
        StageName.GREETING: "The mail server says that it is ready.",
        StageName.STARTTLS: "The connection in clear is turned into one with TLS.",
        StageName.AUTHENTICATE: "Username and password are accepted, or the consent.",
        StageName.SELECT_INBOX: "IMAP: the mailbox INBOX is opened.",
        StageName.SENDER: "SMTP: the inbox's address is accepted as the sender. No mail is sent.",
    },
    name="CheckStageName",
)


@strawberry.type(description="What a mail server's certificate says of itself, whether it is trusted or not.")
class Certificate:
    subject: str = strawberry.field(description="Whom it was made for.")
    issuer: str = strawberry.field(description="Who signed it.")
    names: list[str] = strawberry.field(description="Host names and addresses that it is for.")
    valid_from: datetime = strawberry.field(description="When it begins.")
    expires_at: datetime = strawberry.field(description="When it ends.")
    fingerprint: str = strawberry.field(
        description="Its SHA-256, as `tlsFingerprint` takes it. Compare it with what the server's operator says before "
        "you trust it."
    )


@strawberry.type(description="One step of a check.")
class CheckStage:
    stage: StageName = strawberry.field(description="Which step.")
    success: bool = strawberry.field(description="Whether it was taken.")
    duration_ms: float = strawberry.field(description="How long it took, in milliseconds.")
    error: UserError | None = strawberry.field(
        description="Why it was not taken; `field` is the input field to change, such as "
        '`["input", "smtp", "port"]`, also where a stored inbox is checked.'
    )
    hint: str | None = strawberry.field(description="What to do about it; of a step that was taken, a warning.")


@strawberry.type(description="What one mail server said to an inbox: its steps in order, up to the first that broke.")
class ServerCheck:
    success: bool = strawberry.field(description="True where every step was taken.")
    stages: list[CheckStage] = strawberry.field(description="The steps that were tried.")
    certificate: Certificate | None = strawberry.field(
        description="The server's certificate; null where no TLS was begun."
    )
    capabilities: list[str] = strawberry.field(
        description="What the server says that it can do, such as `IDLE` or `SIZE`; at most 100."
    )


@input_of(CheckConfig)
class CheckEmailInboxInput(dict[str, Any]):
    """What to check: a stored inbox by its id, servers that are not saved yet, or both. Nothing is saved."""


@strawberry.type(description="What a check found. What broke is at its stage, and in userErrors.")
class CheckEmailInboxPayload(Payload):
    smtp: ServerCheck | None = strawberry.field(
        default=None, description="The server for outgoing mail; null where it was not checked."
    )
    imap: ServerCheck | None = strawberry.field(
        default=None, description="The server for incoming mail; null where it was not checked."
    )


@strawberry.type(description="The test mail as the mail server took it, or why it is not known to be sent.")
class SendTestEmailPayload(Payload):
    recipient: str | None = strawberry.field(default=None, description="Address that it was sent to.")
    smtp_code: int | None = strawberry.field(default=None, description="The mail server's code, such as 250.")
    enhanced_code: str | None = strawberry.field(
        default=None, description="Its enhanced code (RFC 3463), such as `2.0.0`, where it gave one."
    )


async def check_email_inbox(
    info: Info,
    input: Annotated[CheckEmailInboxInput, strawberry.argument(description="What to check.")],
) -> CheckEmailInboxPayload:
    return await answer(CheckEmailInboxPayload, resolvers.check_email_inbox(info.context.context, input), _checked)


async def send_test_email(
    info: Info,
    id: Annotated[strawberry.ID, strawberry.argument(description="Id of an active inbox.")],
    to: Annotated[
        str | None, strawberry.argument(description="Address to send to; left out: the caller's own.")
    ] = None,
) -> SendTestEmailPayload:
    return await answer(SendTestEmailPayload, send(info.context.context, id, to), _sent)


def _checked(found: resolvers.Checked) -> dict[str, Any]:
    servers: dict[str, Any] = {protocol: _server(protocol, check) for protocol, check in found}
    return {**servers, "user_errors": [printed(problem) for problem in found.problems]}


def _server(protocol: Protocol, check: report.ServerCheck) -> ServerCheck:
    stages = [
        CheckStage(
            stage=stage.stage,
            success=stage.success,
            duration_ms=stage.duration_ms,
            error=printed(resolvers.problem_of(stage.failure, "input", protocol)) if stage.failure else None,
            hint=stage.hint,
        )
        for stage in check.stages
    ]
    return ServerCheck(
        success=check.success,
        stages=stages,
        certificate=check.certificate,  # type: ignore[arg-type]  # it resolves its own fields
        capabilities=check.capabilities,
    )


def _sent(sent: Sent) -> dict[str, Any]:
    return {
        "recipient": sent.recipient,
        "smtp_code": sent.reply.code,
        "enhanced_code": sent.reply.enhanced,
    }
