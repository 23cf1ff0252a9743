"""GraphQL types and resolvers for access tokens."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import strawberry

from models import token as rows
from models.token import TokenConfig
from models.user import Permission
from resolvers import token as resolvers
from schema.context import Info
from schema.input import input_of
from schema.payload import Payload, to_payload


@strawberry.type(description="An access token for the API. The token itself is shown only once, when it is created.")
class AccessToken:
    id: strawberry.ID = strawberry.field(description="Id, for revoking it.")
    name: str = strawberry.field(description="What it is for.")
    created_at: datetime = strawberry.field(description="When it was created.")
    last_used_at: datetime | None = strawberry.field(description="When it was last used, to the minute.")
    expires_at: datetime | None = strawberry.field(
        description="When it expires. Null: it is valid until it is revoked."
    )

    @strawberry.field(description="Permissions of the token.")
    async def permissions(self, parent: strawberry.Parent[rows.AccessToken], info: Info) -> list[Permission]:
        return parent.permissions_of((await info.context.context.caller()).user)


@input_of(TokenConfig)
class CreateAccessTokenInput(dict[str, Any]):
    """The access token to create."""


@strawberry.type(description="The token that was created, or why it was not.")
class CreateAccessTokenPayload(Payload):
    access_token: AccessToken | None = strawberry.field(
        default=None, description="The access token without its secret."
    )
    token: str | None = strawberry.field(default=None, description="The token itself. It is shown only once.")


@strawberry.type(description="The id of the token that was revoked, or why it was not.")
class RevokeAccessTokenPayload(Payload):
    revoked_id: strawberry.ID | None = strawberry.field(default=None, description="Id of the token that was revoked.")


async def access_tokens(info: Info) -> Sequence[rows.AccessToken]:
    return await resolvers.access_tokens(info.context.context)


async def create_access_token(
    info: Info, input: Annotated[CreateAccessTokenInput, strawberry.argument(description="The token to create.")]
) -> CreateAccessTokenPayload:
    return await to_payload(
        CreateAccessTokenPayload,
        resolvers.create_access_token(info.context.context, input),
        lambda new: {"access_token": new.access_token, "token": new.token.reveal()},
    )


async def revoke_access_token(
    info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="Id of the token.")]
) -> RevokeAccessTokenPayload:
    work = resolvers.revoke_access_token(info.context.context, id)
    return await to_payload(RevokeAccessTokenPayload, work, lambda revoked: {"revoked_id": revoked})
