"""OpenTelemetry traces: spans of requests, operations, resolvers and SQL statements. Imported only if enabled.

A span records what ran and its outcome. It holds no header, no requested path, no document, no argument, no statement
parameter and no error message, because any of them may contain secrets.
"""

import asyncio
import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import structlog
from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import Scope

from edge.admission import ALWAYS_ANSWERED
from edge.metrics import Metrics, method_of, outcome_of, route_of
from models.errors import Unforeseen
from models.observer import Ended, Operation

INSTRUMENTATION_NAME = "email-inbox"
EXPORT_GRACE_SECONDS = 1.0
_SPAN = "email_inbox.span"

log = structlog.get_logger()


def with_trace_id(_logger: Any, _method: str, event: Any) -> Any:
    """Adds the trace id to log lines written within a trace."""
    current = trace.get_current_span().get_span_context()
    return {**event, "trace_id": trace.format_trace_id(current.trace_id)} if current.is_valid else event


class Traces(Metrics):
    """Metrics that also send traces. The OTEL_… variables configure sampling and the receiver."""

    follows_statements = True

    def __init__(self, version: str, folder: Path | None = None, processor: SpanProcessor | None = None) -> None:
        super().__init__(version, folder)
        given = OTELResourceDetector().detect().attributes
        resource = Resource.create({"service.name": INSTRUMENTATION_NAME, "service.version": version, **given})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(processor or BatchSpanProcessor(QuietExporter(OTLPSpanExporter())))
        self._tracer = self._provider.get_tracer(INSTRUMENTATION_NAME, version)
        # OpenTelemetry would repeat its error for as long as the receiver is unavailable.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)

    async def close(self) -> None:
        """Sends the remaining spans, for `EXPORT_GRACE_SECONDS` at most: a slow receiver must not delay the stop."""
        sending = threading.Thread(target=self._provider.shutdown, daemon=True)
        sending.start()
        await asyncio.to_thread(sending.join, EXPORT_GRACE_SECONDS)

    # ---------------------------------------------------------------------------------------------------- requests

    @contextmanager
    def serving(self, scope: Scope) -> Iterator[None]:
        parent = _remote_context(scope)
        if scope["type"] == "http" and not scope["path"].startswith(ALWAYS_ANSWERED):
            with self._request(scope, parent):
                yield
            return
        token = contexts.attach(parent)
        try:
            with super().serving(scope):
                yield
        finally:
            contexts.detach(token)

    @contextmanager
    def _request(self, scope: Scope, parent: contexts.Context) -> Iterator[None]:
        method = method_of(scope)
        attributes = {"http.request.method": method, "url.scheme": scope["scheme"]}
        span = self._tracer.start_span(method, parent, SpanKind.SERVER, attributes)
        scope[_SPAN] = span
        with _use_span(span):
            try:
                yield
            finally:
                route = route_of(scope)
                span.update_name(f"{method} {route}")
                span.set_attributes({"http.route": route, "email_inbox.request_id": scope["request_id"]})

    def answered(self, scope: Scope, status: int, seconds: float) -> None:
        super().answered(scope, status, seconds)
        span: Span | None = scope.get(_SPAN)
        if span:
            span.set_attribute("http.response.status_code", status)
            if status >= 500:
                span.set_status(StatusCode.ERROR)

    # ------------------------------------------------------------------------------- operations, resolvers, statements

    def executing(self) -> Operation:
        return _TracedOperation(self._tracer.start_span("graphql"))

    @contextmanager
    def resolving(self, name: str, api: str) -> Iterator[None]:
        span = self._tracer.start_span(f"resolver {name}", attributes={"email_inbox.api": api})
        with _use_span(span):
            try:
                with super().resolving(name, api):
                    yield
            except BaseException as error:
                outcome = outcome_of(error)
                span.set_attribute("email_inbox.outcome", outcome)
                if outcome == Unforeseen.code:
                    _record_failure(span, error)
                raise

    def statement(self, system: str, text: str) -> Ended:
        if not trace.get_current_span().is_recording():
            return _end_nothing  # background work, outside any request
        verb = text.split(maxsplit=1)[0]
        span = self._tracer.start_span(
            verb, kind=SpanKind.CLIENT, attributes={"db.system.name": system, "db.query.text": text}
        )

        def ended(error: BaseException | None) -> None:
            if error and verb == "BEGIN":
                return  # retried every few milliseconds; a span that does not end is not sent
            if error:
                _record_failure(span, error)
            span.end()

        return ended


class _TracedOperation(Operation):
    """Makes its span the current one until `leave`, so that the operation's other spans become its children."""

    def __init__(self, span: Span) -> None:
        self._span = span
        self._token = contexts.attach(trace.set_span_in_context(span))

    def end(self, name: str, *, failed: bool) -> None:
        if self._span.is_recording():
            self._span.update_name(name)
            if failed:
                self._span.set_status(StatusCode.ERROR)
            self._span.end()

    def leave(self) -> None:
        # A stream may be closed by a different task than the one that opened it.
        if trace.get_current_span() is self._span:
            contexts.detach(self._token)


class QuietExporter(SpanExporter):
    """Logs once when spans can't be sent, and once when they can again."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._works = True

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            result = self._exporter.export(spans)
        except Exception:
            result = SpanExportResult.FAILURE
        works = result is SpanExportResult.SUCCESS
        if self._works and not works:
            log.warning("traces can't be sent", reason="OTEL_EXPORTER_OTLP_ENDPOINT does not take them")
        elif works and not self._works:
            log.info("traces are sent again")
        self._works = works
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


def _remote_context(scope: Scope) -> contexts.Context:
    """The client's trace context (W3C `traceparent`). Ignores `tracestate`, which may hold any text."""
    given = [value for name, value in scope["headers"] if name == b"traceparent"]
    carrier = {"traceparent": given[0].decode("latin-1")} if len(given) == 1 else {}
    return TraceContextTextMapPropagator().extract(carrier, contexts.Context())


def _use_span(span: Span) -> AbstractContextManager[Span]:
    """Makes the span current and ends it on exit. Records no exception, because its message may hold secrets."""
    return trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False)


def _record_failure(span: Span, error: BaseException) -> None:
    span.set_attribute("error.type", type(error).__name__)
    span.set_status(StatusCode.ERROR)


def _end_nothing(_error: BaseException | None) -> None:
    pass
