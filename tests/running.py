"""A server in the test's process, called through its ASGI interface."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import strawberry
from pydantic import SecretStr
from sqlalchemy import select
from sqlmodel import SQLModel
from starlette.applications import Starlette

from edge.metrics import Metrics
from resolvers.context import Context
from server import create_app
from settings import Settings

ADMIN_ID = "d26x6zSkaPSe5gCyy"
ADMIN_TOKEN = "Zu-Z6eKzIIz7MCCRGeHi29bYkXZCJ4SxFC0JAasqm92"
PUBLIC_URL = "http://inbox.example"
ADMIN_HEADERS = {"X-User-Id": ADMIN_ID, "X-Auth-Token": ADMIN_TOKEN}


def settings_for(folder: Path, url: str | None = None, **more: Any) -> Settings:
    """Returns settings that do not depend on the environment or the working folder."""
    return Settings(
        _env_file=None,
        data_dir=folder,
        database_url=SecretStr(url) if url else None,
        admin_user_id=ADMIN_ID,
        admin_token=SecretStr(ADMIN_TOKEN),
        **{"public_url": PUBLIC_URL, **more},
    )


_build = strawberry.Schema.__init__
_built: dict[tuple[type, bool], dict[str, Any]] = {}


@contextmanager
def types_built_once() -> Iterator[None]:
    """Shares the types of the schema, which take most of a start and depend on no setting but introspection.

    The caches of documents are not shared: every server starts with empty ones.
    """

    def build(self: strawberry.Schema, **given: Any) -> None:
        kind, own = (type(self), given["config"].disable_field_suggestions), dict(vars(self))
        if kind not in _built:
            _build(self, **given)
            _built[kind] = dict(vars(self))
        own |= {"extensions": tuple(given["extensions"]), "execution_context_class": given["execution_context_class"]}
        vars(self).update({**_built[kind], **own})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strawberry.Schema, "__init__", build)
        yield


Rows = dict[str, list[tuple[Any, ...]]]
NOTED_IN_PASSING = {"last_used_at"}
"""Columns that the server writes in the background, some time after a request that only reads."""


@dataclass
class Running:
    """A running server. `client` sends the administrator's credentials."""

    app: Starlette
    client: httpx.AsyncClient
    settings: Settings

    @property
    def context(self) -> Context:
        context: Context = self.app.state.context
        return context

    def as_caller(self, **headers: str) -> httpx.AsyncClient:
        """Returns a client with other credentials, or none."""
        return client_of(self.app, headers)

    async def graphql(self, query: str, headers: dict[str, str] | None = None, **variables: Any) -> dict[str, Any]:
        """Returns the whole body of the response."""
        body = {"query": query, "variables": variables}
        client = self.client if headers is None else self.as_caller(**headers)
        answer = await client.post("/graphql", json=body)
        found: dict[str, Any] = answer.json()
        return found


@asynccontextmanager
async def running(settings: Settings, metrics: Metrics | None = None) -> AsyncIterator[Running]:
    with types_built_once():
        app = create_app(settings, metrics)
    async with app.router.lifespan_context(app), client_of(app, ADMIN_HEADERS) as client:
        yield Running(app, client, settings)


async def rows_of(server: Running) -> Rows:
    """Returns all stored rows by table."""
    found = {}
    for name, table in SQLModel.metadata.tables.items():
        columns = [column for column in table.columns if column.name not in NOTED_IN_PASSING]
        statement: Any = select(*columns).order_by(*table.primary_key)
        found[name] = [tuple(row) for row in await server.context.database.read(statement)]
    return found


def client_of(app: Starlette, headers: dict[str, str], address: str = "127.0.0.1") -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(address, 50000))
    return httpx.AsyncClient(transport=transport, base_url=PUBLIC_URL, headers=headers)
