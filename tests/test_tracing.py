"""Traces: spans of request, operation, resolver and statement, one within the other, and no secret in any of them."""

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
import structlog
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from sqlalchemy import text

from edge.tracing import QuietExporter, Traces
from models.database import open_database
from settings import Settings, traces_wanted
from tests.api import SET, SHOW, post_json
from tests.inboxes import inbox_values
from tests.process import ROOT, environment_of, free_port, serving, until
from tests.running import ADMIN_HEADERS, Running, running
from tests.sockets import connected, listening
from tests.test_canary import Canary

RECEIVER = "http://127.0.0.1:1"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CHANGES = "subscription { emailInboxChanged { id emailInbox { createdBy { id } } } }"


@dataclass
class Traced:
    """A server, and the spans that it has sent."""

    server: Running
    exporter: InMemorySpanExporter

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    def named(self, name: str) -> ReadableSpan:
        [found] = [span for span in self.spans if span.name == name]
        return found

    def below(self, parent: ReadableSpan) -> list[ReadableSpan]:
        return [span for span in self.spans if span.parent and span.parent.span_id == _id(parent)]


def _id(span: ReadableSpan) -> int:
    assert span.context
    span_id: int = span.context.span_id
    return span_id


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def traces_to(exporter: SpanExporter) -> Traces:
    return Traces("0", processor=SimpleSpanProcessor(exporter))


@pytest.fixture
async def traced(settings: Settings) -> AsyncIterator[Traced]:
    exporter = InMemorySpanExporter()
    async with running(settings, traces_to(exporter)) as server:
        yield Traced(server, exporter)


# ------------------------------------------------------------------------------------------------------------- spans


async def test_statements_lie_in_a_resolver_in_an_operation_in_a_request(traced: Traced) -> None:
    await traced.server.graphql(SET, input=inbox_values(id="a"))
    request = traced.named("POST /graphql")
    [operation] = traced.below(request)
    resolver, *looked_up = sorted(traced.below(operation), key=lambda span: span.name, reverse=True)
    assert [span.name for span in looked_up] == ["SELECT"]  # who created it
    statements = traced.below(resolver)
    assert request.parent is None
    assert request.kind is SpanKind.SERVER
    answered = attributes(request)
    assert answered.pop("email_inbox.request_id")
    assert answered == {
        "http.request.method": "POST",
        "url.scheme": "http",
        "http.route": "/graphql",
        "http.response.status_code": 200,
    }
    assert operation.name == "mutation setEmailInbox"
    assert resolver.name == "resolver setEmailInbox"
    assert attributes(resolver) == {"email_inbox.api": "graphql"}
    verbs = [span.name for span in statements]
    assert {"SELECT", "INSERT"} <= set(verbs)
    [insert] = [span for span in statements if "INSERT INTO email_inbox " in attributes(span)["db.query.text"]]
    system = "sqlite" if traced.server.context.database.path else "postgresql"
    assert attributes(insert)["db.system.name"] == system
    assert set(attributes(insert)) == {"db.system.name", "db.query.text"}
    assert len(traced.spans) == 3 + len(looked_up) + len(statements)
    for outer, inner in ((request, operation), (operation, resolver), (resolver, insert)):
        times = [outer.start_time, inner.start_time, inner.end_time, outer.end_time]
        assert times == sorted(times)  # type: ignore[type-var]


async def test_over_rest_the_resolver_lies_in_the_request(traced: Traced) -> None:
    await traced.server.client.get("/api/v1/email-inbox/kanarie")
    request = traced.named("GET /api/v1/email-inbox/{id}")
    [resolver] = [span for span in traced.below(request) if span.name.startswith("resolver")]
    assert resolver.name == "resolver emailInbox"
    assert attributes(resolver) == {"email_inbox.api": "rest"}
    assert [span.name for span in traced.below(resolver)] == ["SELECT"]
    assert "kanarie" not in everything(traced.spans)


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("query kanarie { kanarie: viewer { id } }", "query viewer"),
        ("{ ...A } fragment A on Query { viewer { id } ... { __typename } }", "query __typename viewer"),
        ("{ viewer { id } users { totalCount } accessTokens { id } __typename }", "query several"),
        ("{ kanarie }", "invalid"),
        ('{ "kanarie', "invalid"),
    ],
)
async def test_an_operation_is_named_by_the_schema(traced: Traced, query: str, name: str) -> None:
    await traced.server.graphql(query)
    [operation] = traced.below(traced.named("POST /graphql"))
    assert operation.name == name
    assert (operation.status.status_code is StatusCode.ERROR) == (name == "invalid")
    assert "kanarie" not in everything(traced.spans)


