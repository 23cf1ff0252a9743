"""Creates the first administrator of an empty database. Knows no settings and prints nothing."""

from dataclasses import dataclass
from typing import Any

from sqlmodel import Session

from models import token as tokens
from models import user as users
from models.database import Database
from models.password import hash_password
from models.secrets import Secret
from models.user import Permission, User, UserConfig
from models.validation import validated

USERNAME = "admin"


@dataclass(frozen=True, slots=True)
class FirstAdministrator:
    """The wanted first administrator. A missing id or token is generated; without a password, only tokens work."""

    user_id: str | None = None
    token: Secret | None = None
    email: str | None = None
    password: Secret | None = None


@dataclass(frozen=True, slots=True)
class Administrator:
    """The new administrator and its token, which is never returned again."""

    user: User
    token: Secret


async def make_administrator(database: Database, wanted: FirstAdministrator) -> Administrator | None:
    """Creates a user with every permission and a token. Returns None if the database has users already.

    Raises Refused if the id or the address is invalid.
    """
    if (await database.read(users.count()))[0]:
        return None
    values: dict[str, Any] = {"username": USERNAME, "email": wanted.email or None, "permissions": list(Permission)}
    config = validated(UserConfig, values | ({"id": wanted.user_id} if wanted.user_id else {}))
    password_hash = hash_password(wanted.password.reveal()) if wanted.password else None
    token = wanted.token or tokens.new_token()

    def unit(session: Session) -> Administrator | None:
        if session.exec(users.count()).one():
            return None
        user = users.store(session, config, None, password_hash)
        tokens.add(session, user.id, tokens.digest(token), "first administrator")
        return Administrator(user, token)

    return await database.write(unit)
