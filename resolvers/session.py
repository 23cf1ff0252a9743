"""Logging in and out, and who one is. Knows neither GraphQL nor REST."""

import asyncio
from dataclasses import dataclass

from sqlmodel import Session

from models import token as tokens
from models import user as users
from models.columns import now
from models.errors import Unauthenticated
from models.fields import is_line
from models.password import verify_password
from models.secrets import Secret
from models.user import User
from resolvers.access import public, requires
from resolvers.context import Context

WRONG = "The username or the password is wrong."
LOGIN_TOKEN = "login"  # noqa: S105 - the name that such a token is listed under
# Each verification takes 64 MiB and a core: more at once would only slow each other down.
_VERIFYING = asyncio.Semaphore(2)


@dataclass(frozen=True, slots=True)
class Login:
    """A login that succeeded, and the only sight of its token."""

    user: User
    token: Secret


@requires()
async def viewer(context: Context) -> User:
    """The caller."""
    return (await context.caller()).user


@public
async def login(context: Context, username: str, password: str) -> Login:
    """A new token, which lives 90 days, for the user with this username or e-mail address and this password.

    Raises Unauthenticated where there is none, and RateLimited after too many failures from this address.
    """
    found = await context.database.read(users.by_login(username)) if is_line(username) else []
    user = found[0] if found else None
    stored = user.password_hash if user else None
    async with _VERIFYING:
        # Asked and told within: guesses that are sent at once are counted one by one.
        await context.throttle.check(context.address, username)
        right = await asyncio.to_thread(verify_password, stored, password)
        if not user or not user.active or not right:
            await context.throttle.failed(context.address, username)
            raise Unauthenticated(WRONG)
    token, ends = tokens.new_token(), now() + tokens.LOGIN_LIFETIME

    def unit(session: Session) -> None:
        now_stored = session.get(User, user.id, with_for_update=True)
        if now_stored is None or not now_stored.active or now_stored.password_hash != stored:
            raise Unauthenticated(WRONG)
        tokens.add(session, user.id, tokens.digest(token), LOGIN_TOKEN, expires_at=ends)

    await context.database.write(unit)
    return Login(user, token)


@requires()
async def logout(context: Context) -> None:
    """Ends the token that the request was made with."""
    token_id = (await context.caller()).token_id
    if token_id is not None:
        await context.database.write(lambda session: tokens.revoke(session, token_id))
