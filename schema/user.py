"""GraphQL types and resolvers for users."""

from typing import Annotated, Any

import strawberry

from models import user as rows
from models.paging import Window
from models.user import Permission, UserConfig, UserPatch
from resolvers import user as resolvers
from resolvers.user import may_know
from schema.connection import After, Before, Connection, First, Last, connection
from schema.context import Info
from schema.enums import described_enum
from schema.input import input_of
from schema.payload import Payload, to_payload

described_enum(
    Permission,
    "What a user may do. Users without any may log in and see themselves.",
    {
        Permission.MANAGE_EMAIL_INBOX: "Set, change, delete and see every inbox. On the REST path: manage-email-inbox.",
        Permission.MANAGE_USERS: "Create, change, delete and list users, and give them any permission.",
        Permission.READ_EMAIL: "See the inboxes of the user's departments and those without one, and read their mail.",
        Permission.SEND_EMAIL: "See the inboxes of the user's departments and those without one, and send mail.",
    },
)


@strawberry.type(description="A user of the API.")
class User:
    id: strawberry.ID = strawberry.field(description="Id.")
    username: str = strawberry.field(description="Login name.")
    name: str | None = strawberry.field(description="Full name.")

    @strawberry.field(description="E-mail address. Only for the user and those who manage users.")
    async def email(self, parent: strawberry.Parent[rows.User], info: Info) -> str | None:
        await may_know(info.context.context, parent)
        return parent.email

    @strawberry.field(description="What the user may do. Only for the user and those who manage users.")
    async def permissions(self, parent: strawberry.Parent[rows.User], info: Info) -> list[Permission]:
        await may_know(info.context.context, parent)
        return parent.permissions

    @strawberry.field(description="Departments of the user. Only for the user and those who manage users.")
    async def departments(self, parent: strawberry.Parent[rows.User], info: Info) -> list[str]:
        await may_know(info.context.context, parent)
        return parent.departments

    @strawberry.field(
        description="Whether the user may log in and use tokens. Only for the user and those who manage users."
    )
    async def active(self, parent: strawberry.Parent[rows.User], info: Info) -> bool:
        await may_know(info.context.context, parent)
        return parent.active


@input_of(UserConfig, without=("id", "active"))
class CreateUserInput(dict[str, Any]):
    """The user to create."""


@input_of(UserPatch)
class UpdateUserInput(dict[str, Any]):
    """Changes of a user: only the fields that are given are changed; null clears an optional one."""


@strawberry.type(description="The user that was created, or why it was not.")
class CreateUserPayload(Payload):
    user: User | None = strawberry.field(default=None, description="The user.")


@strawberry.type(description="The user after the change, or why it was not changed.")
class UpdateUserPayload(Payload):
    user: User | None = strawberry.field(default=None, description="The user as stored.")


@strawberry.type(description="The id of the user that was deleted, or why it was not.")
class DeleteUserPayload(Payload):
    deleted_id: strawberry.ID | None = strawberry.field(default=None, description="Id of the user that was deleted.")


async def users(
    info: Info,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
    search: Annotated[
        str | None, strawberry.argument(description="Part of username, name or e-mail address, without regard to case.")
    ] = None,
) -> Connection[User]:
    listing = await resolvers.users(info.context.context, Window(first, after, last, before), search)
    return connection(listing.page, listing.count)


async def create_user(
    info: Info, input: Annotated[CreateUserInput, strawberry.argument(description="The user to create.")]
) -> CreateUserPayload:
    work = resolvers.create_user(info.context.context, input)
    return await to_payload(CreateUserPayload, work, lambda user: {"user": user})


async def update_user(
    info: Info, input: Annotated[UpdateUserInput, strawberry.argument(description="The changes.")]
) -> UpdateUserPayload:
    work = resolvers.update_user(info.context.context, input)
    return await to_payload(UpdateUserPayload, work, lambda user: {"user": user})


async def delete_user(
    info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="Id of the user.")]
) -> DeleteUserPayload:
    work = resolvers.delete_user(info.context.context, id)
    return await to_payload(DeleteUserPayload, work, lambda deleted: {"deleted_id": deleted})
