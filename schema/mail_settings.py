"""GraphQL types and resolver for the discovery of mail settings."""

from typing import Annotated

import strawberry

from mail.settings.proposals import Confidence, Proposals, ProposalSource
from mail.settings.providers import MailLogin
from resolvers import mail_settings as resolvers
from schema.context import Info
from schema.enums import described_enum

described_enum(
    MailLogin,
    "How to log in to a mail server.",
    {
        MailLogin.PASSWORD: "The password of the account.",
        MailLogin.APP_PASSWORD: "An app password: the account's own password is refused.",
        MailLogin.OAUTH2: "An OAuth2 consent by the mailbox's owner, set as `oauth2`: passwords are refused.",
    },
)
described_enum(
    ProposalSource,
    "Source of a proposal.",
    {
        ProposalSource.PROVIDER: "The address is at a domain of a known provider.",
        ProposalSource.MX: "The domain's mail goes to a known provider.",
        ProposalSource.SRV: "The domain's SRV records (RFC 6186, RFC 8314).",
        ProposalSource.AUTOCONFIG: "The domain's autoconfig file, over HTTPS.",
    },
)
described_enum(
    Confidence,
    "How likely it is that a proposal is right.",
    {
        Confidence.HIGH: "A well-known provider.",
        Confidence.MEDIUM: "Mail goes to a well-known provider, name servers name a server of the domain's own, or its "
        "web server names one, which may be somebody else's.",
        Confidence.LOW: "Name servers name a server of another domain. Somebody could have lied for them: look at the "
        "name before you give it a password.",
    },
)


@strawberry.type(description="A server to try. Nobody has logged in there yet.")
class MailServerProposal:
    server: str = strawberry.field(description="Host name.")
    port: int = strawberry.field(description="Port.")
    secure: bool = strawberry.field(description="Always true: TLS is required.")
    username: str = strawberry.field(description="Username to try.")
    login: MailLogin = strawberry.field(description="How to log in.")
    source: ProposalSource = strawberry.field(description="Source of the proposal.")
    confidence: Confidence = strawberry.field(description="How likely it is that the proposal is right.")


@strawberry.type(
    description="SMTP and IMAP servers to try for an address, the best first. A proposal is not proof: "
    "`checkEmailInbox` is."
)
class MailServerSettings:
    provider: str | None = strawberry.field(description="Name of the provider, if it is known.")
    hint: str | None = strawberry.field(description="What to know before logging in.")
    smtp: list[MailServerProposal] = strawberry.field(description="Servers for outgoing mail; may be empty.")
    imap: list[MailServerProposal] = strawberry.field(description="Servers for incoming mail; may be empty.")


async def mail_server_settings(
    info: Info,
    email: Annotated[
        str, strawberry.argument(description="Address of the mailbox. Only its domain is sent to other servers.")
    ],
) -> Proposals:
    return await resolvers.mail_server_settings(info.context.context, email)
