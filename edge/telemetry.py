"""What counts, and what traces where that is wanted. Knows no variable of the environment."""

from pathlib import Path
from types import ModuleType

import structlog
from structlog.typing import Processor

from edge.metrics import Metrics
from edge.version import VERSION

log = structlog.get_logger()


def make_metrics(folder: Path | None, *, traced: bool) -> Metrics:
    """Counts, and sends traces too where they are wanted and OpenTelemetry is installed.

    `folder`: where several processes count together.
    """
    if not traced:
        return Metrics(VERSION, folder)
    if (tracing := _tracing()) is None:
        log.warning("no traces", reason="OpenTelemetry is not installed: make install EXTRA=telemetry")
        return Metrics(VERSION, folder)
    traces: Metrics = tracing.Traces(VERSION, folder)
    return traces


def log_processors(*, traced: bool) -> list[Processor]:
    """What adds the trace to each line of the log."""
    tracing = _tracing() if traced else None
    return [tracing.with_trace_id] if tracing else []


def _tracing() -> ModuleType | None:
    """`edge.tracing`, where the extra is installed."""
    try:
        from edge import tracing
    except ImportError:
        return None
    return tracing
