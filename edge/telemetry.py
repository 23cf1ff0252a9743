"""Sets up metrics, and traces if they are enabled."""

from pathlib import Path
from types import ModuleType

import structlog
from structlog.typing import Processor

from edge.metrics import Metrics
from edge.version import VERSION

log = structlog.get_logger()


def make_metrics(folder: Path | None, *, traced: bool) -> Metrics:
    """Returns the metrics, which also send traces if `traced` and if OpenTelemetry is installed.

    `folder`: where worker processes share metrics.
    """
    if not traced:
        return Metrics(VERSION, folder)
    if (tracing := _tracing()) is None:
        log.warning("no traces", reason="OpenTelemetry is not installed: make install EXTRA=telemetry")
        return Metrics(VERSION, folder)
    traces: Metrics = tracing.Traces(VERSION, folder)
    return traces


def log_processors(*, traced: bool) -> list[Processor]:
    """The log processors that add the trace id to each line."""
    tracing = _tracing() if traced else None
    return [tracing.with_trace_id] if tracing else []


def _tracing() -> ModuleType | None:
    """`edge.tracing`, if the extra is installed."""
    try:
        from edge import tracing
    except ImportError:
        return None
    return tracing
