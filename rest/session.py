"""`login`, `logout` and `me`. Each parses the request, calls the resolver that GraphQL uses, and builds the body."""

from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import TypedDict

from models.errors import ErrorCode, Problem, Refused
from models.user import User
from models.validation import sentence
from resolvers import session as resolvers
from rest.endpoint import RestCall, endpoint

NAMES = ("user", "username", "email")


class Address(TypedDict):
    """An address of a user."""

    address: str
    verified: Annotated[bool, Field(description="Always true.")]


class Me(TypedDict):
    """A user."""

    _id: str
    username: str
    name: str | None
    emails: list[Address]
    roles: Annotated[list[str], Field(description="Always empty: permissions take their place.")]


class ShownMe(Me):
    """The caller."""

    success: Literal[True]


class Login(TypedDict):
    """A new token, which is never shown again."""

    userId: str
    authToken: str
    me: Me


class LoggedIn(TypedDict):
    """A login that succeeded."""

    status: Literal["success"]
    data: Login


class Farewell(TypedDict):
    """What is said to who leaves."""

    message: str


class LoggedOut(TypedDict):
    """The token has ended."""

    status: Literal["success"]
    data: Farewell


@endpoint(public=True)
async def login(call: RestCall) -> LoggedIn:
    """Gives a new token to the user with this name or address and this password."""
    name, password = _read_credentials(call.body)
    new = await resolvers.login(call.context, name, password)
    data: Login = {"userId": new.user.id, "authToken": new.token.reveal(), "me": _me(new.user)}
    return {"status": "success", "data": data}


@endpoint()
async def logout(call: RestCall) -> LoggedOut:
    """Ends the token that the request is made with."""
    await resolvers.logout(call.context)
    return {"status": "success", "data": {"message": "You've been logged out!"}}


@endpoint()
async def me(call: RestCall) -> ShownMe:
    """Shows who the caller is."""
    return {**_me(await resolvers.viewer(call.context)), "success": True}


def _read_credentials(body: dict[str, Any]) -> tuple[str, str]:
    name = next((body[key] for key in NAMES if isinstance(body.get(key), str) and body[key]), "")
    password = body.get("password")
    missing = [] if name else [_required("user")]
    if not isinstance(password, str) or not password:
        raise Refused([*missing, _required("password")])
    if missing:
        raise Refused(missing)
    return name, password


def _required(name: str) -> Problem:
    return Problem(ErrorCode.REQUIRED, sentence((name,), "is required, as a string"), (name,))


def _me(user: User) -> Me:
    return {
        "_id": user.id,
        "username": user.username,
        "name": user.name,
        "emails": [{"address": user.email, "verified": True}] if user.email else [],
        "roles": [],
    }
