"""Creates, changes, deletes and lists users. Knows neither GraphQL nor REST, and no SQL."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session

from models import token as tokens
from models import user as users_
from models.database.search import search_page
from models.errors import ErrorCode, Forbidden, Problem, Refused, shortened
from models.paging import CountedPage, Order, Window
from models.password import hash_password
from models.user import Permission, User, UserConfig, UserOrder
from models.validation import as_far_as_valid, examine, validated_value
from resolvers.access import SEES_INBOXES, requires
from resolvers.context import Caller, Context
from resolvers.filters import text_filter


@requires(Permission.MANAGE_USERS)
async def create_user(context: Context, values: Mapping[str, Any]) -> User:
    """Creates a user from the input as the client sent it. Raises Refused with every problem."""
    caller = await context.caller()
    password_hash = await _hash(context, values)
    return await context.database.write(lambda session: _set(session, values, None, password_hash, caller))


@requires(Permission.MANAGE_USERS)
async def update_user(context: Context, values: Mapping[str, Any]) -> User:
    """Changes only the fields that are in `values`. Raises Refused.

    A new password revokes the user's tokens, and so does disabling or enabling the user, so that none is valid again.
    """
    caller = await context.caller()
    changes = {name: value for name, value in values.items() if name != "id"}
    password_hash = await _hash(context, values)

    def unit(session: Session) -> User:
        stored = _get_stored(session, values.get("id"), "input", "id")
        _check_rank(caller, stored)
        was_active = stored.active
        user = _set(session, {**stored.as_values(), **changes}, stored, password_hash, caller)
        if password_hash or not (was_active and user.active):
            tokens.revoke_all(session, user.id)
        _keep_a_manager(session, user, "input", "id")
        return user

    return await context.database.write(unit)


@requires(Permission.MANAGE_USERS)
async def delete_user(context: Context, user_id: str) -> str:
    """Deletes the user with all tokens, and returns the id. Raises Refused."""
    caller = await context.caller()

    def unit(session: Session) -> None:
        user = _get_stored(session, user_id, "id")
        _check_rank(caller, user)
        tokens.revoke_all(session, user.id)
        session.delete(user)
        session.flush()
        if not users_.keeps_a_manager(session, without=user.id):
            raise _last_manager("id")

    await context.database.write(unit)
    return user_id


@requires(Permission.MANAGE_USERS)
async def users(context: Context, window: Window, search: str | None = None) -> CountedPage[User]:
    """Returns a page of the users by username. Raises BadRequest."""
    wanted = text_filter("search", search)
    return await search_page(context.database, User, wanted, (), window, UserOrder.USERNAME, Order.ASC)


async def find_user(context: Context, name: str) -> User:
    """Returns the user with this username, address or id, for the shell only. Raises Forbidden, Refused."""
    await context.require(Permission.MANAGE_USERS)
    read = context.database.read
    found = [*await read(users_.by_login(name)), *await read(users_.by_id(name))]
    if not found:
        raise Refused.because(ErrorCode.NOT_FOUND, f"There is no user {shortened(name)!r}.", "user")
    return found[0]


@dataclass(frozen=True, slots=True)
class OwnUser:
    """The user who has just logged in, and may see every own field, whatever credentials the request has."""

    user: User

    def __getattr__(self, name: str) -> Any:
        return getattr(self.user, name)


async def may_know(context: Context, user: User | OwnUser) -> None:
    """Raises Forbidden unless the caller is this user or manages users: others see only id and name."""
    if isinstance(user, OwnUser):
        return
    caller = await context.caller()
    if caller.id != user.id and not caller.may(Permission.MANAGE_USERS):
        raise Forbidden


async def users_by_id(context: Context, user_ids: Sequence[str]) -> dict[str, User]:
    """Returns the users with these ids, who created or changed objects that the caller may see."""
    wanted = list(dict.fromkeys(user_ids))
    return {user.id: user for user in await context.database.read(users_.by_ids(wanted))} if wanted else {}


def _set(
    session: Session, values: Mapping[str, Any], stored: User | None, password_hash: str | None, caller: Caller
) -> User:
    config, problems = examine(UserConfig, values, "input")
    if config is not None:
        problems += _excess_problems(config, caller)
    known = config or as_far_as_valid(UserConfig, values)
    problems += users_.taken_problems(session, known, stored.id if stored else None)
    if config is None or problems:
        raise Refused(problems)
    return users_.store(session, config, stored, password_hash)


def _excess_problems(config: UserConfig, caller: Caller) -> list[Problem]:
    """Returns problems for grants beyond those of a narrowed token, which could otherwise gain them as another user."""
    problems = []
    beyond = _beyond(config.permissions, caller)
    if beyond:
        message = f"permissions must be among those of your token; it lacks {', '.join(beyond)}."
        problems.append(Problem(ErrorCode.INVALID, message, ("input", "permissions")))
    if _sees_beyond(config.permissions, config.departments, caller):
        message = "departments must be among your own: your token does not see others."
        problems.append(Problem(ErrorCode.INVALID, message, ("input", "departments")))
    return problems


def _check_rank(caller: Caller, user: User) -> None:
    """Raises Forbidden if a narrowed token would change a user who may do more: it could then act as that user."""
    if _beyond(user.permissions, caller) or _sees_beyond(user.permissions, user.departments, caller):
        raise Forbidden("A narrowed token can't change or delete a user who may do more than the token.")


def _beyond(permissions: Sequence[Permission], caller: Caller) -> list[str]:
    """Returns the names of the permissions that a narrowed token lacks. Any other manager of users may grant all."""
    return [one.name for one in dict.fromkeys(permissions) if caller.narrowed and not caller.may(one)]


def _sees_beyond(permissions: Sequence[Permission], departments: Sequence[str], caller: Caller) -> bool:
    """Whether these permissions give access to inboxes of a department that a narrowed token does not see."""
    shows = not set(SEES_INBOXES).isdisjoint(permissions)
    return caller.narrowed and shows and not all(map(caller.sees, departments))


async def _hash(context: Context, values: Mapping[str, Any]) -> str | None:
    """Hashes a valid new password, before the transaction because it is slow. Raises Unavailable."""
    password = validated_value(UserConfig, "password", values.get("password"))
    if not isinstance(password, str):
        return None
    async with context.mail_quota.passwords.slot(context.aside):
        return await asyncio.to_thread(hash_password, password)


def _get_stored(session: Session, user_id: object, *path: str) -> User:
    known_id = validated_value(UserConfig, "id", user_id)
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
