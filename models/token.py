"""Access tokens as they are stored: the table, the input that makes one, and the statements.

A token is 256 random bits; stored is its base64 SHA-256, as Rocket.Chat stores it, so that the tokens of an old server
can move over. Knows no request.
"""

import base64
import hashlib
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar, NamedTuple

from pydantic import AfterValidator, AwareDatetime
from pydantic import Field as InputField
from sqlalchemy import ColumnElement, bindparam, delete, or_, update
from sqlalchemy import select as select_columns
from sqlmodel import Field, Session, SQLModel, col, func, select
from sqlmodel.sql.expression import SelectOfScalar

from models.database.columns import Timestamp, json_list, now, sortable
from models.database.prepared import Prepared
from models.fields import Name, invalid, random_id
from models.secrets import Secret
from models.user import MAX_PERMISSIONS, Permission, User
from models.validation import Input

LOGIN_LIFETIME = timedelta(days=90)
MAX_TOKEN_LENGTH = 200
"""Characters of a token that may be right. A longer text is none, and is not hashed."""
MAX_ACCESS_TOKENS = 100
"""Tokens that live at once, of one user, beside those of logins."""
MAX_LOGINS = 50
"""Tokens of logins that live at once, of one user: the oldest makes room."""
LOGIN_NAME = "login"
TAKEN_OVER = "taken over"
_OF_LOGINS = (LOGIN_NAME, TAKEN_OVER)
"""The names that the tokens of logins are listed under, here and on an old server. No other token has one of them."""


def _name(text: str) -> str:
    if text in _OF_LOGINS:
        raise invalid("is reserved for tokens created by logins: choose another name")
    return text


class TokenConfig(Input):
    """Everything that an access token is made from."""

    name: Annotated[Name, AfterValidator(_name), InputField(description="Name of the token, at most 200 characters.")]
    expires_at: Annotated[
        AwareDatetime | None, InputField(description="When the token expires. Null: it is valid until it is revoked.")
    ] = None
    permissions: Annotated[
        Annotated[list[Permission], InputField(max_length=MAX_PERMISSIONS)] | None,
        InputField(description="At most the caller's own permissions; null: whatever the user may do."),
    ] = None


class AccessToken(SQLModel, table=True):
    """A token of a user. Its permissions narrow the user's; None leaves them as they are."""

    __tablename__: ClassVar[str] = "access_token"

    id: str = Field(primary_key=True, sa_type=sortable(64))
    user_id: str = Field(foreign_key="user.id", ondelete="CASCADE", index=True)
    name: str = Field(max_length=200)
    digest: str = Field(unique=True, max_length=64)
    permission_names: list[str] | None = Field(default=None, sa_type=json_list())
    created_at: datetime = Field(sa_type=Timestamp)
    last_used_at: datetime | None = Field(default=None, sa_type=Timestamp)
    expires_at: datetime | None = Field(default=None, sa_type=Timestamp, index=True)

    def permissions_of(self, user: User) -> list[Permission]:
        """What a caller with this token may do."""
        return narrow(user, self.permission_names)


def narrow(user: User, names: Sequence[str] | None) -> list[Permission]:
    """The user's permissions that are among the names; None leaves them as they are."""
    return [permission for permission in user.permissions if names is None or permission.value in names]


class Holder(NamedTuple):
    """Whose a living token is, and what it lets its user do. `is_narrowed`: that may be less than the user may."""

    token_id: str
    user: User
    permissions: frozenset[Permission]
    is_narrowed: bool


def new_token() -> Secret:
    """A new random token: 43 characters of base64url."""
    return Secret(secrets.token_urlsafe(32))


def digest(token: Secret) -> str:
    """What is stored of a token."""
    return base64.b64encode(hashlib.sha256(token.reveal().encode("utf-8", "surrogatepass")).digest()).decode()


def lookup_values(token: Secret) -> dict[str, Any]:
    """The parameters of `HOLDER` for this token."""
    return {"digest": digest(token), "now": now()}


