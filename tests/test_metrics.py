"""What Prometheus is told: operations over every API, the database's queue, subscriptions; never a client's word."""

import asyncio
import os
import re
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import get_args

import httpx
import pytest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from sqlalchemy.exc import IntegrityError
from sqlalchemy.util import await_only
from sqlmodel import Session

import resolvers.events
from edge.metrics import BUCKETS, METHODS, OTHER, Metrics
from edge.version import VERSION
from models.errors import ProductError, Unavailable
from models.observer import CredentialKind, UnitState
from resolvers.throttle import FAILED_LOGINS_PER_USER, FAILURES_PER_NETWORK
from schema import errors
from schema.http.observation import INTROSPECTION, INVALID
from settings import Settings
from tests.api import SET, Api, GraphQLApi, post_json
from tests.inboxes import inbox_values
from tests.pages import DOCS, quoted, table
from tests.process import PLAIN, Process, environment_of, serving, subscribed, until
from tests.running import ADMIN_HEADERS, Running, running, settings_for
from tests.sockets import connected, listening

CHANGES = "subscription { emailInboxChanged { id } }"
Samples = Counter[tuple[str, ...]]


def parsed(text: str) -> Samples:
    """The value of each series, by its name without the prefix and the values of its labels in order of their names."""
    found: Samples = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = [sample.labels[name] for name in sorted(sample.labels)]
            found[(sample.name.removeprefix("email_inbox_"), *labels)] = sample.value  # type: ignore[assignment]
    return found


async def scrape(client: httpx.AsyncClient) -> Samples:
    answer = await client.get("/metrics")
    assert answer.status_code == 200
    return parsed(answer.text)


async def operations(client: httpx.AsyncClient) -> dict[tuple[str, ...], float]:
    """How often each operation had each outcome over each API: (api, operation, outcome)."""
    return {key[1:]: value for key, value in (await scrape(client)).items() if key[0] == "operations_total"}


# ------------------------------------------------------------------------------------------------------- operations


async def test_an_operation_counts_the_same_over_both_apis(api: Api) -> None:
    name = "graphql" if isinstance(api, GraphQLApi) else "rest"
    saved = await api.set_inbox(inbox_values(id="a"))
    assert saved.inbox_id == "a"
    await api.set_inbox(inbox_values(id="b", email="nobody"))
    await api.inbox("a")
    await api.delete_inbox("a")
    assert await operations(api.client) == {
        (name, "setEmailInbox", "ok"): 1,
        (name, "setEmailInbox", "user_error"): 1,
        (name, "emailInbox", "ok"): 1,
        (name, "deleteEmailInbox", "ok"): 1,
    }
    samples = await scrape(api.client)
    assert samples["operation_duration_seconds_count", name, "setEmailInbox"] == 2
    assert 0 < samples["operation_duration_seconds_sum", name, "setEmailInbox"] < 20


@pytest.mark.parametrize(
    ("query", "counted"),
    [
        ("{ viewer { id } }", {("viewer", "UNAUTHENTICATED"): 1}),
        ("{ a: viewer { id } b: viewer { id } users { totalCount } }", {}),
        ('mutation { login(username: "x", password: "y") { success } }', {("login", "UNAUTHENTICATED"): 1}),
        ("query kanarie { kanarie: __typename }", {(INTROSPECTION, "ok"): 1}),
        ("query kanarie { ...K } fragment K on Query { __schema { types { name } } }", {(INTROSPECTION, "ok"): 1}),
        ("{ kanarie }", {(INVALID, "GRAPHQL_VALIDATION_FAILED"): 1}),
        ('{ "kanarie', {(INVALID, "GRAPHQL_PARSE_FAILED"): 1}),
        ("query kanarie ($kanarie: Int!) { users(first: $kanarie) { totalCount } }", {(INVALID, "BAD_USER_INPUT"): 1}),
    ],
)
async def test_what_an_operation_is_called_is_up_to_the_schema(
    server: Running, query: str, counted: dict[tuple[str, str], int]
) -> None:
    await server.graphql(query, {})
    found = await operations(server.client)
    if counted:
        assert found == {("graphql", *key): value for key, value in counted.items()}
    else:  # several at once are counted one by one, as far as they were begun
        assert found["graphql", "viewer", "UNAUTHENTICATED"] >= 1
    assert "kanarie" not in (await server.client.get("/metrics")).text


