"""How the server logs: structlog, to stderr, as JSON or for a person at a terminal. Knows no event."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog
from structlog.typing import Processor

from models.errors import where


def configure(level: str, *more: Processor, as_json: bool) -> None:
    """Sends this server's log, and uvicorn's warnings, to stderr. `more` adds to each line."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        *more,
    ]
    renderer = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer()
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, _without_values],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    # Libraries say at DEBUG what they send and receive, which holds passwords and tokens.
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


def _without_values(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """An exception by its type and place: its message, and the variables that it went through, may hold secrets.

    The first line alone, because asyncio writes the exception and its task into the next ones.
    """
    _, error, _ = event.pop("exc_info", None) or (None, None, None)
    event["event"] = str(event["event"]).partition("\n")[0]
    return {**event, "error": type(error).__name__, "where": where(error)} if error else event
