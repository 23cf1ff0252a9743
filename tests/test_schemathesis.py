"""schemathesis against both APIs, on both databases, with every check on. `FUZZ=full` looks further.

Each request comes from an address of its own, so that no throttle hides what is behind it, and each logout ends a token
of its own, so that the administrator's lives on.
"""

import asyncio
import os
from collections import Counter
from datetime import UTC
from typing import Any

import pytest
import schemathesis
import schemathesis.specs.openapi.checks  # registers the checks, those of GraphQL too
from hypothesis import strategies as st
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema
from schemathesis.graphql import nodes
from schemathesis.specs.graphql.schemas import GraphQLSchema
from starlette.applications import Starlette
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import server as composition
from models import token
from models.database import sqlite_path
from resolvers.mail_limits import MailQuota
from schema import build_schema
from settings import Settings
from tests import sockets
from tests.running import ADMIN_HEADERS, ADMIN_ID, ADMIN_TOKEN
from tests.sockets import listening

FULL = os.environ.get("FUZZ") == "full"
EXAMPLES = 300 if FULL else 10
METHODS = {"get", "post", "put", "patch", "delete"}
SAVE = "POST /email-inbox"
SEND_TEST = "POST /email-inbox.send-test/{id}"
INPUTS = ("InboxConfig", "SmtpConfig", "ImapConfig", "OAuth2Config")
MAIL_HOSTS = st.sampled_from(["mail.example.org", "localhost", "MX_1.example.", "bücher.example"])
LOCAL_PARTS = st.text("abcXYZ019.+_-", min_size=1, max_size=12).filter(
    lambda text: ".." not in text and text.strip(".") == text
)

schemathesis.openapi.format("host", MAIL_HOSTS | st.ip_addresses().map(str))
schemathesis.openapi.format(
    "idn-email", st.builds("{}@{}".format, LOCAL_PARTS, MAIL_HOSTS.map(lambda h: h.rstrip(".")))
)
schemathesis.graphql.scalar("DateTime", st.datetimes(timezones=st.just(UTC)).map(lambda t: nodes.String(t.isoformat())))


class Crowd:
    """ASGI middleware: every request comes from somebody else."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.seen = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self.seen += 1
            scope = {**scope, "client": (f"10.{self.seen >> 16}.{self.seen >> 8 & 255}.{self.seen & 255}", 50_000)}
            received = [await receive()]
            while received[-1].get("more_body"):
                received.append(await receive())
            if b"logout" in scope["path"].encode() + b"".join(part.get("body", b"") for part in received):
                scope["headers"] = await self._with_another_token(scope)
            receive = self._again(received, receive)
        await self.app(scope, receive, send)

    @staticmethod
    def _again(received: list[Message], receive: Receive) -> Receive:
        parts = iter(received)

        async def again() -> Message:
            return next(parts, None) or await receive()

        return again

    @staticmethod
    async def _with_another_token(scope: Scope) -> list[tuple[bytes, bytes]]:
        another = token.new_token()
        await scope["app"].state.context.database.write(
            lambda session: token.add(session, ADMIN_ID, token.digest(another), "to be ended").id
        )
        return [
            (name, another.reveal().encode() if value == ADMIN_TOKEN.encode() else value)
            for name, value in scope["headers"]
        ]


@pytest.fixture(autouse=True)
def _crowded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers that take all the logins and checks that come."""

    def create_app(*given: Any) -> Starlette:
        app = composition.create_app(*given)
        assert app.middleware_stack
        app.middleware_stack = Crowd(app.middleware_stack)
        return app

    async def never(*_: Any) -> None: ...

    monkeypatch.setattr(sockets, "create_app", create_app)
    monkeypatch.setattr(MailQuota, "_count", never)


def config_for(address: str, **more: Any) -> SchemathesisConfig:
    """What is drawn is the same each time; a request that hangs is a failure."""
    generation = {"max-examples": EXAMPLES, "deterministic": True, "no-shrink": not FULL, "database": "none"}
    return SchemathesisConfig.from_dict(
        {
            "seed": 1,
            "base-url": address,
            "headers": ADMIN_HEADERS,
            "request-timeout": 20,
            "continue-on-failure": True,
            "generation": generation,
            **more,
        }
    )


def run(schema: Any) -> tuple[list[str], Counter[tuple[str, int]]]:
    """What failed, in words, and how often each operation was answered with each status."""
    failures, answers = [], Counter[tuple[str, int]]()
    for event in from_schema(schema).execute():
        if isinstance(event, events.NonFatalError | events.FatalError):
            failures.append(repr(getattr(event, "value", event)))
        if not isinstance(event, events.ScenarioFinished):
            continue
        for case_id, interaction in event.recorder.interactions.items():
            status = interaction.response.status_code if interaction.response else 0
            answers[event.recorder.cases[case_id].value.operation.label, status] += 1
        for checks in event.recorder.checks.values():
            failures += [
                f"{check.name}: {check.failure_info.failure.message}\n{check.failure_info.code_sample}"
                for check in checks
                if check.failure_info
            ]
    return failures, answers


