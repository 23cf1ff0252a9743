"""`login`, `logout` and `me`. Each parses, calls the resolver that GraphQL calls, and shapes the answer."""

from typing import Any

from models.errors import ErrorCode, Problem, Refused
from models.user import User
from models.validation import sentence
from resolvers import session as resolvers
from rest.endpoint import Call, endpoint

NAMES = ("user", "username", "email")


@endpoint(public=True)
async def login(call: Call) -> dict[str, Any]:
    name, password = _credentials(call.body)
    found = await resolvers.login(call.context, name, password)
    data = {"userId": found.user.id, "authToken": found.token.reveal(), "me": _me(found.user)}
    return {"status": "success", "data": data}


@endpoint()
async def logout(call: Call) -> dict[str, Any]:
    await resolvers.logout(call.context)
    return {"status": "success", "data": {"message": "You've been logged out!"}}


@endpoint()
async def me(call: Call) -> dict[str, Any]:
    return {**_me(await resolvers.viewer(call.context)), "success": True}


def _credentials(body: dict[str, Any]) -> tuple[str, str]:
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


def _me(user: User) -> dict[str, Any]:
    return {
        "_id": user.id,
        "username": user.username,
        "name": user.name,
        "emails": [{"address": user.email, "verified": True}] if user.email else [],
        "roles": [],
    }