async def test_a_failure_is_told_by_its_type_alone(traced: Traced) -> None:
    canary = Canary()
    async with open_database(traced.server.settings.url) as database, database.engine.begin() as connection:
        await connection.execute(text("ALTER TABLE email_inbox RENAME TO elsewhere"))
    await post_json(traced.server.client, "/api/v1/email-inbox", {**inbox_values(), "_id": canary.core})
    request, resolver = traced.named("POST /api/v1/email-inbox"), traced.named("resolver setEmailInbox")
    [statement] = [span for span in traced.below(resolver) if span.status.status_code is StatusCode.ERROR]
    assert request.status.status_code is resolver.status.status_code is StatusCode.ERROR
    assert attributes(request)["http.response.status_code"] == 500
    assert attributes(resolver)["email_inbox.outcome"] == "INTERNAL_SERVER_ERROR"
    assert attributes(statement)["error.type"].endswith("Error")
    assert not any(span.events or span.status.description for span in traced.spans)
    assert not canary.found_in(everything(traced.spans).encode())


async def test_the_trace_of_the_client_goes_on(traced: Traced) -> None:
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "x=kanarie", "baggage": "kanarie=kanarie"}
    await traced.server.client.get("/api/v1/me", headers=headers)
    request = traced.named("GET /api/v1/me")
    assert request.parent
    assert f"{request.parent.span_id:016x}" == PARENT
    assert {f"{span.context.trace_id:032x}" for span in traced.spans if span.context} == {TRACE}
    assert "kanarie" not in everything(traced.spans)


@pytest.mark.parametrize(
    "value", ["kanarie", f"00-{TRACE}-{PARENT}-kanarie", "00-" + "0" * 32 + f"-{PARENT}-01", "\xff"]
)
async def test_what_is_no_trace_begins_a_new_one(traced: Traced, value: str) -> None:
    headers = [(b"traceparent", value.encode("latin-1"))]
    assert (await traced.server.client.get("/api/v1/me", headers=headers)).status_code == 200
    assert traced.named("GET /api/v1/me").parent is None
    assert "kanarie" not in everything(traced.spans)


async def test_what_looks_after_the_server_is_not_traced(traced: Traced) -> None:
    for path in ("/health/live", "/health/ready", "/metrics"):
        assert (await traced.server.client.get(path)).status_code == 200
    assert traced.spans == []


# --------------------------------------------------------------------------------------------------------- streaming


@pytest.fixture
def complaints() -> Iterator[list[logging.LogRecord]]:
    """What OpenTelemetry would log, such as of a span that was left by a task that had not entered it."""
    found: list[logging.LogRecord] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record)

    handler = Handler()
    logger = logging.getLogger("opentelemetry.context")
    logger.addHandler(handler)
    level, logger.level = logger.level, logging.DEBUG
    yield found
    logger.removeHandler(handler)
    logger.level = level


async def test_over_websocket_each_operation_is_a_trace(
    settings: Settings, complaints: list[logging.LogRecord]
) -> None:
    exporter = InMemorySpanExporter()
    async with listening(settings, traces_to(exporter)) as (server, url), connected(url) as socket:
        traced = Traced(server, exporter)
        await socket.start("{ viewer { id } }")
        await socket.next()
        await socket.receive()
        await socket.start(CHANGES)
        await subscription(traced)
        exporter.clear()
        await server.graphql(SET, input=inbox_values(id="a"))
        assert (await socket.next())["emailInboxChanged"]["id"] == "a"
        # What is looked up for an event, days later perhaps, belongs to no trace any more.
        assert {span.name for span in traced.spans if not span.parent} == {"POST /graphql"}
    assert complaints == []


