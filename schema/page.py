"""The GraphiQL page that a browser is shown at `/graphql`. What it does is in `web/`."""

from dataclasses import dataclass
from pathlib import Path

from starlette.responses import HTMLResponse, Response
from strawberry.http.ides import get_graphql_ide_html

BUNDLE = Path(__file__).parent.parent / "web" / "dist"
ASSETS = "/graphiql"

_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data:",
    "font-src": "'self' data:",
    "connect-src": "'self'",
    "worker-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}


@dataclass(frozen=True, slots=True)
class Page:
    """The page; `bundled` where it needs nothing from the internet."""

    html: str
    bundled: bool

    def response(self) -> Response:
        headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
        if self.bundled:
            headers["Content-Security-Policy"] = "; ".join(f"{name} {value}" for name, value in _POLICY.items())
        return HTMLResponse(self.html, headers=headers)


def load_page() -> Page:
    """The bundle that set-up builds where npm is there, otherwise the stock page, which loads its parts from a CDN."""
    index = BUNDLE / "index.html"
    if index.exists():
        return Page(index.read_text("utf-8"), bundled=True)
    return Page(get_graphql_ide_html(graphql_ide="graphiql"), bundled=False)
