"""Making, changing, deleting and listing users. Knows neither GraphQL nor REST, and no SQL."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from sqlmodel import Session

from models import token as tokens
from models import user as users_
from models.errors import ErrorCode, Forbidden, Problem, Refused
from models.paging import Listing, Order, Window
from models.password import hash_password
from models.search import listing
from models.user import Permission, User, UserConfig, UserOrder
from models.validation import accepted, examine
from resolvers.access import requires
from resolvers.context import Context
from resolvers.filters import text_filter


@requires(Permission.MANAGE_USERS)
async def create_user(context: Context, values: Mapping[str, Any]) -> User:
    """Makes a user from the input as it was sent. Raises Refused with every problem."""
    password_hash = await _hashed(values)
    return await context.database.write(lambda session: _set(session, values, None, password_hash))


@requires(Permission.MANAGE_USERS)
async def update_user(context: Context, values: Mapping[str, Any]) -> User:
    """Changes only the fields that are in `values`. A new password ends the user's tokens. Raises Refused."""
    changes = {name: value for name, value in values.items() if name != "id"}
    password_hash = await _hashed(values)

    def unit(session: Session) -> User:
        stored = _stored(session, values.get("id"), "input", "id")
        user = _set(session, {**stored.as_values(), **changes}, stored, password_hash)
        if password_hash:
            tokens.revoke_all(session, user.id)
        _keep_a_manager(session, user, "input", "id")
        return user

    return await context.database.write(unit)


@requires(Permission.MANAGE_USERS)
async def delete_user(context: Context, user_id: str) -> str:
    """Deletes the user and every token of the user, and returns the id. Raises Refused."""

    def unit(session: Session) -> None:
        user = _stored(session, user_id, "id")
        tokens.revoke_all(session, user.id)
        session.delete(user)
        session.flush()
        if not users_.keeps_a_manager(session, without=user.id):
            raise _last_manager("id")

    await context.database.write(unit)
    return user_id


@requires(Permission.MANAGE_USERS)
async def users(context: Context, window: Window, search: str | None = None) -> Listing[User]:
    """A page of the users by username. Raises BadRequest."""
    wanted = text_filter("search", search)
    return await listing(context.database, User, wanted, (), window, UserOrder.USERNAME, Order.ASC)


async def may_know(context: Context, user: User) -> None:
    """Raises Forbidden unless the caller is this user or manages users: the rest see an id and a name."""
    caller = await context.caller()
    if caller.id != user.id and not caller.may(Permission.MANAGE_USERS):
        raise Forbidden


async def users_by_id(context: Context, user_ids: Sequence[str]) -> dict[str, User]:
    """The users with these ids: who created or changed what the caller may already see."""
    wanted = list(dict.fromkeys(user_ids))
    return {user.id: user for user in await context.database.read(users_.by_ids(wanted))} if wanted else {}


def _set(session: Session, values: Mapping[str, Any], stored: User | None, password_hash: str | None) -> User:
    config, problems = examine(UserConfig, values, "input")
    problems += users_.taken_problems(session, values, stored.id if stored else None)
    if config is None or problems:
        raise Refused(problems)
    return users_.store(session, config, stored, password_hash)


async def _hashed(values: Mapping[str, Any]) -> str | None:
    """The hash of a valid new password, made before the transaction because it takes its time."""
    password = accepted(UserConfig, "password", values.get("password"))
    return await asyncio.to_thread(hash_password, password) if isinstance(password, str) else None


def _stored(session: Session, user_id: object, *path: str) -> User:
    known_id = accepted(UserConfig, "id", user_id)
    user = session.get(User, known_id, with_for_update=True) if isinstance(known_id, str) else None
    if user is None:
        raise Refused.because(ErrorCode.NOT_FOUND, "No user has this id.", *path)
    return user


def _keep_a_manager(session: Session, user: User, *path: str) -> None:
    manages = user.active and Permission.MANAGE_USERS in user.permissions
    if not manages and not users_.keeps_a_manager(session, without=user.id):
        raise _last_manager(*path)


def _last_manager(*path: str) -> Refused:
    message = "This is the last active user who may manage users: give somebody else MANAGE_USERS first."
    return Refused([Problem(ErrorCode.CONFLICT, message, path)])
