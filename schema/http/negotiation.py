"""Which media type a GraphQL answer has, by the Accept header (RFC 9110, 12.5.1; GraphQL over HTTP, 6.1)."""

import functools
from dataclasses import dataclass

JSON = "application/json"
GRAPHQL = "application/graphql-response+json"
HTML = "text/html"
EVENT_STREAM = "text/event-stream"

MAX_CACHED_HEADERS = 100
MAX_CACHED_HEADER_LENGTH = 200
"""Of how many characters a header may be to be remembered. Those of browsers have less."""


@dataclass(frozen=True, slots=True)
class Negotiated:
    """What the client takes.

    `media` is the media type that it likes best, None where it takes neither: of two that are named and liked as well
    it is GraphQL's own, and JSON where neither is named. `html` tells a browser that opens a page, `events` a client
    that names the event stream.
    """

    media: str | None
    html: bool
    events: bool


def negotiate(accept: str | None) -> Negotiated:
    """What is in the Accept header; None: there is none."""
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
        ((_quality(ranges, offer), offer) for offer in named or (JSON, GRAPHQL)), key=lambda found: found[0]
    )
    return offer if best > 0 else None


def _quality(ranges: dict[str, float], offer: str) -> float:
    return ranges.get(offer, ranges.get("application/*", ranges.get("*/*", 0.0)))


def _ranges(accept: str) -> dict[str, float]:
    found = {}
    for part in accept.split(","):
        kind, *parameters = (piece.strip() for piece in part.split(";"))
        weight = next((value[2:] for value in parameters if value.lower().startswith("q=")), "1")
        found[kind.lower()] = _number(weight)
    return found


def _number(text: str) -> float:
    try:
        return min(max(float(text), 0.0), 1.0)
    except ValueError:
        return 0.0
