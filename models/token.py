"""Access tokens: the table, the input that creates one, and the statements. Knows no request.

A token is 256 random bits. Its SHA-256 is stored in base64, in the form of Rocket.Chat, so that the tokens of an old
server can be imported.
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
"""In characters. A longer text is not a token, and is not hashed."""
MAX_ACCESS_TOKENS = 100
"""Valid tokens of one user at a time, besides those of logins."""
MAX_LOGINS = 50
"""Valid login tokens of one user at a time: a new one replaces the oldest."""
LOGIN_NAME = "login"
TAKEN_OVER = "taken over"
_OF_LOGINS = (LOGIN_NAME, TAKEN_OVER)
"""The names of login tokens, from here and from an old server. No other token may have one of them."""


def _check_name(text: str) -> str:
    if text in _OF_LOGINS:
        raise invalid("is reserved for tokens created by logins: choose another name")
    return text


class TokenConfig(Input):
    """Everything that an access token is made from."""

    name: Annotated[
        Name, AfterValidator(_check_name), InputField(description="Name of the token, at most 200 characters.")
    ]
    expires_at: Annotated[
        AwareDatetime | None, InputField(description="When the token expires. Null: it is valid until it is revoked.")
    ] = None
    permissions: Annotated[
        Annotated[list[Permission], InputField(max_length=MAX_PERMISSIONS)] | None,
        InputField(description="At most the caller's own permissions; null: whatever the user may do."),
    ] = None


class AccessToken(SQLModel, table=True):
    """A token of a user. Its permissions narrow the user's; None means all of them."""

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
        """Returns what a caller with this token may do."""
        return narrow(user, self.permission_names)


def narrow(user: User, names: Sequence[str] | None) -> list[Permission]:
    """Returns the user's permissions that are among the names; None means all of them."""
    return [permission for permission in user.permissions if names is None or permission.value in names]


class Holder(NamedTuple):
    """The owner of a valid token and the token's permissions. `is_narrowed`: they may be fewer than the user's."""

    token_id: str
    user: User
    permissions: frozenset[Permission]
    is_narrowed: bool


def new_token() -> Secret:
    """Returns a new random token: 43 characters of base64url."""
    return Secret(secrets.token_urlsafe(32))


def digest(token: Secret) -> str:
    """Returns the digest under which a token is stored."""
    return base64.b64encode(hashlib.sha256(token.reveal().encode("utf-8", "surrogatepass")).digest()).decode()


def lookup_values(token: Secret) -> dict[str, Any]:
    """Returns the parameters of `HOLDER` for this token."""
    return {"digest": digest(token), "now": now()}


def of_user(user_id: str) -> SelectOfScalar[AccessToken]:
    """Selects the valid tokens of a user, newest first, up to the number that a user may have."""
    newest_first = (col(AccessToken.created_at).desc(), col(AccessToken.id))
    alive = select(AccessToken).where(AccessToken.user_id == user_id, _is_alive(now()))
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
    """Adds a login token, and deletes the user's oldest ones if there are too many."""
    logins = select(AccessToken.id).where(AccessToken.user_id == user_id, AccessToken.name == LOGIN_NAME)
    oldest = logins.order_by(col(AccessToken.created_at).desc(), col(AccessToken.id)).offset(MAX_LOGINS - 1)
    session.connection().execute(delete(AccessToken).where(col(AccessToken.id).in_(oldest)))
    return add(session, user_id, token_digest, LOGIN_NAME, expires_at)


def is_full(session: Session, user_id: str) -> bool:
    """Whether the user has the most valid tokens allowed, not counting those of logins."""
    own = (AccessToken.user_id == user_id, col(AccessToken.name).not_in(_OF_LOGINS), _is_alive(now()))
    return session.exec(select(func.count()).select_from(AccessToken).where(*own)).one() >= MAX_ACCESS_TOKENS


def adopt(session: Session, user_id: str, token_digest: str) -> bool:
    """Imports a login token by its digest; False if it exists already."""
    if session.exec(select(AccessToken.id).where(AccessToken.digest == token_digest)).first() is not None:
        return False
    add(session, user_id, token_digest, TAKEN_OVER, expires_at=now() + LOGIN_LIFETIME)
    return True


def revoke(session: Session, token_id: str, user_id: str | None = None) -> bool:
    """Deletes the token, if it belongs to the given user or none is given; False if there is no such token."""
    statement = delete(AccessToken).where(col(AccessToken.id) == token_id)
    if user_id is not None:
        statement = statement.where(col(AccessToken.user_id) == user_id)
    return session.connection().execute(statement).rowcount > 0


def revoke_all(session: Session, user_id: str) -> None:
    session.connection().execute(delete(AccessToken).where(col(AccessToken.user_id) == user_id))


def note_uses(session: Session, uses: Mapping[str, datetime]) -> None:
    """Stores when tokens were last used."""
    for token_id, moment in uses.items():
        statement = update(AccessToken).where(col(AccessToken.id) == token_id).values(last_used_at=moment)
        session.connection().execute(statement)


def prune(session: Session) -> None:
    """Deletes expired tokens."""
    session.connection().execute(delete(AccessToken).where(col(AccessToken.expires_at) < now()))


def _is_alive(moment: Any) -> ColumnElement[bool]:
    return or_(col(AccessToken.expires_at).is_(None), col(AccessToken.expires_at) > moment)


def _make_holder(row: Sequence[Any]) -> Holder:
    token_id, names, *of_user = row
    user = User.of_row(of_user)
    return Holder(token_id, user, frozenset(narrow(user, names)), names is not None)


_TOKENS, _USERS = (SQLModel.metadata.tables[name] for name in ("access_token", "user"))
HOLDER: Prepared[Holder] = Prepared(
    select_columns(_TOKENS.c.id, _TOKENS.c.permission_names, *_USERS.columns)
    .join(_USERS, _USERS.c.id == _TOKENS.c.user_id)
    .where(_TOKENS.c.digest == bindparam("digest"), _is_alive(bindparam("now")), _USERS.c.active.is_(True)),
    _make_holder,
    cached_rows=1_000,
)
"""The holder of the valid token with a digest. Every request runs it."""
