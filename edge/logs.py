"""How the server logs: structlog, to stderr, as JSON or for a person at a terminal. Knows no event."""

import logging
import sys
from typing import Any

import structlog


def configure(level: str, *, as_json: bool) -> None:
    """Sends this server's log, and uvicorn's warnings, to stderr."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
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
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    # Libraries say at DEBUG what they send and receive, which holds passwords and tokens.
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