async def test_every_outcome_is_told_apart(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    body = {"query": SET, "variables": {"input": inbox_values()}}
    monkeypatch.setattr(server.context.events, "wake", lambda: 1 / 0)
    await server.client.post("/graphql", json=body)

    def unavailable() -> None:
        raise Unavailable

    monkeypatch.setattr(server.context.events, "wake", unavailable)
    await post_json(server.client, "/api/v1/email-inbox", inbox_values(email="b@example.org"))
    found = await operations(server.client)
    assert found["graphql", "setEmailInbox", "INTERNAL_SERVER_ERROR"] == 1
    assert found["rest", "setEmailInbox", "SERVICE_UNAVAILABLE"] == 1


async def test_operations_over_websocket_and_sse_are_told_apart(settings: Settings) -> None:
    async with listening(settings) as (server, url), connected(url) as socket:
        await socket.start("{ viewer { id } }")
        assert await socket.next()
        assert (await scrape(server.client))["websockets_open",] == 1
        address = url.replace("ws://", "http://")
        headers = {**ADMIN_HEADERS, "Accept": "text/event-stream"}
        async with (
            httpx.AsyncClient(headers=headers) as client,
            client.stream("POST", address, json={"query": CHANGES}, timeout=10) as stream,
        ):
            await counted(server, "subscriptions_open", 1)
            await GraphQLApi(server.client).set_inbox(inbox_values(id="a"))
            async for line in stream.aiter_lines():
                if line.startswith("data"):
                    break
        found = await operations(server.client)
        assert found["websocket", "viewer", "ok"] == 1
        assert found["sse", "emailInboxChanged", "ok"] == 1
        # A stream has no duration: what counts is how soon it began.
        samples = await scrape(server.client)
        assert samples["http_request_duration_seconds_sum", "POST", "/graphql"] < 5


# ---------------------------------------------------------------------------------------------------------- requests


async def test_a_request_counts_by_route_method_and_status(server: Running) -> None:
    for method, path in (
        ("GET", "/api/v1/email-inbox/kanarie"),
        ("GET", "/api/v1/email-inbox/kanarie2"),
        ("GET", "/api/v1/kanarie"),
        ("GET", "/kanarie?kanarie=1"),
        ("KANARIE", "/graphql"),
        ("GET", "/health/live"),
    ):
        await server.client.request(method, path)
    await server.as_caller().get("/api/v1/me")
    text = (await server.client.get("/metrics")).text
    found = {key[1:]: value for key, value in parsed(text).items() if key[0] == "http_requests_total"}
    assert found == {
        ("GET", "/api/v1/email-inbox/{id}", "404"): 2,
        ("GET", "/api/v1", "404"): 1,
        ("GET", "other", "404"): 1,
        ("other", "/graphql", "405"): 1,
        ("GET", "/health/live", "200"): 1,
        ("GET", "/api/v1/me", "401"): 1,
    }
    assert parsed(text)["http_request_duration_seconds_count", "GET", "/api/v1/email-inbox/{id}"] == 2
    assert "kanarie" not in text.lower()


async def test_every_series_of_a_request_is_there_for_what_nobody_foresaw(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.context.database, "find", lambda *_, **__: 1 / 0)
    assert (await server.client.get("/api/v1/me")).status_code == 500
    assert (await scrape(server.client))["http_requests_total", "GET", "/api/v1/me", "500"] == 1


# ---------------------------------------------------------------------------------------------------------- database


@pytest.fixture
async def held(server: Running) -> AsyncIterator[asyncio.Event]:
    """The server, whose writer is busy until the event is set."""
    release, database, loop = asyncio.Event(), server.context.database, asyncio.get_running_loop()

    def unit(session: Session) -> None:
        if database.path:  # a thread of its own
            asyncio.run_coroutine_threadsafe(release.wait(), loop).result()
        else:
            await_only(release.wait())

    busy = asyncio.create_task(database.write(unit))
    await counted(server, "database_units", 1, "writing")
    yield release
    release.set()
    await busy


async def counted(server: Running, name: str, value: float, *labels: str) -> Samples:
    """Waits until a series has this value."""
    async with asyncio.timeout(10):
        while (samples := await scrape(server.client))[name, *labels] != value:  # noqa: ASYNC110 - it is scraped
            await asyncio.sleep(0.01)
    return samples


async def test_units_that_wait_are_told_from_those_being_written(server: Running, held: asyncio.Event) -> None:
    before = await scrape(server.client)
    waiting = asyncio.create_task(GraphQLApi(server.client).set_inbox(inbox_values(id="a")))
    await counted(server, "database_units", 1, "waiting")
    assert not waiting.done()
    held.set()
    assert (await waiting).inbox_id == "a"
    after = await counted(server, "database_units", 0, "writing")
    assert after["database_units", "waiting"] == 0
    for name in ("database_write_wait_seconds", "database_write_seconds"):
        assert after[f"{name}_count",] - before[f"{name}_count",] == 2
    # It waited for what the others took, and they waited for nobody.
    assert after["database_write_wait_seconds_sum",] > before["database_write_wait_seconds_sum",]


async def test_a_unit_that_is_run_again_and_a_database_in_the_way_are_counted(server: Running) -> None:
    losses = iter([IntegrityError("", None, Exception())])

    def loses_once(session: Session) -> str:
        for loss in losses:
            raise loss
        return "written"

    def breaks(session: Session) -> None:
        raise OSError("no disk")

    assert await server.context.database.write(loses_once) == "written"
    with pytest.raises(Unavailable):
        await server.context.database.write(breaks)
    samples = await scrape(server.client)
    assert samples["database_write_retries_total",] == 1
    assert samples["database_unavailable_total",] == 1
    assert samples["database_units", "writing"] == samples["database_units", "waiting"] == 0


# ----------------------------------------------------------------------------------------------------- subscriptions


async def test_subscriptions_and_what_they_are_handed_are_counted(settings: Settings) -> None:
    async with listening(settings) as (server, url), connected(url) as one, connected(url) as other:
        for socket in (one, other):
            await socket.start(CHANGES)
        await counted(server, "subscriptions_open", 2)
        await GraphQLApi(server.client).set_inbox(inbox_values(id="a"))
        for socket in (one, other):
            assert await socket.next() == {"emailInboxChanged": {"id": "a"}}
        assert (await scrape(server.client))["events_total",] == 2
        await other.send({"type": "complete", "id": "1"})
        await counted(server, "subscriptions_open", 1)
        await one.socket.close()
        samples = await counted(server, "subscriptions_open", 0)
        assert samples["subscribers_dropped_total",] == 0


async def test_a_subscriber_that_is_dropped_is_counted_once(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolvers.events, "MAX_QUEUED_EVENTS", 1)
    events = server.context.events.subscribe(0)
    following = asyncio.ensure_future(anext(events))
    await counted(server, "subscriptions_open", 1)
    api = GraphQLApi(server.client)
    await api.set_inbox(inbox_values(id="a"))
    await following
    for number in range(3):
        await api.set_inbox(inbox_values(id=f"n{number}", email=f"n{number}@example.org"))
    samples = await counted(server, "subscriptions_open", 0)
    assert samples["subscribers_dropped_total",] == 1
    await events.aclose()
    assert (await scrape(server.client))["subscriptions_open",] == 0


# ------------------------------------------------------------------------------------------------------- credentials


async def test_refused_and_throttled_credentials_are_counted(server: Running) -> None:
    guesser = server.as_caller(Authorization="Bearer kanarie")
    for _ in range(FAILURES_PER_NETWORK.amount + 2):
        await guesser.get("/api/v1/me")
    for _ in range(FAILED_LOGINS_PER_USER.amount + 1):
        await guesser.post("/api/v1/login", json={"user": "kanarie", "password": "kanarie"})
    text = (await server.client.get("/metrics")).text
    samples = parsed(text)
    assert samples["credentials_refused_total", "token"] == FAILURES_PER_NETWORK.amount
    assert samples["throttled_total", "token"] == 2
    assert samples["throttled_total", "login"] == 1
    assert samples["credentials_refused_total", "login"] == FAILED_LOGINS_PER_USER.amount
    assert "kanarie" not in text


@pytest.fixture
def plain(tmp_path: Path, sqlite_template: Path) -> Settings:
    """Settings for what has nothing to do with the kind of the database."""
    return settings_for(tmp_path / "data")


async def test_the_page_is_open_unless_a_token_is_set(plain: Settings) -> None:
    async with running(plain) as server:
        assert (await server.as_caller().get("/metrics")).status_code == 200
        assert (await server.client.post("/metrics")).status_code == 405


async def test_with_a_token_set_nothing_else_opens_the_page(plain: Settings) -> None:
    token = SecretStr("kanarie-of-the-metrics")
    async with running(plain.model_copy(update={"metrics_token": token})) as server:
        for value in ("", "Bearer", "Bearer x", "Basic kanarie-of-the-metrics", "Bearer kanarie-of-the-metrics\xe9"):
            answer = await server.as_caller().get("/metrics", headers=[(b"authorization", value.encode("latin-1"))])
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
            assert "kanarie" not in answer.text
            assert "email_inbox" not in answer.text
        assert (await server.client.get("/metrics")).status_code == 401
        answer = await server.as_caller(Authorization="Bearer kanarie-of-the-metrics").get("/metrics")
        assert answer.status_code == 200
        assert "kanarie" not in answer.text


# --------------------------------------------------------------------------------------------------- processes, form


async def test_two_applications_in_one_process_count_apart(tmp_path: Path) -> None:
    async with running(settings_for(tmp_path / "a")) as one, running(settings_for(tmp_path / "b")) as other:
        await one.client.get("/health/live")
        assert (await scrape(one.client))["http_requests_total", "GET", "/health/live", "200"] == 1
        assert ("http_requests_total", "GET", "/health/live", "200") not in await scrape(other.client)


async def test_the_process_and_the_version_are_told(plain: Settings) -> None:
    async with running(plain) as server:
        samples = await scrape(server.client)
        assert samples["build_info", VERSION] == 1
        assert samples["process_resident_memory_bytes",] > 1_000_000
        assert samples["process_open_fds",] > 0
        answer = await server.client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
        assert answer.headers["content-type"].startswith("application/openmetrics-text")
        assert answer.text.endswith("# EOF\n")
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("settings", ["postgresql"], indirect=True)
@pytest.mark.timeout(120)
def test_several_workers_answer_as_one(settings: Settings, tmp_path: Path) -> None:
    environment = environment_of(settings, EMAIL_INBOX_WORKERS=2, TMPDIR=tmp_path)
    live = ("http_requests_total", "GET", "/health/live", "200")
    with serving(environment, tmp_path) as process:

        def scraped() -> Samples:
            """Over a connection of its own, so that either worker may take it."""
            return parsed(httpx.get(f"{process.address}/metrics", verify=PLAIN, timeout=30).text)

        until(lambda: len(counting(process, tmp_path)) == 2, 40)
        workers = counting(process, tmp_path)
        before = scraped()[live]
        for _ in range(40):
            httpx.get(f"{process.address}/health/live", verify=PLAIN)
        assert {scraped()[live] for _ in range(10)} == {before + 40}
        assert {key[1] for key in scraped() if key[0] == "process_open_fds"} == set(workers)
        with subscribed(process):
            until(lambda: scraped()["subscriptions_open",] == 1)
            assert {scraped()["websockets_open",] for _ in range(10)} == {1}
            for pid in workers:
                os.kill(int(pid), signal.SIGKILL)
            until(
                lambda: len(counting(process, tmp_path)) == 2 and not workers.keys() & counting(process, tmp_path), 40
            )
        # What a worker that died had open is gone; what it counted is not.
        samples = scraped()
        assert samples["subscriptions_open",] == samples["websockets_open",] == 0
        assert samples[live] == before + 40
        assert process.stop() == 0
        assert not any(folder.exists() for folder in workers.values())


def counting(process: Process, temporary: Path) -> dict[str, Path]:
    """The workers that have begun to count, by their ids, and the folders in which they do."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    within = [*temporary.glob("email-inbox-metrics-*"), *Path("/dev/shm").glob("email-inbox-metrics-*")]
    return {pid: folder for pid in children for folder in within if (folder / f"gauge_livesum_{pid}.db").exists()}


# -------------------------------------------------------------------------------------------------------------- docs


def test_every_metric_is_documented_and_every_documented_one_exists() -> None:
    rows = table(DOCS / "observability.md", "metric", "kind", "labels")
    documented = {quoted(row[0])[0]: (row[1], set(quoted(row[2]))) for row in rows}
    registry = Metrics("0").registry
    exported = {}
    for metric in registry._collector_to_names:
        if isinstance(metric, MetricWrapperBase):
            ending = "_total" if metric._type == "counter" else ""
            exported[metric._name + ending] = (metric._type, set(metric._labelnames))
    assert documented == exported | {"email_inbox_build_info": ("gauge", {"version"})}


def test_no_metric_is_named_that_does_not_exist() -> None:
    named = set(re.findall(r"\bemail_inbox_[a-z_]+", re.sub(r"`email_inbox\..*?`", "", text_of_the_page())))
    rows = table(DOCS / "observability.md", "metric", "kind", "labels")
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in named} == {quoted(row[0])[0] for row in rows}


def text_of_the_page() -> str:
    return " ".join((DOCS / "observability.md").read_text("utf-8").split())


def test_the_values_of_the_labels_are_documented() -> None:
    rows = {quoted(row[0])[0]: set(quoted(row[1])) for row in table(DOCS / "observability.md", "label", "values")}
    kinds: list[type[ProductError]] = [ProductError, *ProductError.__subclasses__()]
    codes = {kind.code for kind in kinds} | {errors.PARSE_FAILED, errors.VALIDATION_FAILED}
    assert rows["outcome"] == codes | {"ok", "user_error", "cancelled"}
    assert rows["operation"] >= {INVALID, INTROSPECTION}
    assert rows["api"] == {"graphql", "rest", "websocket", "sse"}
    assert rows["state"] == set(get_args(UnitState))
    assert rows["kind"] == set(get_args(CredentialKind))
    assert rows["method"] == METHODS | {OTHER}
    assert f"from {BUCKETS[0] * 1_000:g} ms to {BUCKETS[-1]:g} s" in text_of_the_page()
