"""Serves the GraphiQL page at `/graphql`. Its source is in `web/`."""

import html
import mimetypes
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from strawberry.http.ides import get_graphql_ide_html

BUNDLE = Path(__file__).parents[2] / "web" / "dist"
ASSETS = "/graphiql"

log = structlog.get_logger()

_UNREACHABLE = Path(__file__).parent / "unreachable.html"
_CURL = """\
curl ADDRESS \\
  -H 'Content-Type: application/json' \\
  -H 'X-User-Id: USER_ID' -H 'X-Auth-Token: TOKEN' \\
  -d '{"query": "{ viewer { id username } }"}'"""
_NO_SCRIPT = "<noscript><p>GraphiQL needs JavaScript. The API works without it; ADDRESS is that of this page:</p>"

_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "data:",
    "font-src": "'self'",
    "connect-src": "'self'",
    "worker-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}


_HEADERS = {
    "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in _POLICY.items()),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

# Python reads media types from system files, which may be wrong or incomplete.
for ending, kind in ((".js", "text/javascript"), (".css", "text/css"), (".ttf", "font/ttf")):
    mimetypes.add_type(kind, ending)


@dataclass(frozen=True, slots=True)
class GraphiQLPage:
    """The page. `bundled`: it loads nothing from the internet."""

    html: str
    bundled: bool

    def response(self) -> Response:
        headers = _HEADERS if self.bundled else {}
        return HTMLResponse(self.html, headers={"Cache-Control": "no-store", **headers})


class Assets(StaticFiles):
    """The assets of the bundled page. Their names contain a hash; a web worker obeys the policy in its own response."""

    def __init__(self) -> None:
        super().__init__(directory=BUNDLE)

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers.update({"Cache-Control": "public, max-age=31536000, immutable", **_HEADERS})
        return response


def load_page() -> GraphiQLPage:
    """Loads the bundle that `make install` builds if npm is there, else the stock page, which uses a CDN."""
    index = BUNDLE / "index.html"
    if index.exists():
        return GraphiQLPage(index.read_text("utf-8"), bundled=True)
    log.warning("stock GraphiQL page", reason="web/dist is not built; the page loads its parts from the internet")
    return GraphiQLPage(_stock_page(), bundled=False)


def _stock_page() -> str:
    """Strawberry's page, with instructions for the case that its assets can't be loaded or scripts are off."""
    curl = html.escape(_CURL, quote=False)
    unreachable = _UNREACHABLE.read_text("utf-8").replace("CURL", curl)
    stock = get_graphql_ide_html(graphql_ide="graphiql")
    stock = stock.replace("<head>", f"<head>\n{unreachable}", 1)
    return stock.replace("<body>", f"<body>\n{_NO_SCRIPT}<pre>{curl}</pre></noscript>", 1)
