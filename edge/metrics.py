"""Prometheus metrics: one registry per application, and the endpoint that Prometheus scrapes.

Label values come from the code only (names of routes and resolvers, codes), never from a client, so that there are few.
"""

import asyncio
import hmac
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TypeVar, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import InfoMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.types import Scope

from edge.answers import COMMON_HEADERS, JsonAnswer
from models.errors import ProductError, Refused, Unforeseen
from models.observer import CredentialKind, Observer, UnitState
from models.secrets import Secret

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER = "other"
_NOTHING = nullcontext()

disable_created_metrics()  # type: ignore[no-untyped-call]


def method_of(scope: Scope) -> str:
    """The method if it is a known one, otherwise `OTHER`: a client may send any word."""
    method: str = scope["method"]
    return method if method in METHODS else OTHER


def route_of(scope: Scope) -> str:
    """The path template of the route that matched the request, such as `/api/v1/email-inbox/{id}`."""
    route = scope.get("route")
    if isinstance(route, Mount):
        return route.path  # no route in it matched, or it serves static files
    if not isinstance(route, Route):
        return OTHER
    root = scope.get("root_path", "")
    return str(root.removeprefix(scope.get("app_root_path", root)) + route.path)


def outcome_of(error: BaseException) -> str:
    """The outcome label of an operation that raised this error."""
    if isinstance(error, Refused):
        return "user_error"
    if isinstance(error, asyncio.CancelledError):
        return "cancelled"
    return error.code if isinstance(error, ProductError) else Unforeseen.code