async def test_over_sse_the_subscription_lies_in_its_request(
    settings: Settings, complaints: list[logging.LogRecord]
) -> None:
    exporter = InMemorySpanExporter()
    headers = {**ADMIN_HEADERS, "Accept": "text/event-stream"}
    async with listening(settings, traces_to(exporter)) as (server, url), httpx.AsyncClient(headers=headers) as client:
        traced = Traced(server, exporter)
        address = url.replace("ws://", "http://")
        async with client.stream("POST", address, json={"query": CHANGES}, timeout=10) as stream:
            operation = await subscription(traced)
            await server.graphql(SET, input=inbox_values(id="a"))
            async for line in stream.aiter_lines():
                if line.startswith("data"):
                    break
        assert operation.parent
    assert complaints == []


async def subscription(traced: Traced) -> ReadableSpan:
    """The span of a subscription, which ends when it is set up, with that of its resolver below it."""
    async with asyncio.timeout(10):
        while not any(span.name == "resolver emailInboxChanged" for span in traced.spans):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    operation = traced.named("subscription emailInboxChanged")
    assert traced.named("resolver emailInboxChanged") in traced.below(operation)
    return operation


# ------------------------------------------------------------------------------------------------------------ secrets


def everything(spans: list[ReadableSpan]) -> str:
    """All that is sent of the spans."""
    return "\n".join(f"{span.to_json()} {span.context and span.context.trace_state.to_header()}" for span in spans)


def written(password: str) -> str:
    """A document with everything in it, and a name that the client chose."""
    server = f'{{ server: "mail.example.org", port: 1, username: "u", password: "{password}", secure: true }}'
    values = f'name: "b", email: "b@example.org", active: true, smtp: {server}, imap: {server}'
    return f"mutation {password} {{ {password}: __typename setEmailInbox(input: {{ {values} }}) {{ success }} }}"


async def test_no_secret_is_in_a_span(traced: Traced) -> None:
    canaries = {name: Canary() for name in ("variable", "literal", "rest", "url", "header", "login", "trace")}
    secret = {name: canary.core for name, canary in canaries.items()}
    client = traced.server.client
    values = inbox_values(id="a", smtp__password=secret["variable"], imap__password=secret["variable"])
    assert (await traced.server.graphql(SET, input=values))["data"]["setEmailInbox"]["success"]
    assert (await traced.server.graphql(written(secret["literal"])))["data"]["setEmailInbox"]["success"]
    login = f'mutation {{ login(username: "admin", password: "{secret["login"]}") {{ token }} }}'
    await traced.server.graphql(login)
    stored = {**inbox_values(email="c@example.org", smtp__password=secret["rest"]), "_id": "c"}
    assert (await post_json(client, "/api/v1/email-inbox", stored)).status_code == 200
    await client.post("/api/v1/login", json={"user": "admin", "password": secret["rest"]})
    await client.get("/graphql", params={"query": f'{{ emailInbox(id: "{secret["url"]}") {{ id }} }}'})
    await client.get(f"/api/v1/email-inbox/{secret['url']}")
    await client.get(f"/{secret['url']}?{secret['url']}")
    await client.request(secret["header"].upper(), "/graphql")
    headers = {"Authorization": f"Bearer {secret['header']}", "X-Auth-Token": "", "User-Agent": secret["header"]}
    await client.get("/api/v1/me", headers={**headers, "tracestate": f"a={secret['trace']}", "Cookie": secret["trace"]})
    sent = everything(traced.spans)
    assert {name for name, canary in canaries.items() if canary.found_in(sent.lower().encode())} == set()
    # That the search is worth something.
    assert sent.count("resolver setEmailInbox") == 3
    assert "INSERT INTO email_inbox" in sent


# ------------------------------------------------------------------------------------------------------ real processes


@dataclass
class Receiver:
    """What takes spans over OTLP."""

    port: int
    paths: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    @property
    def spans(self) -> list[Any]:
        return [
            span
            for body in self.bodies
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


@contextmanager
def receiving(port: int) -> Iterator[Receiver]:
    receiver = Receiver(port)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            receiver.paths.append(self.path)
            receiver.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield receiver
        server.shutdown()


def otlp(port: int) -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}", "OTEL_BSP_SCHEDULE_DELAY": "50"}


