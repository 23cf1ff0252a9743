"""Negotiates the media type of a GraphQL response (RFC 9110, 12.5.1; GraphQL over HTTP, 6.1)."""

import functools
from dataclasses import dataclass

JSON = "application/json"
GRAPHQL = "application/graphql-response+json"
HTML = "text/html"
EVENT_STREAM = "text/event-stream"

MAX_CACHED_HEADERS = 100
MAX_CACHED_HEADER_LENGTH = 200
"""Characters of the longest header that is cached. Those of browsers are shorter."""


@dataclass(frozen=True, slots=True)
class Negotiated:
    """The result of a negotiation.

    `media` is the preferred media type, or None if the client accepts neither. On a tie, it is GraphQL's own if the
    header names both, and JSON if it names neither. `html` and `events` are true if the header names HTML, as browsers
    do, or the event stream.
    """

    media: str | None
    html: bool
    events: bool


def negotiate(accept: str | None) -> Negotiated:
    """Evaluates the Accept header; None if there is none."""
    accept = accept or ""
    return _cached(accept) if len(accept) <= MAX_CACHED_HEADER_LENGTH else _negotiate(accept)


def _negotiate(accept: str) -> Negotiated:
    named = _ranges(accept)
    media = _media(named if accept else {"*/*": 1.0})
    return Negotiated(media, named.get(HTML, 0) > 0, named.get(EVENT_STREAM, 0) > 0)


_cached = functools.lru_cache(MAX_CACHED_HEADERS)(_negotiate)


def _media(ranges: dict[str, float]) -> str | None:
    named = [offer for offer in (GRAPHQL, JSON) if ranges.get(offer)]
    best, offer = max(
        ((_quality(ranges, offer), offer) for offer in named or (JSON, GRAPHQL)), key=lambda rated: rated[0]
    )
    return offer if best > 0 else None


def _quality(ranges: dict[str, float], offer: str) -> float:
    return ranges.get(offer, ranges.get("application/*", ranges.get("*/*", 0.0)))


def _ranges(accept: str) -> dict[str, float]:
    weights = {}
    for part in accept.split(","):
        kind, *parameters = (piece.strip() for piece in part.split(";"))
        weight = next((value[2:] for value in parameters if value.lower().startswith("q=")), "1")
        weights[kind.lower()] = _number(weight)
    return weights


def _number(text: str) -> float:
    try:
        return min(max(float(text), 0.0), 1.0)
    except ValueError:
        return 0.0