# --------------------------------------------------------------------------------------------------------------- REST


@schemathesis.check
def refusals_have_a_reason(ctx: Any, response: Any, case: Any) -> None:
    """What is valid by its schema is refused only for what a schema can't say."""
    if case.operation.label != SAVE or not case.meta or case.meta.generation.mode.is_negative:
        return
    if response.status_code == 400 and response.json()["errorType"] != "error-duplicate-email":
        unexplained = [detail for detail in response.json()["details"] if not beyond_schemas(detail, case.body)]
        assert not unexplained, unexplained


def beyond_schemas(detail: dict[str, Any], body: Any) -> bool:
    """Whether the problem depends on what is stored or given beside it, on a grammar, or on a number's spelling."""
    place = body
    for name in detail["field"].split("."):
        place = place.get(name) if isinstance(place, dict) else None
    return (
        detail["code"] in ("PASSWORD_REQUIRED", "CONFLICT", "TAKEN")
        or detail["field"].rpartition(".")[2] in ("email", "server", "tokenUrl", "oauth2")
        or "blank" in detail["message"]
        or detail["message"].startswith("smtp.password must not be empty")
        or "compared without regard to case" in detail["message"]
        or (isinstance(place, str) and place.lstrip("+-").isdecimal())
    )


def closed(document: Any) -> Any:
    """The document with no room in any answer for what it does not name, such as a password."""
    for schema in document["components"]["schemas"].values():
        if schema.get("type") == "object" and schema.get("title") not in INPUTS:
            schema.setdefault("additionalProperties", False)
    return document


@pytest.mark.timeout(3_600 if FULL else 240)
async def test_the_rest_path_does_what_its_openapi_document_says(settings: Settings) -> None:
    async with listening(settings) as (server, url):
        document = closed((await server.client.get("/api/v1/openapi.json")).json())
        address = url.replace("ws:", "http:").replace("/graphql", "/api/v1")
        # 400 is right for much that is valid by itself: an address that is taken, a password that is missing because
        # nothing is stored yet. `refusals_have_a_reason` takes the place of this check.
        # The administrator has no address to send a test mail to.
        accepted = {"checks": {"positive_data_acceptance": {"enabled": False}}}
        operations = [{"include-name": name, **accepted} for name in (SAVE, SEND_TEST)]
        # What this phase finds are mistakes in the reading of a request, which no database has a part in.
        coverage = {"enabled": FULL or sqlite_path(settings.url) is not None}
        config = config_for(address, operations=operations, phases={"coverage": coverage})
        schema = schemathesis.openapi.from_dict(document, config=config)
        failures, answers = await asyncio.to_thread(run, schema)
        still_there = await server.client.get("/api/v1/me")
    assert not failures, "\n\n".join(failures[:5])
    assert still_there.status_code == 200
    told = {f"{method.upper()} {path}" for path, item in document["paths"].items() for method in set(item) & METHODS}
    assert {label for label, _ in answers} == told
    assert {label for label in told if not answers[label, 200]} <= {"POST /login", SEND_TEST}


# ------------------------------------------------------------------------------------------------------------ GraphQL


@schemathesis.check
def documents_are_understood(ctx: Any, response: Any, case: Any) -> None:
    """What the schema allows is refused only by a resolver, which says why."""
    if isinstance(case.operation.schema, GraphQLSchema) and case.meta and case.meta.generation.mode.is_positive:
        codes = {error["extensions"]["code"] for error in response.json().get("errors", [])}
        assert codes <= {"BAD_USER_INPUT", "UNAUTHENTICATED"}, response.text


@pytest.mark.timeout(3_600 if FULL else 240)
async def test_no_document_that_the_graphql_schema_allows_is_a_fault(settings: Settings) -> None:
    # Whatever host is drawn, it is not connected to.
    nowhere = settings.model_copy(update={"mail_ports": frozenset({54_321})})
    async with listening(nowhere) as (server, url):
        address = url.replace("ws:", "http:")
        # The schema can't say that `id` and `email` exclude each other, or how large a page may be.
        # `documents_are_understood` takes the place of this check.
        config = config_for(address, checks={"positive_data_acceptance": {"enabled": False}})
        schema = await asyncio.to_thread(schemathesis.graphql.from_url, address, config=config, headers=ADMIN_HEADERS)
        failures, answers = await asyncio.to_thread(run, schema)
        still_there = await server.graphql("{ viewer { id } }")
    assert not failures, "\n\n".join(failures[:5])
    assert still_there["data"]["viewer"]["id"] == ADMIN_ID
    built = build_schema()._schema
    fields = {f"{kind.name}.{name}" for kind in (built.query_type, built.mutation_type) if kind for name in kind.fields}
    assert {label for label, _ in answers} == fields
    assert {status for _, status in answers} <= {200, 400}