def test_spans_are_sent_over_otlp_and_the_log_names_their_trace(settings: Settings, tmp_path: Path) -> None:
    canary = Canary()
    with receiving(free_port()) as receiver:
        named = {"OTEL_SERVICE_NAME": "inboxes-of-mine"}
        environment = environment_of(settings) | otlp(receiver.port) | named
        with serving(environment, tmp_path) as process:
            values = inbox_values(id="a", smtp__password=canary.core)
            assert process.graphql(SET, input=values)["data"]["setEmailInbox"]["success"]
            until(lambda: any(span.name == "POST /graphql" for span in receiver.spans))
            process.graphql(SHOW, id="a")
            assert process.stop() == 0  # what is left is sent
        names = [span.name for span in receiver.spans]
        assert {"mutation setEmailInbox", "resolver setEmailInbox", "INSERT", "query emailInbox"} <= set(names)
        assert set(receiver.paths) == {"/v1/traces"}
        assert b"inboxes-of-mine" in receiver.bodies[0]
        assert not any(canary.found_in(body) for body in receiver.bodies)
        [first, _] = [span for span in receiver.spans if span.name == "POST /graphql"]
        lines = [line for line in process.err.splitlines() if first.trace_id.hex() in line]
        assert len(lines) == 1
        assert '"path":"/graphql"' in lines[0]
        assert f'"trace_id":"{first.trace_id.hex()}"' in lines[0]


def test_nobody_waits_for_a_receiver_that_is_down(settings: Settings, tmp_path: Path) -> None:
    port = free_port()
    environment = environment_of(settings, EMAIL_INBOX_GRAPHIQL="false") | otlp(port)
    environment["OTEL_EXPORTER_OTLP_TIMEOUT"] = "1"
    with serving(environment, tmp_path) as process:
        for _ in range(30):
            assert process.client.get("/api/v1/me").elapsed.total_seconds() < 2
        until(lambda: "traces can't be sent" in process.err, 30)
        for _ in range(30):
            process.client.get("/api/v1/me")
        assert process.stop() == 0
    lines = [line for line in process.err.splitlines() if '"event":"request"' not in line]
    assert [line for line in lines if "traces can't be sent" not in line] == []
    assert len(lines) == 1


def test_that_spans_cannot_be_sent_is_said_once_and_that_they_can_again_too() -> None:
    class Exporter(SpanExporter):
        results = iter([True, False, None, False, True, True])

        def export(self, spans: Any) -> SpanExportResult:
            match next(self.results):
                case None:
                    raise OSError("no route")
                case works:
                    return SpanExportResult.SUCCESS if works else SpanExportResult.FAILURE

    quiet = QuietExporter(Exporter())
    with structlog.testing.capture_logs() as lines:
        for _ in range(6):
            quiet.export([])
    assert [line["event"] for line in lines] == ["traces can't be sent", "traces are sent again"]


def interpreted(code: str, **environment: str) -> str:
    """What a fresh interpreter prints."""
    variables = {"PATH": "/usr/bin", **environment}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=variables, cwd=ROOT, capture_output=True, text=True, check=True).stdout


MAKES = """
import sys
{before}
import server
app = server.create_app(server.Settings(_env_file=None, graphiql=False))
metrics = server.telemetry.make_metrics(None, traced=server.environment.traces_wanted())
print(type(metrics).__name__, sum(name.startswith("opentelemetry") for name in sys.modules))
"""


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": RECEIVER, "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": RECEIVER, "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": RECEIVER}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{RECEIVER}/v1/traces"}, True),
    ],
)
def test_the_variables_of_opentelemetry_say_whether_traces_are_wanted(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], wanted: bool
) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert traces_wanted() == wanted


def test_without_them_nothing_of_it_is_imported() -> None:
    assert interpreted(MAKES.format(before="")).split() == ["Metrics", "0"]


def test_without_the_extra_the_server_says_so_and_serves() -> None:
    without = "sys.modules['opentelemetry'] = None"
    printed = interpreted(MAKES.format(before=without), OTEL_EXPORTER_OTLP_ENDPOINT=RECEIVER)
    assert "make install EXTRA=telemetry" in printed
    assert printed.split()[-2] == "Metrics"
