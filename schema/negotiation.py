"""Which media type a GraphQL answer has, by the Accept header (RFC 9110, 12.5.1; GraphQL over HTTP, 6.1)."""

JSON = "application/json"
GRAPHQL = "application/graphql-response+json"
HTML = "text/html"


def media_type(accept: str | None) -> str | None:
    """The media type that the client likes best; JSON where it does not care, None where it takes neither."""
    ranges = _ranges(accept or "*/*")
    offers = [(_quality(ranges, offer), offer) for offer in (JSON, GRAPHQL)]
    exact = [(quality, offer) for quality, offer in offers if offer in ranges and quality > 0]
    best, offer = max(exact or offers, key=lambda found: found[0])
    return offer if best > 0 else None


def wants_html(accept: str | None) -> bool:
    """Whether this is a browser that opens a page."""
    return _ranges(accept or "").get(HTML, 0) > 0


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
