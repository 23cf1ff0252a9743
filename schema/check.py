"""GraphQL types and resolvers for checks of mail servers and test mails."""

from datetime import datetime
from typing import Annotated, Any

import strawberry

from mail import report
from mail.report import StageName
from models.check import CheckConfig
from models.config import MailProtocol
from resolvers import check as resolvers
from resolvers.send_test import SentTest
from resolvers.send_test import send_test_email as send
from schema import inbox  # noqa: F401 - makes the configs input types
from schema.context import Info
from schema.enums import described_enum
from schema.input import input_of
from schema.payload import Payload, UserError, to_payload, to_user_error

described_enum(
    StageName,
    "A step of connecting to a mail server.",
    {
        StageName.POLICY: "The host and port are checked against what this server may connect to.",
        StageName.DNS: "The host name is resolved, and every address is checked against the policy.",
        StageName.CONNECT: "A TCP connection is opened.",
        StageName.TLS: "TLS is negotiated, and the certificate is verified.",
        StageName.GREETING: "The mail server sends its greeting.",
        StageName.STARTTLS: "The connection is upgraded to TLS with STARTTLS.",
        StageName.AUTHENTICATE: "The server accepts username and password, or the OAuth2 access token.",
        StageName.SELECT_INBOX: "IMAP: INBOX is opened.",
        StageName.SENDER: "SMTP: the inbox's address is accepted as the sender. No mail is sent.",
    },
    name="CheckStageName",
)


@strawberry.type(description="The certificate that a mail server presented, trusted or not.")
class Certificate:
    subject: str = strawberry.field(description="Subject: who the certificate was issued to.")
    issuer: str = strawberry.field(description="Who signed it.")
    names: list[str] = strawberry.field(description="Host names and addresses that the certificate is valid for.")
    valid_from: datetime = strawberry.field(description="Start of the validity period.")
    expires_at: datetime = strawberry.field(description="End of the validity period.")
    fingerprint: str = strawberry.field(
        description="Its SHA-256, in the form that `tlsFingerprint` takes. Compare it with the one that the server's "
        "operator gives you before you trust it."
    )


@strawberry.type(description="One step of a check.")
class CheckStage:
    stage: StageName = strawberry.field(description="Which step.")
    success: bool = strawberry.field(description="Whether it succeeded.")
    duration_ms: float = strawberry.field(description="Duration in milliseconds.")
    error: UserError | None = strawberry.field(
        description="Why it failed; `field` is the input field to change, such as "
        '`["input", "smtp", "port"]`, also where a stored inbox is checked.'
    )
    hint: str | None = strawberry.field(description="What to do about it. For a step that succeeded: a warning.")


@strawberry.type(description="The check of one mail server: its steps in order, up to the first that failed.")
class ServerCheck:
    success: bool = strawberry.field(description="True if every step succeeded.")
    stages: list[CheckStage] = strawberry.field(description="The steps that were tried.")
    certificate: Certificate | None = strawberry.field(
        description="The server's certificate; null if TLS was not started."
    )
    capabilities: list[str] = strawberry.field(
        description="Capabilities that the server announces, such as `IDLE` or `SIZE`; at most 100."
    )


@input_of(CheckConfig)
class CheckEmailInboxInput(dict[str, Any]):
    """What to check: a stored inbox by its id, servers that are not saved yet, or both. Nothing is saved."""


@strawberry.type(description="The result of a check. Each problem is at its stage, and in userErrors.")
class CheckEmailInboxPayload(Payload):
    smtp: ServerCheck | None = strawberry.field(
        default=None, description="The server for outgoing mail; null if it was not checked."
    )
    imap: ServerCheck | None = strawberry.field(
        default=None, description="The server for incoming mail; null if it was not checked."
    )


@strawberry.type(description="The test mail that the mail server accepted, or why it was not sent.")
class SendTestEmailPayload(Payload):
    recipient: str | None = strawberry.field(default=None, description="Address that the mail was sent to.")
    smtp_code: int | None = strawberry.field(default=None, description="Reply code of the mail server, such as 250.")
    enhanced_code: str | None = strawberry.field(
        default=None, description="Enhanced status code (RFC 3463), such as `2.0.0`, if the server sent one."
    )


async def check_email_inbox(
    info: Info,
    input: Annotated[CheckEmailInboxInput, strawberry.argument(description="What to check.")],
) -> CheckEmailInboxPayload:
    return await to_payload(CheckEmailInboxPayload, resolvers.check_email_inbox(info.context.context, input), _to_check)


async def send_test_email(
    info: Info,
    id: Annotated[strawberry.ID, strawberry.argument(description="Id of an active inbox.")],
    to: Annotated[str | None, strawberry.argument(description="Address to send to. Default: the caller's own.")] = None,
) -> SendTestEmailPayload:
    return await to_payload(SendTestEmailPayload, send(info.context.context, id, to), _to_sent)


def _to_check(result: resolvers.CheckResult) -> dict[str, Any]:
    servers: dict[str, Any] = {protocol: _server(protocol, check) for protocol, check in result}
    return {**servers, "user_errors": [to_user_error(problem) for problem in result.problems]}


def _server(protocol: MailProtocol, check: report.ServerCheck) -> ServerCheck:
    stages = [
        CheckStage(
            stage=stage.stage,
            success=stage.success,
            duration_ms=stage.duration_ms,
            error=to_user_error(resolvers.problem_of(stage.failure, "input", protocol)) if stage.failure else None,
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


def _to_sent(sent: SentTest) -> dict[str, Any]:
    return {
        "recipient": sent.recipient,
        "smtp_code": sent.reply.code,
        "enhanced_code": sent.reply.enhanced,
    }
