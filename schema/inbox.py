"""GraphQL types and resolvers for inboxes."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any

import strawberry

from models import user as user_rows
from models.change import ChangeKind
from models.config import ImapConfig as ImapInput
from models.config import ImapConfigPatch, InboxConfig, InboxPatch, SmtpConfigPatch
from models.config import SmtpConfig as SmtpInput
from models.inbox import InboxOrder
from models.oauth2 import OAuth2Config as OAuth2Input
from models.oauth2 import OAuth2Patch, OAuth2Provider
from models.paging import Order, Window
from models.stored import StoredInbox
from resolvers import inbox as resolvers
from schema.connection import After, Before, Connection, First, Last, connection
from schema.context import Info
from schema.enums import described_enum
from schema.input import input_of, nested_input
from schema.payload import Payload, UserError, to_payload, to_user_error
from schema.user import User

described_enum(
    OAuth2Provider,
    "A provider with a known token URL and scope. For any other provider, give tokenUrl.",
    {
        OAuth2Provider.GOOGLE: "Gmail and Google Workspace.",
        OAuth2Provider.MICROSOFT: "Microsoft 365 and Outlook.com. For a specific tenant, give tokenUrl.",
    },
)
nested_input(OAuth2Input, "OAuth2Input")
nested_input(OAuth2Patch, "OAuth2Patch")
nested_input(SmtpInput, "SmtpConfigInput")
nested_input(ImapInput, "ImapConfigInput")
nested_input(SmtpConfigPatch, "SmtpConfigPatch")
nested_input(ImapConfigPatch, "ImapConfigPatch")

described_enum(
    InboxOrder,
    "What inboxes are sorted by; inboxes with equal values by id.",
    {
        InboxOrder.NAME: "The name, without regard to case.",
        InboxOrder.EMAIL: "The address, without regard to case.",
        InboxOrder.CREATED_AT: "When the inbox was created.",
        InboxOrder.UPDATED_AT: "When the inbox was last changed.",
    },
    name="EmailInboxOrderField",
)
described_enum(
    Order,
    "Sort direction.",
    {Order.ASC: "Ascending: A before Z, old before new.", Order.DESC: "Descending: Z before A, new before old."},
    name="OrderDirection",
)
described_enum(
    ChangeKind,
    "What happened to an inbox.",
    {
        ChangeKind.CREATED: "It was created.",
        ChangeKind.UPDATED: "It was replaced or changed.",
        ChangeKind.DELETED: "It was deleted, or the caller may no longer see it.",
    },
)


@strawberry.type(description="An OAuth2 consent instead of a password. Its secrets can never be read.")
class OAuth2Config:
    provider: OAuth2Provider | None = strawberry.field(description="The provider, if it is a known one.")
    token_url: str = strawberry.field(description="Token endpoint: where access tokens are requested.")
    client_id: str = strawberry.field(description="Client id of the application that the consent was given to.")
    scope: str | None = strawberry.field(description="Scope of the access tokens.")
    has_client_secret: bool = strawberry.field(description="Whether a client secret is stored.")


@strawberry.type(description="How outgoing mail is sent. The password can never be read.")
class SmtpConfig:
    server: str = strawberry.field(description="Host name or IP address.")
    port: int = strawberry.field(description="Port.")
    username: str = strawberry.field(description="Login name.")
    secure: bool = strawberry.field(description="Whether TLS is required.")
    has_password: bool = strawberry.field(
        description="Whether a password is stored; false with oauth2, and for a relay without login."
    )
    tls_fingerprint: str | None = strawberry.field(
        description="SHA-256 fingerprint of the only trusted certificate. Null: certificates are verified as usual."
    )
    oauth2: OAuth2Config | None = strawberry.field(
        description="The OAuth2 consent, if there is one instead of a password."
    )


@strawberry.type(description="How incoming mail is fetched. The password can never be read.")
class ImapConfig:
    server: str = strawberry.field(description="Host name or IP address.")
    port: int = strawberry.field(description="Port.")
    username: str = strawberry.field(description="Login name.")
    secure: bool = strawberry.field(description="Whether TLS is required.")
    has_password: bool = strawberry.field(description="Whether a password is stored; false with oauth2.")
    tls_fingerprint: str | None = strawberry.field(
        description="SHA-256 fingerprint of the only trusted certificate. Null: certificates are verified as usual."
    )
    oauth2: OAuth2Config | None = strawberry.field(
        description="The OAuth2 consent, if there is one instead of a password."
    )
    max_retries: int = strawberry.field(description="Stored for compatibility; has no effect.")


@strawberry.type(description="A shared e-mail inbox: an address that a team serves together.")
class EmailInbox:
    id: strawberry.ID = strawberry.field(description="Id: 1 to 64 characters of A-Z a-z 0-9 _ and -.")
    name: str = strawberry.field(description="Name.")
    email: str = strawberry.field(description="E-mail address; unique.")
    active: bool = strawberry.field(description="Whether mail is fetched and sent.")
    description: str | None = strawberry.field(description="What the inbox is for.")
    sender_info: str | None = strawberry.field(description="Display name on outgoing mail.")
    department: str | None = strawberry.field(description="Department that serves the inbox; null: every department.")
    smtp: SmtpConfig = strawberry.field(description="The server for outgoing mail.")
    imap: ImapConfig = strawberry.field(description="The server for incoming mail.")
    version: int = strawberry.field(description="Version; increases by one with every change.")
    created_at: datetime = strawberry.field(description="When the inbox was created.")
    updated_at: datetime = strawberry.field(description="When the inbox was last changed.")

    @strawberry.field(description="The user who created it; null if that user was deleted.", graphql_type=User | None)
    async def created_by(self, parent: strawberry.Parent[StoredInbox], info: Info) -> user_rows.User | None:
        return await info.context.users.load(parent.created_by_id) if parent.created_by_id else None


@input_of(InboxConfig)
class SetEmailInboxInput(dict[str, Any]):
    """The inbox to save. Text is stored as sent, spaces included. Text with control characters is refused with INVALID;
    only description may hold line breaks and tabs."""


@input_of(InboxPatch)
class UpdateEmailInboxInput(dict[str, Any]):
    """Changes of an inbox: only the fields that are given are changed; null clears an optional one."""


@strawberry.input(description="Which inboxes are listed. Fields that are left out do not filter.")
class EmailInboxFilter:
    active: bool | None = strawberry.field(description="Active or not.", default=None)
    department: str | None = strawberry.field(
        description='The department; "All": inboxes of every department.', default=None
    )
    search: str | None = strawberry.field(
        description="Part of name, email or description, without regard to case; at most 200 characters.",
        default=None,
    )


@strawberry.input(description="How inboxes are sorted.")
class EmailInboxOrder:
    field: InboxOrder = strawberry.field(description="The field to sort by.")
    direction: Order = strawberry.field(description="Which way.")


BY_NAME = EmailInboxOrder(field=InboxOrder.NAME, direction=Order.ASC)


@strawberry.type(description="The inbox that was saved, or why it was not.")
class SetEmailInboxPayload(Payload):
    created: bool = strawberry.field(default=False, description="Whether a new inbox was created.")
    email_inbox: EmailInbox | None = strawberry.field(default=None, description="The inbox as stored.")
    warnings: list[UserError] = strawberry.field(
        default_factory=list,
        description="Warnings about unusual values, which are saved all the same.",
    )


@strawberry.type(description="The inbox after the change, or why it was not changed.")
class UpdateEmailInboxPayload(Payload):
    email_inbox: EmailInbox | None = strawberry.field(default=None, description="The inbox as stored.")
    warnings: list[UserError] = strawberry.field(
        default_factory=list, description="Warnings about unusual values, which are saved all the same."
    )


@strawberry.type(description="The id of the inbox that was deleted, or why it was not.")
class DeleteEmailInboxPayload(Payload):
    deleted_id: strawberry.ID | None = strawberry.field(default=None, description="Id of the inbox that was deleted.")


@strawberry.type(description="One committed change of an inbox.")
class EmailInboxChange:
    cursor: str = strawberry.field(description="Subscribe with it as `after` to continue after this change.")
    kind: ChangeKind = strawberry.field(description="What happened.")
    id: strawberry.ID = strawberry.field(description="Id of the inbox.")
    email_inbox: EmailInbox | None = strawberry.field(description="The inbox as stored now; null if it was deleted.")
    changed_at: datetime = strawberry.field(description="When it was changed.")

    @strawberry.field(description="The user who changed it; null if that user was deleted.", graphql_type=User | None)
    async def changed_by(self, parent: strawberry.Parent[resolvers.InboxChange], info: Info) -> user_rows.User | None:
        return await info.context.users.load(parent.changed_by_id) if parent.changed_by_id else None


async def email_inbox(
    info: Info,
    id: Annotated[strawberry.ID | None, strawberry.argument(description="Id of the inbox.")] = None,
    email: Annotated[str | None, strawberry.argument(description="Address, without regard to case.")] = None,
) -> StoredInbox | None:
    return await resolvers.email_inbox(info.context.context, id, email)


async def email_inboxes(
    info: Info,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
    filter: Annotated[EmailInboxFilter | None, strawberry.argument(description="Which inboxes.")] = None,
    order_by: Annotated[EmailInboxOrder, strawberry.argument(description="In which order.")] = BY_NAME,
) -> Connection[EmailInbox]:
    wanted = filter or EmailInboxFilter()
    listing = await resolvers.email_inboxes(
        info.context.context,
        Window(first, after, last, before),
        order_by.field,
        order_by.direction,
        active=wanted.active,
        department=wanted.department,
        search=wanted.search,
    )
    return connection(listing.page, listing.count)


async def set_email_inbox(
    info: Info, input: Annotated[SetEmailInboxInput, strawberry.argument(description="The inbox to save.")]
) -> SetEmailInboxPayload:
    def fields(saved: resolvers.SavedInbox) -> dict[str, Any]:
        return {"created": saved.created, **_to_saved(saved)}

    return await to_payload(SetEmailInboxPayload, resolvers.set_email_inbox(info.context.context, input), fields)


async def update_email_inbox(
    info: Info, input: Annotated[UpdateEmailInboxInput, strawberry.argument(description="The changes.")]
) -> UpdateEmailInboxPayload:
    return await to_payload(
        UpdateEmailInboxPayload, resolvers.update_email_inbox(info.context.context, input), _to_saved
    )


async def delete_email_inbox(
    info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="Id of the inbox.")]
) -> DeleteEmailInboxPayload:
    work = resolvers.delete_email_inbox(info.context.context, id)
    return await to_payload(DeleteEmailInboxPayload, work, lambda deleted: {"deleted_id": deleted})


async def changes_cursor(info: Info) -> str:
    return await resolvers.changes_cursor(info.context.context)


async def email_inbox_changed(
    info: Info,
    id: Annotated[strawberry.ID | None, strawberry.argument(description="Only changes of this inbox.")] = None,
    after: Annotated[
        str | None,
        strawberry.argument(
            description="Cursor of a change: starts with everything since then. Changes are kept for 24 hours."
        ),
    ] = None,
) -> AsyncIterator[EmailInboxChange]:
    changes: Any = await resolvers.email_inbox_changed(info.context.context, id, after)
    return changes  # type: ignore[no-any-return]  # a row resolves its own fields


def _to_saved(saved: resolvers.SavedInbox) -> dict[str, Any]:
    return {"email_inbox": saved.inbox, "warnings": [to_user_error(warning) for warning in saved.warnings]}
