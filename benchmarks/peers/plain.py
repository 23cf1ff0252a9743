"""The plainest reasonable server that does the work of the benchmark: strawberry, SQLModel, Starlette, by their docs.

Same operations, same durability (SQLite in WAL, synchronous=FULL, foreign keys; or PostgreSQL as it is set up), same
authentication (the digest of the token is looked up in the database at every request), same encryption (AES-256-GCM),
unique addresses, and a row in the log of changes with every write. Its queries are those of the product, unchanged.

What is done in its favour: documents are parsed and validated once, input is validated by pydantic alone, a write takes
as few statements as it can, and writers take turns, which leaves the rate as it is and shortens the longest waits. What
it leaves out, and the product does: subscriptions, departments, limits, masking of errors, most checks of the input.
"""
# mypy: disallow-untyped-decorators=False

import asyncio
import base64
import dataclasses
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import pydantic
import strawberry
import uvicorn
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic.alias_generators import to_camel
from sqlalchemy import DateTime, Index, event, make_url, tuple_
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel import JSON, Field, SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL
from strawberry.extensions import ParserCache, SchemaExtension, ValidationCache
from strawberry.permission import BasePermission
from strawberry.schema.config import StrawberryConfig

FOLDER = Path(os.environ["EMAIL_INBOX_DATA_DIR"])
MANAGE = "manage-email-inbox"


def now() -> datetime:
    return datetime.now(UTC)


# ------------------------------------------------------------------------------------------------------------- tables


class Moment(DateTime):
    """SQLite keeps the time of UTC without its zone, PostgreSQL with it."""

    def __init__(self) -> None:
        super().__init__(timezone=True)


class User(SQLModel, table=True):
    id: str = Field(primary_key=True)
    username: str = Field(unique=True)
    permissions: list[str] = Field(sa_type=JSON)


class AccessToken(SQLModel, table=True):
    __tablename__: ClassVar[str] = "access_token"

    digest: str = Field(primary_key=True)
    user_id: str = Field(foreign_key="user.id", index=True)
    expires_at: datetime | None = Field(default=None, sa_type=Moment)


class EmailInboxRow(SQLModel, table=True):
    __tablename__: ClassVar[str] = "email_inbox"
    __table_args__ = (Index("ix_email_inbox_name", "name_key", "id"),)

    id: str = Field(primary_key=True)
    name: str
    name_key: str
    email: str
    email_key: str = Field(unique=True)
    active: bool
    description: str | None = None
    sender_info: str | None = None
    department: str | None = None
    smtp_server: str
    smtp_port: int
    smtp_username: str
    smtp_password: bytes
    smtp_secure: bool
    imap_server: str
    imap_port: int
    imap_username: str
    imap_password: bytes
    imap_secure: bool
    imap_max_retries: int = 10
    version: int = 1
    created_at: datetime = Field(sa_type=Moment)
    updated_at: datetime = Field(sa_type=Moment)
    created_by_id: str | None = Field(default=None, foreign_key="user.id")


class EmailInboxChange(SQLModel, table=True):
    __tablename__: ClassVar[str] = "email_inbox_change"

    seq: int | None = Field(default=None, primary_key=True)
    inbox_id: str
    kind: str
    department: str | None = None
    previous_department: str | None = None
    changed_at: datetime = Field(default_factory=now, sa_type=Moment)
    changed_by_id: str


# ----------------------------------------------------------------------------------------------------------- database

POSTGRESQL = os.environ.get("EMAIL_INBOX_DATABASE_URL")

if POSTGRESQL:
    engine = create_async_engine(make_url(POSTGRESQL).set(drivername="postgresql+asyncpg"))
