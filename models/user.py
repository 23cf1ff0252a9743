"""Users: the table, the inputs that set one, and the statements. Knows no token and no request."""

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator
from pydantic import Field as InputField
from sqlalchemy import Text, false, or_
from sqlmodel import Field, Session, SQLModel, col, func, select
from sqlmodel.sql.expression import SelectOfScalar

from models.database.columns import Timestamp, json_list, now, sortable
from models.errors import ErrorCode, Problem
from models.fields import (
    MAX_ADDRESS,
    Boolean,
    EmailAddress,
    Identifier,
    Line,
    Name,
    Password,
    address_key,
    folded,
    invalid,
    is_seen,
    random_id,
)
from models.paging import Paged
from models.validation import Input, names_of, patch_of, sentence, validated_value

MAX_DEPARTMENTS = 100
MAX_PERMISSIONS = 100
"""More than exist, because an input may repeat one."""
_NO_USERNAME = re.compile(r"[@\s]")


class Permission(StrEnum):
    """What a user may do. The value is the name on the REST path."""

    MANAGE_EMAIL_INBOX = "manage-email-inbox"
    MANAGE_USERS = "manage-users"
    READ_EMAIL = "read-email"
    SEND_EMAIL = "send-email"


def _check_username(text: str) -> str:
    if _NO_USERNAME.search(folded(text)):
        raise invalid("must not contain spaces or @, so that it can't be mistaken for an e-mail address")
    if not is_seen(text):
        raise invalid("must not contain invisible characters or characters that change the text direction")
    return text


LoginName = Annotated[Name, AfterValidator(_check_username)]


class UserConfig(Input):
    """Everything that a user is made from."""

    id: Identifier | None = None
    username: Annotated[
        LoginName, InputField(description="Login name; unique, compared without regard to case; no blanks, no @.")
    ]
    name: Annotated[Line | None, InputField(description="Full name, at most 200 characters.")] = None
    email: Annotated[
        EmailAddress | None, InputField(description="E-mail address; unique, compared without regard to case.")
    ] = None
    password: Annotated[
        Password | None,
        InputField(description="Password to log in with; it can never be read again. Without one, only tokens work."),
    ] = None
    permissions: Annotated[
        Annotated[list[Permission], InputField(max_length=MAX_PERMISSIONS)],
        InputField(description="What the user may do."),
    ]
    departments: Annotated[
        Annotated[list[Line], InputField(max_length=MAX_DEPARTMENTS)],
        InputField(description="Departments whose inboxes the user may see with READ_EMAIL or SEND_EMAIL."),
    ] = []  # noqa: RUF012 - pydantic copies it
    active: Annotated[Boolean, InputField(description="Whether the user may log in and use tokens.")] = True


USER_FIELDS = names_of(UserConfig, but=("id", "password"))
"""The fields of a user that can be read, each with its name in the API."""

UserPatch = patch_of(
    UserConfig,
    "UserPatch",
    "Changes to a user.",
    id=(Annotated[str, InputField(description="Id of the user to change.")], ...),
)


class User(SQLModel, table=True):
    """A user of the API."""

    __tablename__: ClassVar[str] = "user"
    read: ClassVar[Sequence[str]]

    id: str = Field(primary_key=True, sa_type=sortable(64))
    username: str = Field(max_length=200)
    username_key: str = Field(sa_type=sortable(800), unique=True)
    name: str | None = Field(default=None, max_length=200)
    email: str | None = Field(default=None, max_length=254)
    email_key: str | None = Field(default=None, sa_type=sortable(1_000), unique=True)
    search_key: str = Field(sa_type=Text)
    password_hash: str | None = Field(default=None, max_length=200)
    permission_names: list[str] = Field(sa_type=json_list())
    departments: list[str] = Field(sa_type=json_list())
    active: bool = True
    created_at: datetime = Field(sa_type=Timestamp)

    @classmethod
    def of_row(cls, values: Iterable[Any]) -> Self:
        """Makes a user that no session tracks."""
        return cls(**dict(zip(cls.read, values, strict=True)))

    @property
    def permissions(self) -> list[Permission]:
        return [Permission(name) for name in self.permission_names]

    def as_values(self) -> dict[str, Any]:
        """Returns the input that would make this user, without the password."""
        return {outside: getattr(self, name) for name, outside in USER_FIELDS.items()}


User.read = [column.name for column in SQLModel.metadata.tables["user"].columns]


class UserOrder(Paged):
    """The one order in which users are listed."""

    USERNAME = "username_key"


def by_id(user_id: str) -> SelectOfScalar[User]:
    return select(User).where(User.id == user_id)


def by_ids(user_ids: Sequence[str]) -> SelectOfScalar[User]:
    return select(User).where(col(User.id).in_(user_ids))


def by_login(login: str) -> SelectOfScalar[User]:
    """Selects the user with this username or e-mail address. A longer text than either allows is not processed."""
    if len(login) > MAX_ADDRESS:
        return select(User).where(false())
    keys = [col(User.username_key) == folded(login)]
    if address := _address_key(login):
        keys.append(col(User.email_key) == address)
    return select(User).where(or_(*keys))


def login_key(login: str) -> str:
    """Returns the same key for every spelling of a username or address. `login` must not be longer than either."""
    return _address_key(login) or folded(login)


def _address_key(login: str) -> str | None:
    address = validated_value(UserConfig, "email", login) if "@" in login else None
    return address_key(address) if isinstance(address, str) else None


def count() -> SelectOfScalar[int]:
    return select(func.count()).select_from(User)


def taken_problems(session: Session, known: UserConfig, user_id: str | None) -> list[Problem]:
    """Returns a problem for a username or address of another user. `known` may be a part: see `as_far_as_valid`."""
    problems = []
    for name, column, key in (("username", User.username_key, folded), ("email", User.email_key, address_key)):
        value = getattr(known, name, None)
        if not isinstance(value, str):
            continue
        owner = session.exec(select(User.id).where(column == key(value))).first()
        if owner not in (None, user_id):
            path = ("input", name)
            problems.append(Problem(ErrorCode.TAKEN, sentence(path, "is already used by another user"), path))
    return problems


def keeps_a_manager(session: Session, without: str) -> bool:
    """Whether another active user can manage users once the user with this id no longer can."""
    others = session.exec(
        select(User).where(User.id != without, col(User.active).is_(True)).order_by(col(User.id)).with_for_update()
    )
    return any(Permission.MANAGE_USERS in user.permissions for user in others)


def store(session: Session, config: UserConfig, stored: User | None, password_hash: str | None) -> User:
    """Writes a valid config over the stored user, or as a new one. Without a hash, keeps the stored one."""
    columns = {name: getattr(config, name) for name in USER_FIELDS if name != "permissions"}
    columns |= {
        "username_key": folded(config.username),
        "email_key": address_key(config.email) if config.email else None,
        "search_key": folded("\n".join((config.username, config.name or "", config.email or ""))),
        "permission_names": [permission.value for permission in dict.fromkeys(config.permissions)],
        "departments": list(dict.fromkeys(config.departments)),
    }
    if password_hash is not None:
        columns["password_hash"] = password_hash
    if stored is None:
        stored = User(**columns, id=config.id or random_id(), created_at=now())
    else:
        stored.sqlmodel_update(columns)
    session.add(stored)
    session.flush()
    return stored