def of_user(user_id: str) -> SelectOfScalar[AccessToken]:
    """The living tokens of a user, newest first; of more than a user may have, the newest."""
    newest_first = (col(AccessToken.created_at).desc(), col(AccessToken.id))
    alive = select(AccessToken).where(AccessToken.user_id == user_id, _alive(now()))
    return alive.order_by(*newest_first).limit(MAX_ACCESS_TOKENS + MAX_LOGINS)


def add(
    session: Session,
    user_id: str,
    token_digest: str,
    name: str,
    expires_at: datetime | None = None,
    permissions: Sequence[Permission] | None = None,
) -> AccessToken:
    token = AccessToken(
        id=random_id(),
        user_id=user_id,
        name=name,
        digest=token_digest,
        permission_names=None if permissions is None else [permission.value for permission in permissions],
        created_at=now(),
        expires_at=expires_at,
    )
    session.add(token)
    session.flush()
    return token


def add_login(session: Session, user_id: str, token_digest: str, expires_at: datetime) -> AccessToken:
    """Adds the token of a login, in place of the user's oldest ones where there are too many."""
    logins = select(AccessToken.id).where(AccessToken.user_id == user_id, AccessToken.name == LOGIN_NAME)
    oldest = logins.order_by(col(AccessToken.created_at).desc(), col(AccessToken.id)).offset(MAX_LOGINS - 1)
    session.connection().execute(delete(AccessToken).where(col(AccessToken.id).in_(oldest)))
    return add(session, user_id, token_digest, LOGIN_NAME, expires_at)


def is_full(session: Session, user_id: str) -> bool:
    """Whether the user has as many living tokens as may be, those of logins left out."""
    own = (AccessToken.user_id == user_id, col(AccessToken.name).not_in(_OF_LOGINS), _alive(now()))
    return session.exec(select(func.count()).select_from(AccessToken).where(*own)).one() >= MAX_ACCESS_TOKENS


def adopt(session: Session, user_id: str, token_digest: str) -> bool:
    """Takes over a login token of which only the digest is known; False where it is here already."""
    if session.exec(select(AccessToken.id).where(AccessToken.digest == token_digest)).first() is not None:
        return False
    add(session, user_id, token_digest, TAKEN_OVER, expires_at=now() + LOGIN_LIFETIME)
    return True


def revoke(session: Session, token_id: str, user_id: str | None = None) -> bool:
    """Deletes the token, of this user only where one is named; False where there is none."""
    statement = delete(AccessToken).where(col(AccessToken.id) == token_id)
    if user_id is not None:
        statement = statement.where(col(AccessToken.user_id) == user_id)
    return session.connection().execute(statement).rowcount > 0


def revoke_all(session: Session, user_id: str) -> None:
    session.connection().execute(delete(AccessToken).where(col(AccessToken.user_id) == user_id))


def note_uses(session: Session, uses: Mapping[str, datetime]) -> None:
    """Writes down when tokens were last used."""
    for token_id, moment in uses.items():
        statement = update(AccessToken).where(col(AccessToken.id) == token_id).values(last_used_at=moment)
        session.connection().execute(statement)


def prune(session: Session) -> None:
    """Deletes the tokens that have ended."""
    session.connection().execute(delete(AccessToken).where(col(AccessToken.expires_at) < now()))


def _alive(moment: Any) -> ColumnElement[bool]:
    return or_(col(AccessToken.expires_at).is_(None), col(AccessToken.expires_at) > moment)


def _holder(row: Sequence[Any]) -> Holder:
    token_id, names, *of_user = row
    user = User.of_row(of_user)
    return Holder(token_id, user, frozenset(narrow(user, names)), names is not None)


_TOKENS, _USERS = (SQLModel.metadata.tables[name] for name in ("access_token", "user"))
HOLDER: Prepared[Holder] = Prepared(
    select_columns(_TOKENS.c.id, _TOKENS.c.permission_names, *_USERS.columns)
    .join(_USERS, _USERS.c.id == _TOKENS.c.user_id)
    .where(_TOKENS.c.digest == bindparam("digest"), _alive(bindparam("now")), _USERS.c.active.is_(True)),
    _holder,
    cached_rows=1_000,
)
"""Whose the living token with a digest is. Every request asks."""
