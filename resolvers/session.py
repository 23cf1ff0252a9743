"""Logs users in and out, and returns the caller. Knows neither GraphQL nor REST."""

import asyncio
from dataclasses import dataclass

from sqlmodel import Session

from models import token as tokens
from models import user as users
from models.database.columns import now
from models.errors import ErrorCode, Problem, Refused, Unauthenticated
from models.fields import MAX_ADDRESS, MAX_PASSWORD, is_line
from models.password import verify_password
from models.secrets import Secret
from models.user import User
from models.validation import sentence
from resolvers.access import public, requires
from resolvers.context import Context

BAD_LOGIN_MESSAGE = "The username or the password is wrong."


@dataclass(frozen=True, slots=True)
class NewLogin:
    """A successful login with its token, which is never returned again."""

    user: User
    token: Secret


@requires()
async def viewer(context: Context) -> User:
    """Returns the caller."""
    return (await context.caller()).user


@public
async def login(context: Context, username: str, password: str) -> NewLogin:
    """Creates a token, valid for 90 days, for the user with this username or e-mail address and this password.

    Raises Unauthenticated if there is none, RateLimited after too many logins or failures from this network,
    Unavailable if too many logins are waiting, and Refused if name or password is too long to be valid.
    """
    _check_lengths(username, password)
    context.throttle.login(context.address, username)
    async with context.mail_quota.logins.slot(context.aside):
        user = await _verify(context, username, password)
    token, ends, stored = tokens.new_token(), now() + tokens.LOGIN_LIFETIME, user.password_hash

    def unit(session: Session) -> None:
        now_stored = session.get(User, user.id, with_for_update=True)
        if now_stored is None or not now_stored.active or now_stored.password_hash != stored:
            raise Unauthenticated(BAD_LOGIN_MESSAGE)
        tokens.add_login(session, user.id, tokens.digest(token), ends)

    await context.database.write(unit)
    return NewLogin(user, token)


@requires()
async def logout(context: Context) -> None:
    """Revokes the token that the request was made with."""
    token_id = (await context.caller()).token_id
    if token_id is not None:
        await context.database.write(lambda session: tokens.revoke(session, token_id))


def _check_lengths(username: str, password: str) -> None:
    """Limits the lengths first, because the time to fold or hash a text grows with its length. Raises Refused."""
    given = (("username", username, MAX_ADDRESS), ("password", password, MAX_PASSWORD))
    problems = [
        Problem(ErrorCode.TOO_LONG, sentence((name,), f"must have at most {limit:,} characters"), (name,))
        for name, text, limit in given
        if len(text) > limit
    ]
    if problems:
        raise Refused(problems)


async def _verify(context: Context, username: str, password: str) -> User:
    """Returns the active user with this name and password. Counts a failure, and raises Unauthenticated."""
    context.throttle.check_login(context.address, username)  # others may have failed while this one waited
    found = await context.database.read(users.by_login(username)) if is_line(username) else []
    user = found[0] if found else None
    is_right = await asyncio.to_thread(verify_password, user.password_hash if user else None, password)
    if user and user.active and is_right and not context.throttle.is_guessed(context.address, user.id):
        return user
    context.throttle.login_failed(context.address, username, user.id if user else None)
    raise Unauthenticated(BAD_LOGIN_MESSAGE)
