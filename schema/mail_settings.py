"""Mail settings found from an address, in the GraphQL language. Says nothing about how."""

from typing import Annotated

import strawberry

from mail.proposals import Confidence, Proposals, ProposalSource
from mail.providers import MailLogin
from resolvers import mail_settings as resolvers
from schema.context import Info
from schema.enums import described_enum

described_enum(
    MailLogin,
    "What a mail server wants to be logged in with.",
    {
        MailLogin.PASSWORD: "The password of the account.",
        MailLogin.APP_PASSWORD: "A password made for one program: the account's own is refused.",
        MailLogin.OAUTH2: "A consent of the mailbox's owner, set as `oauth2`: every password is refused.",
    },
)
described_enum(
    ProposalSource,
    "Where a proposal comes from.",
    {
        ProposalSource.PROVIDER: "The provider is known, and the address is at one of its own domains.",
        ProposalSource.MX: "The domain's mail goes to a provider that is known.",
        ProposalSource.SRV: "The domain's name servers say so (RFC 6186, RFC 8314).",
        ProposalSource.AUTOCONFIG: "The domain's web server says so, over HTTPS.",
    },
)
described_enum(
    Confidence,
    "How likely a proposal is right.",
    {
        Confidence.HIGH: "A well-known provider.",
        Confidence.MEDIUM: "Mail goes to a well-known provider, name servers name a server of the domain's own, or its "
        "web server names one, which may be somebody else's.",
        Confidence.LOW: "Name servers name a server of another domain. Somebody could have lied for them: look at the "
        "name before you give it a password.",
    },
)


@strawberry.type(description="A server to try. It is no proof: nobody has logged in there.")
class MailServerProposal:
    server: str = strawberry.field(description="Host name.")
    port: int = strawberry.field(description="Port.")
    secure: bool = strawberry.field(description="True: TLS is required. Nothing else is proposed.")
    username: str = strawberry.field(description="Login name to try.")
    login: MailLogin = strawberry.field(description="What to log in with.")
    source: ProposalSource = strawberry.field(description="Where it comes from.")
    confidence: Confidence = strawberry.field(description="How likely it is right.")


@strawberry.type(
    description="SMTP and IMAP servers to try for an address, the best first. A proposal is not proof: "
    "`checkEmailInbox` is."
)
class MailServerSettings:
    provider: str | None = strawberry.field(description="Name of the provider, where it is known.")
    hint: str | None = strawberry.field(description="What to know before logging in there, or what to do else.")
    smtp: list[MailServerProposal] = strawberry.field(description="Servers for outgoing mail; may be empty.")
    imap: list[MailServerProposal] = strawberry.field(description="Servers for incoming mail; may be empty.")


async def mail_server_settings(
    info: Info,
    email: Annotated[
        str, strawberry.argument(description="Address of the mailbox. It is told to nobody: its domain is.")
    ],
) -> Proposals:
    return await resolvers.mail_server_settings(info.context.context, email)
