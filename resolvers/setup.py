"""The first administrator of an empty database. Knows no settings and prints nothing."""

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
    """What the first administrator is to be; what is left out is random."""

    user_id: str | None = None
    token: Secret | None = None
    email: str | None = None
    password: Secret | None = None


@dataclass(frozen=True, slots=True)
class Administrator:
    """The administrator that was made, and the only sight of a token that was made for it."""

    user: User
    token: Secret


async def make_administrator(database: Database, wanted: FirstAdministrator) -> Administrator | None:
    """Makes a user with every permission, and a token; None where the database has users already.

    Raises Refused where id or address are not valid.
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
