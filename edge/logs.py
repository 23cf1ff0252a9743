"""Configures logging: structlog to stderr, as JSON or as text for a terminal.

Each line holds what `structlog.contextvars` binds, such as the id of the request.
"""

import json
import logging
import sys
from collections.abc import Callable, MutableMapping
from typing import Any

import orjson
import structlog
from structlog.typing import Processor

from models.errors import where

_PLAIN = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME


def configure(level: str, *more: Processor, as_json: bool) -> None:
    """Sends this server's log and uvicorn's warnings to stderr. `more` are processors that add fields to each line."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        *more,
    ]
    renderer = structlog.processors.JSONRenderer(_as_json) if as_json else structlog.dev.ConsoleRenderer()
    structlog.configure(
        processors=[*shared, renderer, _as_bytes],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, _without_values],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    # At DEBUG, libraries log what they send and receive, passwords and tokens included.
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


def _as_json(event: Any, default: Callable[[Any], Any]) -> str:
    """The line as ASCII, so that no control character reaches a terminal."""
    try:
        line = orjson.dumps(event, default, _PLAIN)
    except TypeError:  # orjson does not accept lone surrogates or large integers
        return json.dumps(event, default=default)
    return line.decode("ascii") if line.isascii() else json.dumps(event, default=default)


def _as_bytes(_logger: Any, _method: str, line: Any) -> bytes:
    return str(line).encode("utf-8", "backslashreplace")


def _without_values(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replaces an exception by its type and location: its message and its variables may hold secrets.

    Keeps the first line of the event only, because asyncio puts the exception and its task into the next ones.
    """
    _, error, _ = event.pop("exc_info", None) or (None, None, None)
    event["event"] = str(event["event"]).partition("\n")[0]
    return {**event, "error": type(error).__name__, "where": where(error)} if error else event