else:
    engine = create_async_engine(f"sqlite+aiosqlite:///{FOLDER / 'email-inbox.sqlite3'}", connect_args={"timeout": 30})

    @event.listens_for(engine.sync_engine, "connect")
    def on_connect(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()


# SQLite has one writer at a time; who waits for it in SQLite polls, and may wait for seconds.
writing: AbstractAsyncContextManager[object] = nullcontext() if POSTGRESQL else asyncio.Lock()


def new_session() -> AsyncSession:
    return AsyncSession(engine, expire_on_commit=False)


async def set_up() -> None:
    """Makes the tables and the administrator, where they are not there."""
    async with engine.begin() as connection:
        await connection.run_sync(SQLModel.metadata.create_all)
    async with new_session() as session:
        user_id = os.environ["EMAIL_INBOX_ADMIN_USER_ID"]
        if await session.get(User, user_id) is None:
            session.add(User(id=user_id, username="admin", permissions=[MANAGE]))
            await session.flush()
            session.add(AccessToken(digest=digest(os.environ["EMAIL_INBOX_ADMIN_TOKEN"]), user_id=user_id))
            await session.commit()


# ----------------------------------------------------------------------------------------- authentication, encryption


def digest(token: str) -> str:
    return base64.b64encode(hashlib.sha256(token.encode()).digest()).decode()


async def authenticated(session: AsyncSession, headers: Mapping[str, str]) -> User | None:
    """The user whose credentials these are, and who may manage inboxes."""
    statement = (
        select(AccessToken, User)
        .join(User, col(User.id) == AccessToken.user_id)
        .where(AccessToken.digest == digest(headers.get("x-auth-token", "")))
    )
    found = (await session.exec(statement)).first()
    if found is None:
        return None
    token, user = found
    expired = token.expires_at is not None and token.expires_at.replace(tzinfo=UTC) < now()
    same = hmac.compare_digest(headers.get("x-user-id", "").encode(), user.id.encode())
    return user if same and not expired and MANAGE in user.permissions else None


def load_key() -> bytes:
    path = FOLDER / "secret.key"
    if not path.exists():
        path.write_bytes(AESGCM.generate_key(256))
    return path.read_bytes()


cipher = AESGCM(load_key())


def encrypted(password: str, inbox_id: str, column: str) -> bytes:
    nonce = secrets.token_bytes(12)
    return nonce + cipher.encrypt(nonce, password.encode(), f"email_inbox\0{inbox_id}\0{column}".encode())


# ------------------------------------------------------------------------------------------------------------- inputs

Line = Annotated[str, pydantic.Field(max_length=200)]
Port = Annotated[int, pydantic.Field(ge=1, le=65_535)]


class Input(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")


@strawberry.pydantic.input
class SmtpConfigInput(Input):
    server: Annotated[str, pydantic.Field(min_length=1, max_length=253)]
    port: Port
    username: Annotated[str, pydantic.Field(min_length=1, max_length=1_000)]
    password: str | None = None
    secure: bool


@strawberry.pydantic.input
class ImapConfigInput(SmtpConfigInput):
    max_retries: int = 10


@strawberry.pydantic.input
class SetEmailInboxInput(Input):
    id: strawberry.ID | None = None
    name: Annotated[str, pydantic.Field(min_length=1, max_length=200)]
    email: pydantic.EmailStr
    active: bool
    description: Annotated[str, pydantic.Field(max_length=2_000)] | None = None
    sender_info: Line | None = None
    department: Line | None = None
    smtp: SmtpConfigInput
    imap: ImapConfigInput


@strawberry.pydantic.input
class UpdateEmailInboxInput(Input):
    id: strawberry.ID
    name: Annotated[str, pydantic.Field(min_length=1, max_length=200)] | None = None
    email: pydantic.EmailStr | None = None
    active: bool | None = None
    description: Annotated[str, pydantic.Field(max_length=2_000)] | None = None
    sender_info: Line | None = None
    department: Line | None = None
    smtp: SmtpConfigInput | None = None
    imap: ImapConfigInput | None = None


# ------------------------------------------------------------------------------------------------------------ outputs


@strawberry.type
class SmtpConfig:
    server: str
    port: int
    username: str
    secure: bool
    has_password: bool


@strawberry.type
class ImapConfig(SmtpConfig):
    max_retries: int


@strawberry.type
class EmailInbox:
    id: strawberry.ID
    name: str
    email: str
    active: bool
    description: str | None
    sender_info: str | None
    department: str | None
    smtp: SmtpConfig
    imap: ImapConfig
    version: int
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: EmailInboxRow) -> Self:
        smtp = SmtpConfig(
            server=row.smtp_server,
            port=row.smtp_port,
            username=row.smtp_username,
            secure=row.smtp_secure,
            has_password=bool(row.smtp_password),
        )
        imap = ImapConfig(
            server=row.imap_server,
            port=row.imap_port,
            username=row.imap_username,
            secure=row.imap_secure,
            has_password=bool(row.imap_password),
            max_retries=row.imap_max_retries,
        )
        return cls(
            id=strawberry.ID(row.id),
            name=row.name,
            email=row.email,
            active=row.active,
            description=row.description,
            sender_info=row.sender_info,
            department=row.department,
            smtp=smtp,
            imap=imap,
            version=row.version,
            created_at=row.created_at,
            updated_at=row.updated_at,
        )


@strawberry.type
class UserError:
    code: str
    message: str
    field: list[str] | None = None


@strawberry.type
class EmailInboxPayload:
    success: bool
    created: bool = False
    email_inbox: EmailInbox | None = None
    user_errors: list[UserError] = strawberry.field(default_factory=list)
    warnings: list[UserError] = strawberry.field(default_factory=list)


@strawberry.type
class PageInfo:
    has_next_page: bool
    end_cursor: str | None


@strawberry.type
class EmailInboxConnection:
    nodes: list[EmailInbox]
    page_info: PageInfo


# ------------------------------------------------------------------------------------------------------------ the work


def columns_of(values: dict[str, Any], inbox_id: str) -> dict[str, Any]:
    """The columns that an input sets."""
    columns = {name: value for name, value in values.items() if name not in ("id", "smtp", "imap")}
    if "name" in values:
        columns["name_key"] = values["name"].casefold()
    if "email" in values:
        columns["email_key"] = values["email"].casefold()
    for protocol in ("smtp", "imap"):
        for name, value in (values.get(protocol) or {}).items():
            columns[f"{protocol}_{name}"] = value
        password = columns.pop(f"{protocol}_password", None)
        if password is not None:
            columns[f"{protocol}_password"] = encrypted(password, inbox_id, f"{protocol}_password")
    return columns


async def set_inbox(session: AsyncSession, user: User, values: SetEmailInboxInput) -> tuple[EmailInboxRow, bool]:
    """Raises IntegrityError where the address is taken."""
    inbox_id = values.id or secrets.token_hex(8)
    row = await session.get(EmailInboxRow, inbox_id) if values.id else None
    if row is not None:
        return await change(session, user, row, values.model_dump()), False
    columns = columns_of(values.model_dump(), inbox_id)
    row = EmailInboxRow(**columns, id=inbox_id, created_at=now(), updated_at=now(), created_by_id=user.id)
    session.add_all([row, EmailInboxChange(inbox_id=inbox_id, kind="CREATED", changed_by_id=user.id)])
    async with writing:
        await session.commit()
    return row, True


async def change(session: AsyncSession, user: User, row: EmailInboxRow, values: dict[str, Any]) -> EmailInboxRow:
    """Raises IntegrityError where the address is taken."""
    row.sqlmodel_update({**columns_of(values, row.id), "version": row.version + 1, "updated_at": now()})
    session.add_all([row, EmailInboxChange(inbox_id=row.id, kind="UPDATED", changed_by_id=user.id)])
    async with writing:
        await session.commit()
    return row


def encode_cursor(row: EmailInboxRow) -> str:
    text = json.dumps(["NAME", row.name_key, row.id], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> tuple[str, str]:
    _, name, inbox_id = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    return name, inbox_id


# ------------------------------------------------------------------------------------------------------------ GraphQL


@dataclass
class Context:
    request: Request | WebSocket
    session: AsyncSession = dataclasses.field(init=False)
    user: User = dataclasses.field(init=False)


class Sessions(SchemaExtension):
    """A session for each operation."""

    async def on_operation(self) -> AsyncIterator[None]:
        async with new_session() as session:
            self.execution_context.context.session = session
            yield


class IsAuthenticated(BasePermission):
    message = "Unauthenticated"

    async def has_permission(self, source: Any, info: strawberry.Info[Context], **kwargs: Any) -> bool:  # noqa: ARG002
        user = await authenticated(info.context.session, info.context.request.headers)
        if user is not None:
            info.context.user = user
        return user is not None


def taken() -> EmailInboxPayload:
    problem = UserError(code="TAKEN", message="email is already used by another inbox.", field=["input", "email"])
    return EmailInboxPayload(success=False, user_errors=[problem])


def not_found() -> EmailInboxPayload:
    problem = UserError(code="NOT_FOUND", message="No inbox has this id.", field=["input", "id"])
    return EmailInboxPayload(success=False, user_errors=[problem])


@strawberry.type
class Query:
    @strawberry.field(permission_classes=[IsAuthenticated])
    async def email_inbox(self, info: strawberry.Info[Context], id: strawberry.ID) -> EmailInbox | None:
        row = await info.context.session.get(EmailInboxRow, id)
        return EmailInbox.of(row) if row else None

    @strawberry.field(permission_classes=[IsAuthenticated])
    async def email_inboxes(
        self, info: strawberry.Info[Context], first: int = 50, after: str | None = None
    ) -> EmailInboxConnection:
        statement = select(EmailInboxRow).order_by(EmailInboxRow.name_key, EmailInboxRow.id).limit(first + 1)
        if after:
            statement = statement.where(tuple_(EmailInboxRow.name_key, EmailInboxRow.id) > decode_cursor(after))
        rows = (await info.context.session.exec(statement)).all()
        page = rows[:first]
        page_info = PageInfo(has_next_page=len(rows) > first, end_cursor=encode_cursor(page[-1]) if page else None)
        return EmailInboxConnection(nodes=[EmailInbox.of(row) for row in page], page_info=page_info)


@strawberry.type
class Mutation:
    @strawberry.mutation(permission_classes=[IsAuthenticated])
    async def set_email_inbox(self, info: strawberry.Info[Context], input: SetEmailInboxInput) -> EmailInboxPayload:
        try:
            row, created = await set_inbox(info.context.session, info.context.user, input)
        except IntegrityError:
            return taken()
        return EmailInboxPayload(success=True, created=created, email_inbox=EmailInbox.of(row))

    @strawberry.mutation(permission_classes=[IsAuthenticated])
    async def update_email_inbox(
        self, info: strawberry.Info[Context], input: UpdateEmailInboxInput
    ) -> EmailInboxPayload:
        session = info.context.session
        row = await session.get(EmailInboxRow, input.id)
        if row is None:
            return not_found()
        try:
            row = await change(session, info.context.user, row, input.model_dump(exclude_none=True))
        except IntegrityError:
            return taken()
        return EmailInboxPayload(success=True, email_inbox=EmailInbox.of(row))


class View(GraphQL[Context, None]):
    async def get_context(self, request: Request | WebSocket, response: Response | WebSocket) -> Context:  # noqa: ARG002
        return Context(request=request)


def to_iso(moment: datetime) -> str:
    return moment.replace(tzinfo=UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


DATE_TIME = strawberry.scalar(name="DateTime", serialize=to_iso, parse_value=datetime.fromisoformat)
schema = strawberry.Schema(
    Query,
    Mutation,
    extensions=[Sessions, ParserCache, ValidationCache],
    config=StrawberryConfig(scalar_map={datetime: DATE_TIME}),
)

# --------------------------------------------------------------------------------------------------------------- REST


async def save(request: Request) -> Response:
    async with new_session() as session:
        user = await authenticated(session, request.headers)
        if user is None:
            return JSONResponse({"success": False, "error": "Unauthenticated"}, 401)
        try:
            values = SetEmailInboxInput.model_validate(await request.json())
            row, _ = await set_inbox(session, user, values)
        except (pydantic.ValidationError, IntegrityError) as error:
            return JSONResponse({"success": False, "error": type(error).__name__}, 400)
        return JSONResponse({"_id": row.id, "success": True})


async def ready(_request: Request) -> Response:
    async with new_session() as session:
        await session.exec(select(User.id).limit(1))
    return JSONResponse({"status": "ready"})


@asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncIterator[None]:
    await set_up()
    yield
    await engine.dispose()


app = Starlette(
    routes=[
        Route("/graphql", View(schema)),
        Route("/api/v1/email-inbox", save, methods=["POST"]),
        Route("/health/ready", ready),
    ],
    lifespan=lifespan,
)

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["EMAIL_INBOX_PORT"]))