@contextmanager
def shared_folder() -> Iterator[Path]:
    """A folder in which worker processes share metrics: in memory if possible, so that a full disk does no harm."""
    memory = "/dev/shm"  # noqa: S108 - only the private folder within is used
    within = memory if os.access(memory, os.W_OK | os.X_OK) else None
    with tempfile.TemporaryDirectory(prefix="email-inbox-metrics-", dir=within, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def forget_all_but(pids: set[int | None], folder: Path) -> None:
    """Drops the gauges of processes that have ended, such as open WebSockets. Keeps their counters."""
    for path in folder.glob("gauge_live*.db"):
        if int(_pid_of(path)) not in pids:
            path.unlink(missing_ok=True)


def _pid_of(path: Path) -> str:
    return path.stem.rpartition("_")[2]


Child = TypeVar("Child", bound=MetricWrapperBase)


class _Labelled(dict[tuple[str | int, ...], Child]):
    """Caches the series of a metric by label values, because prometheus_client looks them up more slowly."""

    def __init__(self, metric: Child) -> None:
        super().__init__()
        self._metric = metric

    def __missing__(self, values: tuple[str | int, ...]) -> Child:
        child = self[values] = self._metric.labels(*values)
        return child


class Metrics(Observer):
    """The metrics of this process. With a `folder`, those of all processes that share it, and each can be scraped."""

    def __init__(self, version: str, folder: Path | None = None) -> None:
        self.registry = registry = CollectorRegistry()
        self._scraped = registry if folder is None else CollectorRegistry()
        for collector in (_Build(version), PlatformCollector(None)):
            self._scraped.register(collector)
        if folder is None:
            ProcessCollector(registry=registry)
        else:
            MultiProcessCollector(self._scraped, str(folder))  # type: ignore[no-untyped-call]
            self._scraped.register(_Processes(folder))

        def counter(name: str, what: str, *labels: str) -> Counter:
            return Counter(f"email_inbox_{name}", what, labels, registry=registry)

        def gauge(name: str, what: str, *labels: str) -> Gauge:
            return Gauge(f"email_inbox_{name}", what, labels, registry=registry, multiprocess_mode="livesum")

        def histogram(name: str, what: str, *labels: str) -> Histogram:
            return Histogram(f"email_inbox_{name}", what, labels, registry=registry, buckets=BUCKETS)

        self._requests = _Labelled(counter("http_requests", "Requests answered.", "route", "method", "status"))
        self._latency = _Labelled(
            histogram("http_request_duration_seconds", "Time until the response started.", "route", "method")
        )
        self._websockets = gauge("websockets_open", "WebSockets open.")
        self._operations = _Labelled(counter("operations", "Operations done.", "api", "operation", "outcome"))
        self._durations = _Labelled(
            histogram("operation_duration_seconds", "Duration of operations.", "api", "operation")
        )
        self._units = _Labelled(gauge("database_units", "Units that wait or are being written.", "state"))
        self._waits = histogram("database_write_wait_seconds", "Time a unit waited before it ran.")
        self._writes = histogram("database_write_seconds", "Duration of a unit, commit included.")
        self._retries = counter("database_write_retries", "Units that were run again after a conflict.")
        self._slow_reads = counter(
            "database_slow_reads", "Reads that were broken off and run again beside the event loop."
        )
        self._unavailable = counter(
            "database_unavailable", "Reads and writes that failed because the database was unavailable."
        )
        self._subscriptions = gauge("subscriptions_open", "Subscriptions open.")
        self._overload = counter("overload_refusals", "Requests refused because the server was overloaded.")
        self._sockets_refused = counter(
            "websocket_refusals", "WebSockets refused because too many were open without credentials."
        )
        self._dropped = counter("subscribers_dropped", "Subscriptions ended because they were read too slowly.")
        self._delivered = counter("events", "Changes sent to subscribers.")
        self._refused = _Labelled(counter("credentials_refused", "Wrong logins and tokens.", "kind"))
        self._throttled = _Labelled(
            counter("throttled", "Logins and wrong tokens turned away after too many failures.", "kind")
        )
        self._initialize_series()

    def _initialize_series(self) -> None:
        """Creates the series at 0, because PromQL's `rate` misses an event that creates its series."""
        for state in get_args(UnitState):
            self._units[state,].set(0)
        for kind in get_args(CredentialKind):
            for refusals in (self._refused, self._throttled):
                refusals[kind,].inc(0)

    # ---------------------------------------------------------------------------------------------------- requests

    def serving(self, scope: Scope) -> AbstractContextManager[None]:
        """Tracks an open WebSocket. Requests are counted in `answered`."""
        return _NOTHING if scope["type"] == "http" else self._websockets.track_inprogress()

    def answered(self, scope: Scope, status: int, seconds: float) -> None:
        """Counts a response when it starts, because the rest depends on the client or on the events streamed."""
        route, method = route_of(scope), method_of(scope)
        self._requests[route, method, status].inc()
        self._latency[route, method].observe(seconds)

    # -------------------------------------------------------------------------------------------------- operations

    def resolving(self, name: str, api: str) -> AbstractContextManager[None]:
        return _Resolving(self, name, api)

    def executed(self, name: str, api: str, code: str, seconds: float) -> None:
        self._operations[api, name, code].inc()
        self._durations[api, name].observe(seconds)

    # ------------------------------------------------------------------------------------- database, subscriptions

    def unit(self, state: UnitState, by: int) -> None:
        self._units[state,].inc(by)

    def wrote(self, waited: float, took: float) -> None:
        self._waits.observe(waited)
        self._writes.observe(took)

    def retried(self) -> None:
        self._retries.inc()

    def slow_read(self) -> None:
        self._slow_reads.inc()

    def unavailable(self) -> None:
        self._unavailable.inc()

    def subscribers(self, by: int) -> None:
        self._subscriptions.inc(by)

    def overloaded(self) -> None:
        self._overload.inc()

    def socket_refused(self) -> None:
        self._sockets_refused.inc()

    def dropped(self) -> None:
        self._dropped.inc()

    def delivered(self) -> None:
        self._delivered.inc()

    def credentials_refused(self, kind: CredentialKind) -> None:
        self._refused[kind,].inc()

    def throttled(self, kind: CredentialKind) -> None:
        self._throttled[kind,].inc()

    # ------------------------------------------------------------------------------------------------------ scraping

    async def close(self) -> None:
        """Does nothing: metrics are pulled. Subclasses send what is left when the server stops."""

    def page(self, token: Secret | None) -> Callable[[Request], Awaitable[Response]]:
        """The endpoint to scrape. With a `token`, it requires that as a Bearer token (RFC 6750)."""
        expected = None if token is None else f"Bearer {token.reveal()}".encode()

        async def scrape(request: Request) -> Response:
            given = request.headers.get("authorization", "").encode()
            if expected is not None and not hmac.compare_digest(given, expected):
                refused = {
                    "success": False,
                    "error": "The metrics need their token: send Authorization: Bearer <token>.",
                }
                return JsonAnswer(refused, 401, {"WWW-Authenticate": "Bearer"})
            encode, media = choose_encoder(request.headers.get("accept", ""))
            text = await asyncio.to_thread(encode, self._scraped)
            return Response(text, headers={**COMMON_HEADERS, "Content-Type": media})

        return scrape


class _Resolving:
    """Counts one operation. A class, because a generator takes several times as long."""

    __slots__ = ("_api", "_began", "_metrics", "_name")

    def __init__(self, metrics: Metrics, name: str, api: str) -> None:
        self._metrics, self._name, self._api = metrics, name, api

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, _kind: type[BaseException] | None, error: BaseException | None, _place: object) -> None:
        outcome = "ok" if error is None else outcome_of(error)
        self._metrics.executed(self._name, self._api, outcome, time.perf_counter() - self._began)


class _Build(Collector):
    def __init__(self, version: str) -> None:
        self._version = version

    def collect(self) -> Iterable[Metric]:
        yield InfoMetricFamily("email_inbox_build", "Version of the server.", {"version": self._version})


class _Processes(Collector):
    """The kernel's statistics of each process that shares the folder, labelled by process id."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        metrics: dict[str, Metric] = {}
        for pid in sorted(map(_pid_of, self._folder.glob("gauge_live*.db"))):
            for metric in ProcessCollector(pid=lambda pid=pid: pid, registry=None).collect():  # type: ignore[misc]
                merged = metrics.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
                for sample in metric.samples:
                    merged.add_sample(sample.name, {**sample.labels, "pid": pid}, sample.value)
        return metrics.values()
