"""GraphQL types and resolvers for login and logout."""

from typing import Annotated

import strawberry

from models import user as rows
from models.errors import ErrorCode, Refused, Unauthenticated
from resolvers import session as resolvers
from resolvers.user import OwnUser
from schema.context import Info
from schema.payload import Payload, to_payload
from schema.user import User


@strawberry.type(description="The user who logged in, or why the login failed.")
class LoginPayload(Payload):
    user: User | None = strawberry.field(default=None, description="The user.")
    token: str | None = strawberry.field(
        default=None, description="Token for `X-Auth-Token` or `Authorization: Bearer`. It is shown only once."
    )


@strawberry.type(description="The result of a logout.")
class LogoutPayload:
    success: bool = strawberry.field(description="True.")


async def viewer(info: Info) -> rows.User:
    return await resolvers.viewer(info.context.context)


async def login(
    info: Info,
    username: Annotated[str, strawberry.argument(description="Username or e-mail address.")],
    password: Annotated[str, strawberry.argument(description="Password.")],
) -> LoginPayload:
    return await to_payload(
        LoginPayload,
        _login(info, username, password),
        lambda new: {"user": OwnUser(new.user), "token": new.token.reveal()},
    )


async def logout(info: Info) -> LogoutPayload:
    await resolvers.logout(info.context.context)
    return LogoutPayload(success=True)


async def _login(info: Info, username: str, password: str) -> resolvers.NewLogin:
    """Reports a wrong password as a user error: it is a problem of the input, not a missing login."""
    try:
        return await resolvers.login(info.context.context, username, password)
    except Unauthenticated as error:
        raise Refused.because(ErrorCode.AUTHENTICATION_FAILED, str(error)) from None
