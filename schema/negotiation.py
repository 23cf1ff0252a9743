"""Which media type a GraphQL answer has, by the Accept header (RFC 9110, 12.5.1; GraphQL over HTTP, 6.1)."""

JSON = "application/json"
GRAPHQL = "application/graphql-response+json"
HTML = "text/html"
EVENT_STREAM = "text/event-stream"


def media_type(accept: str | None) -> str | None:
    """The media type that the client likes best; None where it takes neither.

    Of two that are named and liked as well it is GraphQL's own, and JSON where neither is named.
    """
    ranges = _ranges(accept or "*/*")
    named = [offer for offer in (GRAPHQL, JSON) if ranges.get(offer)]
    best, offer = max(
        ((_quality(ranges, offer), offer) for offer in named or (JSON, GRAPHQL)), key=lambda found: found[0]
    )
    return offer if best > 0 else None


def wants_html(accept: str | None) -> bool:
    """Whether this is a browser that opens a page."""
    return _ranges(accept or "").get(HTML, 0) > 0


def takes_events(accept: str | None) -> bool:
    """Whether the client names the event stream as something that it takes."""
    return _ranges(accept or "").get(EVENT_STREAM, 0) > 0


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
